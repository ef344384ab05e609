//! A response's head as `h2` takes it (RFC 9113, 8.3.2).

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::error::{ApplicationError, Reject};
use crate::http1::{Declared, is_misplaced_trailer, syntax};

/// The lines that every response has, taken apart again only when they change.
#[derive(Debug, Default)]
pub struct Defaults {
    lines: Vec<u8>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Defaults {
    /// Takes `lines` apart, which are whole and checked.
    pub fn refresh(&mut self, lines: &[u8]) {
        if self.lines == lines {
            return;
        }
        self.lines = lines.to_vec();
        self.fields = lines
            .split(|&byte| byte == b'\n')
            .filter_map(|line| {
                let line = line.strip_suffix(b"\r")?;
                let colon = memchr::memchr(b':', line)?;
                let value = syntax::trim(&line[colon + 1..]);
                let name = HeaderName::from_bytes(&line[..colon]).ok()?;
                let value = HeaderValue::from_bytes(value).ok()?;
                (!is_of_connection(&name, &value)).then_some((name, value))
            })
            .collect();
    }
}

/// A head whose last fields depend on how much body there is.
#[derive(Debug)]
pub struct OpenHead {
    pub status: u16,
    pub declared: Declared,
    pub response: Response<()>,
}

/// Makes a head of the defaults and the application's fields.
pub fn open_head(
    status: u16,
    defaults: &Defaults,
    headers: &[(&[u8], &[u8])],
) -> Result<OpenHead, ApplicationError> {
    if !(200..=999).contains(&status) {
        return Err(ApplicationError::InvalidStatus);
    }
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|_| ApplicationError::InvalidStatus)?;
    let map = response.headers_mut();
    // One more for the length.
    map.reserve(defaults.fields.len() + headers.len() + 1);
    for (name, value) in &defaults.fields {
        map.append(name.clone(), value.clone());
    }
    let mut declared = Declared::default();
    for (name, value) in headers {
        let (name, value) = field(name, value)?;
        if keeps(status, &name, &value, &mut declared)? {
            map.append(name, value);
        }
    }
    Ok(OpenHead { status, declared, response })
}

/// Fields that follow a body.
pub fn trailers(headers: &[(&[u8], &[u8])]) -> Result<HeaderMap, ApplicationError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let (name, value) = field(name, value)?;
        if is_misplaced_trailer(name.as_str().as_bytes()) {
            return Err(ApplicationError::InvalidTrailer);
        }
        map.append(name, value);
    }
    Ok(map)
}

/// An informational response with these links (RFC 8297).
pub fn early_hint(links: &[&[u8]]) -> Result<Response<()>, ApplicationError> {
    let mut hint = Response::new(());
    *hint.status_mut() = StatusCode::EARLY_HINTS;
    for link in links {
        let (name, value) = field(b"link", link)?;
        hint.headers_mut().append(name, value);
    }
    Ok(hint)
}

impl OpenHead {
    /// Adds the length where it is known and has not been told.
    pub fn declare(&mut self, length: u64) {
        if self.declared.content_length.is_none() {
            let value = HeaderValue::from(length);
            self.response.headers_mut().insert(http::header::CONTENT_LENGTH, value);
        }
    }
}

/// The whole answer to a refused request, as HTTP/1.1 words it.
pub fn refusal(reject: Reject, defaults: &Defaults) -> (Response<()>, Bytes) {
    let body = crate::http1::refusal_text(reject);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(reject.status).unwrap_or(StatusCode::BAD_REQUEST);
    let map = response.headers_mut();
    for (name, value) in &defaults.fields {
        map.append(name.clone(), value.clone());
    }
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    map.insert(http::header::CONTENT_TYPE, text);
    map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    (response, Bytes::from_static(body.as_bytes()))
}

fn field(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), ApplicationError> {
    let name = HeaderName::from_bytes(name).map_err(|_| ApplicationError::InvalidHeaderName)?;
    if !syntax::is_field_value(value) {
        return Err(ApplicationError::InvalidHeaderValue);
    }
    let value = HeaderValue::from_bytes(syntax::trim(value))
        .map_err(|_| ApplicationError::InvalidHeaderValue)?;
    Ok((name, value))
}

/// Whether the field is to be sent. Those that are about a connection have no place in HTTP/2 (RFC
/// 9113, 8.2.2); applications that set them mean HTTP/1.1, and nothing is lost without them.
fn keeps(
    status: u16,
    name: &HeaderName,
    value: &HeaderValue,
    declared: &mut Declared,
) -> Result<bool, ApplicationError> {
    if *name == http::header::CONTENT_LENGTH {
        return crate::http1::content_length(status, value.as_bytes(), declared);
    }
    let is_coding = *name == http::header::TRANSFER_ENCODING;
    if is_coding && !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(ApplicationError::InvalidHeaderValue);
    }
    Ok(!is_of_connection(name, value))
}

fn is_of_connection(name: &HeaderName, value: &HeaderValue) -> bool {
    use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || (*name == TE && value != "trailers")
}
