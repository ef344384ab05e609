//! The opening handshake (RFC 6455, 4.2) and the negotiation of extensions (9.1).
//!
//! A refusal has the status and the words of Uvicorn, whose users know them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1_smol::Sha1;

use crate::error::ApplicationError;
use crate::head::{Framing, Method, RequestHead};
use crate::http1::{is_token, list_members, trim};
use crate::websocket::deflate::{Agreement, DeflateLimits};

/// Makes an answer that nobody gives by accident (1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a client's key, decoded.
const KEY_BYTES: usize = 16;

/// How a client's wish is fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Accept`; `None` where the HTTP version does without (RFC 8441, 5).
    accept: Option<String>,
    /// The extensions as the response names them.
    extensions: Option<String>,
    pub agreement: Option<Agreement>,
}

/// A handshake that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// What went wrong, for a person; holds only what may stand in a field line.
    pub text: String,
    /// A field to be sent along.
    pub field: Option<(&'static [u8], &'static [u8])>,
}

impl Refusal {
    /// The server has no room for another, or is about to go.
    #[must_use]
    pub fn unavailable() -> Self {
        Self { status: 503, text: "Service Unavailable".to_owned(), field: None }
    }
}

/// Whether the request's `Upgrade` is this protocol, and this alone.
#[must_use]
pub fn is_wanted(head: &RequestHead, source: &[u8]) -> bool {
    head.upgrade.is_some_and(|upgrade| upgrade.of(source).eq_ignore_ascii_case(b"websocket"))
}

/// The subprotocols that the client speaks, in its order (4.1).
pub fn subprotocols<'s>(
    head: &'s RequestHead,
    source: &'s [u8],
) -> impl Iterator<Item = &'s [u8]> + 's {
    values(head, source, b"sec-websocket-protocol").flat_map(list_members)
}

impl Handshake {
    /// Judges a request of HTTP/1.1 that wants a WebSocket. `deflate` is what may be agreed on.
    ///
    /// # Errors
    /// It is refused.
    pub fn of_upgrade(
        head: &RequestHead,
        source: &[u8],
        deflate: Option<&DeflateLimits>,
    ) -> Result<Self, Refusal> {
        if head.method != Method::Get {
            return Err(Refusal {
                status: 405,
                text: refusal_text(&format!(
                    "unsupported HTTP method: {}",
                    method_name(head.method, source)
                )),
                field: Some((b"allow", b"GET")),
            });
        }
        let key = single(head, source, "Sec-WebSocket-Key")?;
        let is_key = BASE64.decode(key).is_ok_and(|decoded| decoded.len() == KEY_BYTES);
        if !is_key {
            return Err(invalid("Sec-WebSocket-Key", key));
        }
        let mut handshake = Self::of_stream(head, source, deflate)?;
        handshake.accept = Some(accept(key));
        Ok(handshake)
    }

    /// Judges a request of HTTP/2, whose stream is one already (RFC 8441, 5).
    ///
    /// # Errors
    /// It is refused.
    pub fn of_connect(
        head: &RequestHead,
        source: &[u8],
        deflate: Option<&DeflateLimits>,
    ) -> Result<Self, Refusal> {
        if head.framing == Framing::None {
            return Err(bad_request("the client's side of the stream has ended"));
        }
        Self::of_stream(head, source, deflate)
    }

    fn of_stream(
        head: &RequestHead,
        source: &[u8],
        deflate: Option<&DeflateLimits>,
    ) -> Result<Self, Refusal> {
        let version = single(head, source, "Sec-WebSocket-Version")?;
        if version != b"13" {
            let refusal = invalid("Sec-WebSocket-Version", version);
            // 4.2.2: which one would do.
            return Err(Refusal { field: Some((b"sec-websocket-version", b"13")), ..refusal });
        }
        for value in values(head, source, b"sec-websocket-protocol") {
            check_tokens("Sec-WebSocket-Protocol", value)?;
        }
        let agreement = match deflate {
            Some(limits) => agree(head, source, limits)?,
            None => None,
        };
        Ok(Self {
            accept: None,
            extensions: agreement.as_ref().map(ToString::to_string),
            agreement,
        })
    }

    /// The fields of the response that make it a handshake.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let upgrade = self.accept.as_ref().map(|accept| {
            let upgrade: [(&[u8], &[u8]); 3] = [
                (b"Upgrade", b"websocket"),
                (b"Connection", b"Upgrade"),
                (b"Sec-WebSocket-Accept", accept.as_bytes()),
            ];
            upgrade
        });
        let extensions = self
            .extensions
            .as_ref()
            .map(|extensions| (&b"Sec-WebSocket-Extensions"[..], extensions.as_bytes()));
        upgrade.into_iter().flatten().chain(extensions)
    }
}

/// The field that names the subprotocol which the application has chosen.
///
/// # Errors
/// It is no token.
pub fn subprotocol_field(chosen: &[u8]) -> Result<(&[u8], &[u8]), ApplicationError> {
    if is_token(chosen) {
        Ok((b"Sec-WebSocket-Protocol", chosen))
    } else {
        Err(ApplicationError::InvalidSubprotocol)
    }
}

fn accept(key: &[u8]) -> String {
    let mut digest = Sha1::from(key);
    digest.update(GUID);
    BASE64.encode(digest.digest().bytes())
}

fn method_name(method: Method, source: &[u8]) -> String {
    match method {
        Method::Other(span) => String::from_utf8_lossy(span.of(source)).into_owned(),
        named => format!("{named:?}").to_ascii_uppercase(),
    }
}

/// The values of all fields of a name, which is in lower case.
fn values<'s>(
    head: &'s RequestHead,
    source: &'s [u8],
    name: &'static [u8],
) -> impl Iterator<Item = &'s [u8]> + 's {
    head.fields
        .iter()
        .filter(move |field| field.name.of(source).eq_ignore_ascii_case(name))
        .map(|field| field.value.of(source))
}

/// The value of a field that must be there once.
fn single<'s>(
    head: &'s RequestHead,
    source: &'s [u8],
    name: &'static str,
) -> Result<&'s [u8], Refusal> {
    let mut found = values(head, source, name.as_bytes());
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(invalid(name, b"multiple values")),
        (None, _) => Err(bad_request(&format!("missing {name} header"))),
    }
}

fn invalid(name: &str, value: &[u8]) -> Refusal {
    bad_request(&format!("invalid {name} header: {}", String::from_utf8_lossy(value)))
}

/// Refuses what is no list of tokens (4.1), and tells where: an application could not choose from it.
fn check_tokens(name: &str, value: &[u8]) -> Result<(), Refusal> {
    let skip = |at: usize, skipped: &[u8]| {
        let rest = value[at..].iter();
        at + rest.take_while(|byte| skipped.contains(byte)).count()
    };
    let fault = |what: &str, at: usize| {
        let value = String::from_utf8_lossy(value);
        bad_request(&format!("invalid {name} header: expected {what} at {at} in {value}"))
    };
    let mut at = skip(0, b" \t,");
    loop {
        let token = value[at..].iter().take_while(|&&byte| is_token(&[byte])).count();
        if token == 0 {
            return Err(fault("token", at));
        }
        at = skip(at + token, b" \t");
        match value.get(at) {
            Some(b',') => at = skip(at, b" \t,"),
            Some(_) => return Err(fault("comma", at)),
            None => return Ok(()),
        }
        if at == value.len() {
            return Ok(());
        }
    }
}

fn bad_request(complaint: &str) -> Refusal {
    Refusal { status: 400, text: refusal_text(complaint), field: None }
}

fn refusal_text(complaint: &str) -> String {
    format!("Failed to open a WebSocket connection: {complaint}.\n")
}

/// Takes the first offer of permessage-deflate that can be fulfilled.
fn agree(
    head: &RequestHead,
    source: &[u8],
    limits: &DeflateLimits,
) -> Result<Option<Agreement>, Refusal> {
    let mut agreement = None;
    for value in values(head, source, b"sec-websocket-extensions") {
        for offer in split_unquoted(value, b',') {
            if offer.is_empty() {
                continue;
            }
            let mut parts = split_unquoted(offer, b';');
            let name = parts.next().unwrap_or_default();
            let parameters: Option<Vec<_>> = parts.map(parameter).collect();
            let (true, Some(parameters)) = (is_token(name), parameters) else {
                return Err(invalid("Sec-WebSocket-Extensions", value));
            };
            if agreement.is_none() && name == b"permessage-deflate" {
                agreement = Agreement::answer(parameters.into_iter(), limits);
            }
        }
    }
    Ok(agreement)
}

/// `token [ "=" ( token | quoted-string ) ]`, where the quoted string must be a token too.
fn parameter(part: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let Some(equals) = memchr::memchr(b'=', part) else {
        return is_token(part).then_some((part, None));
    };
    let (name, value) = (trim(&part[..equals]), trim(&part[equals + 1..]));
    let value = match value {
        [b'"', quoted @ .., b'"'] => quoted,
        plain => plain,
    };
    (is_token(name) && is_token(value)).then_some((name, Some(value)))
}

/// The parts between separators that do not stand within quotes, without white space around them.
fn split_unquoted(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    value
        .split(move |&byte| {
            is_quoted ^= byte == b'"';
            byte == separator && !is_quoted
        })
        .map(trim)
}
