//! Messages of the `websocket` scope.

use pronghorn_proto::websocket::MessageKind;

use crate::asgi::message::{as_bytes_object, entries_of, headers, read_body, required};
use crate::ffi::containers::{as_u16, integer, new_dict, set_item};
use crate::ffi::entries::Entries;
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text;

/// A message that an application sends, taken apart.
pub enum SentMessage {
    Accept {
        subprotocol: Option<Object>,
        headers: Object,
    },
    /// `None` for neither text nor bytes, which Uvicorn takes for nothing to send.
    Send(Option<(MessageKind, Object)>),
    Close {
        code: u16,
        reason: Option<Object>,
    },
    DenialStart {
        status: u16,
        headers: Object,
    },
    DenialBody {
        data: Option<Object>,
        more: bool,
    },
    Other,
}

impl SentMessage {
    /// Reads a dictionary or any other mapping. Also gives its type.
    ///
    /// # Errors
    /// An entry is missing or of the wrong type.
    pub fn read(message: &Object) -> Result<(Self, Object), Raised> {
        let message = &mut entries_of(message)?;
        let names = names();
        let kind = required(message, &names.r#type)?;
        let read = match text::as_str(&kind) {
            Some("websocket.send") => Self::Send(content(message)?),
            Some("websocket.accept") => Self::Accept {
                subprotocol: optional(message, &names.subprotocol)?,
                headers: headers(message)?,
            },
            Some("websocket.close") => {
                let code = match optional(message, &names.code)? {
                    Some(code) => as_u16(&code)?.unwrap_or_default(),
                    None => 1000,
                };
                Self::Close { code, reason: optional(message, &names.reason)? }
            }
            Some("websocket.http.response.start") => {
                let status = as_u16(&required(message, &names.status)?)?;
                let headers = headers(message)?;
                Self::DenialStart { status: status.unwrap_or_default(), headers }
            }
            Some("websocket.http.response.body") => {
                let (data, more) = read_body(message)?;
                Self::DenialBody { data, more }
            }
            Some(_) => Self::Other,
            None => return Err(Raised::type_error("an ASGI message's `type` must be a str")),
        };
        Ok((read, kind))
    }
}

/// `bytes` unless it is `None`, else `text`.
fn content(message: &mut Entries) -> Result<Option<(MessageKind, Object)>, Raised> {
    if let Some(bytes) = optional(message, &names().bytes)? {
        return Ok(Some((MessageKind::Binary, as_bytes_object(bytes)?)));
    }
    Ok(optional(message, &names().text)?.map(|text| (MessageKind::Text, text)))
}

/// An entry that may be `None` or missing.
fn optional(message: &mut Entries, key: &Object) -> Result<Option<Object>, Raised> {
    Ok(message.find(key)?.filter(|value| !value.is_none()))
}

/// `websocket.connect`.
pub fn connect() -> Result<Object, Raised> {
    let message = new_dict()?;
    set_item(&message, &names().r#type, &names().websocket_connect)?;
    Ok(message)
}

/// `websocket.disconnect`, with a reason where there is one to tell.
pub fn disconnect(code: u16, reason: Option<&str>) -> Result<Object, Raised> {
    let names = names();
    let message = new_dict()?;
    set_item(&message, &names.r#type, &names.websocket_disconnect)?;
    set_item(&message, &names.code, &integer(u64::from(code))?)?;
    if let Some(reason) = reason {
        set_item(&message, &names.reason, &text::utf8(reason.as_bytes())?)?;
    }
    Ok(message)
}
