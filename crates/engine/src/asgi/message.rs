//! Messages: dictionaries on the application's side, events on the other.

use pronghorn_proto::websocket::MessageKind;
use smallvec::SmallVec;

use crate::asgi::detached::Source;
use crate::ffi::containers::{
    Borrowed, as_u16, as_u64, copy_dict, dict_of_mapping, is_dict, is_true, items, list_of_bytes,
    new_dict, normalised_pairs, set_item,
};
use crate::ffi::entries::Entries;
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text;

/// Makes what `receive()` returns. Each message is a dictionary of its own.
pub struct MessageMaker {
    last_empty_request: Object,
    disconnect: Object,
}

impl MessageMaker {
    pub fn new(empty_bytes: &Object) -> Result<Self, Raised> {
        let names = names();
        let last_empty_request = new_dict()?;
        set_item(&last_empty_request, &names.r#type, &names.http_request)?;
        set_item(&last_empty_request, &names.body, empty_bytes)?;
        set_item(&last_empty_request, &names.more_body, &Object::boolean(false))?;
        let disconnect = new_dict()?;
        set_item(&disconnect, &names.r#type, &names.http_disconnect)?;
        Ok(Self { last_empty_request, disconnect })
    }

    /// `http.request`.
    pub fn request(&self, body: Option<&Object>, more_body: bool) -> Result<Object, Raised> {
        let message = copy_dict(&self.last_empty_request)?;
        if let Some(body) = body {
            set_item(&message, &names().body, body)?;
        }
        if more_body {
            set_item(&message, &names().more_body, &Object::boolean(true))?;
        }
        Ok(message)
    }

    /// `http.disconnect`.
    pub fn disconnect(&self) -> Result<Object, Raised> {
        copy_dict(&self.disconnect)
    }
}

/// A message that an application sends, taken apart.
pub enum Message {
    Start {
        status: u16,
        headers: Object,
        announces_trailers: bool,
    },
    Body {
        data: Option<Object>,
        more: bool,
    },
    /// `kind` by path or by descriptor.
    File {
        source: Source,
        more: bool,
    },
    Trailers {
        headers: Object,
        more: bool,
    },
    EarlyHint {
        links: Object,
    },
    Other {
        kind: String,
    },
}

impl Message {
    /// Reads a dictionary or any other mapping.
    ///
    /// # Errors
    /// An entry is missing or of the wrong type.
    pub fn read(message: &Object) -> Result<Self, Raised> {
        let message = &mut entries_of(message)?;
        let names = names();
        let kind = required(message, &names.r#type)?;
        match text::as_str(&kind) {
            Some("http.response.start") => {
                let status = as_u16(&required(message, &names.status)?)?;
                Ok(Self::Start {
                    status: status.unwrap_or_default(),
                    headers: headers(message)?,
                    announces_trailers: flag(message, &names.trailers)?,
                })
            }
            Some("http.response.body") => {
                let (data, more) = read_body(message)?;
                Ok(Self::Body { data, more })
            }
            Some("http.response.pathsend") => {
                let path = required(message, &names.path)?;
                Ok(Self::File { source: Source::Path(path), more: false })
            }
            Some("http.response.zerocopysend") => {
                let file = required(message, &names.file)?;
                let mut number = |key| match message.find(key)?.filter(|value| !value.is_none()) {
                    Some(value) => as_u64(&value).map(Some),
                    None => Ok(None),
                };
                let source = Source::Descriptor {
                    file,
                    offset: number(&names.offset)?,
                    count: number(&names.count)?,
                };
                Ok(Self::File { source, more: flag(message, &names.more_body)? })
            }
            Some("http.response.trailers") => Ok(Self::Trailers {
                headers: headers(message)?,
                more: flag(message, &names.more_trailers)?,
            }),
            Some("http.response.early_hint") => {
                let links = required(message, &names.links)?;
                Ok(Self::EarlyHint { links: list_of_bytes(&links)? })
            }
            Some(other) => Ok(Self::Other { kind: other.to_owned() }),
            None => Err(Raised::type_error("an ASGI message's `type` must be a str")),
        }
    }

    /// Its type, for errors.
    pub fn kind(&self) -> &str {
        match self {
            Self::Start { .. } => "http.response.start",
            Self::Body { .. } => "http.response.body",
            Self::File { source, .. } => source.kind(),
            Self::Trailers { .. } => "http.response.trailers",
            Self::EarlyHint { .. } => "http.response.early_hint",
            Self::Other { kind } => kind,
        }
    }
}

/// Name and value of each field that `readable_headers` has passed. They are valid while no Python
/// code runs.
pub fn pairs(headers: &Object) -> SmallVec<[(&[u8], &[u8]); 16]> {
    let items = items(headers).into_iter().flatten();
    let pairs = items.filter_map(|item| {
        let (name, value) = item.as_pair()?;
        Some((name.as_bytes()?, value.as_bytes()?))
    });
    pairs.collect()
}

/// The items of a list that `list_of_bytes` has made.
pub fn each_bytes(list: &Object) -> SmallVec<[&[u8]; 4]> {
    items(list).into_iter().flatten().filter_map(Borrowed::as_bytes).collect()
}

pub fn headers(message: &mut Entries) -> Result<Object, Raised> {
    match message.find(&names().headers)? {
        Some(headers) => readable_headers(headers),
        None => Ok(Object::none()),
    }
}

fn flag(message: &mut Entries, key: &Object) -> Result<bool, Raised> {
    message.find(key)?.map_or(Ok(false), |flag| is_true(&flag))
}

/// The entries of a message: a dictionary, or any other mapping, which is copied.
pub fn entries_of(message: &Object) -> Result<Entries, Raised> {
    let dict = if is_dict(message) { message.clone() } else { dict_of_mapping(message)? };
    Ok(Entries::of(dict))
}

/// `body`, as `bytes`, and `more_body`.
pub fn read_body(message: &mut Entries) -> Result<(Option<Object>, bool), Raised> {
    let data = match message.find(&names().body)? {
        Some(body) => Some(as_bytes_object(body)?),
        None => None,
    };
    Ok((data, flag(message, &names().more_body)?))
}

/// `bytes` itself, or a copy of what offers a buffer.
pub fn as_bytes_object(object: Object) -> Result<Object, Raised> {
    if text::as_bytes(&object).is_some() { Ok(object) } else { text::bytes_of_buffer(&object) }
}

/// `headers` itself where it is a list or tuple of pairs of `bytes`, else a list made of it.
fn readable_headers(headers: Object) -> Result<Object, Raised> {
    let is_plain = items(&headers).is_some_and(|mut items| {
        items.all(|item| {
            item.as_pair().is_some_and(|(name, value)| {
                name.as_bytes().is_some() && value.as_bytes().is_some()
            })
        })
    });
    if is_plain { Ok(headers) } else { normalised_pairs(&headers) }
}

pub fn required(message: &mut Entries, key: &Object) -> Result<Object, Raised> {
    message.find(key)?.ok_or_else(|| Raised::key_error(key))
}

/// `websocket.receive` for either kind, without its content: a copy takes half of what it takes to
/// put one together.
pub struct ReceivedMessages {
    text: Object,
    binary: Object,
}

impl ReceivedMessages {
    pub fn new() -> Result<Self, Raised> {
        let names = names();
        let template = |key| {
            let message = new_dict()?;
            set_item(&message, &names.r#type, &names.websocket_receive)?;
            set_item(&message, key, &Object::none())?;
            Ok(message)
        };
        Ok(Self { text: template(&names.text)?, binary: template(&names.bytes)? })
    }

    /// `websocket.receive` with a `str` or `bytes`.
    pub fn make(&self, kind: MessageKind, content: &Object) -> Result<Object, Raised> {
        let (template, key) = match kind {
            MessageKind::Text => (&self.text, &names().text),
            MessageKind::Binary => (&self.binary, &names().bytes),
        };
        let message = copy_dict(template)?;
        set_item(&message, key, content)?;
        Ok(message)
    }
}
