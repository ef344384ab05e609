//! HTTP/1.0 and HTTP/1.1 (RFC 9112), strict: what could be read in two ways is refused.
//!
//! `state` holds the connection and all its transitions; the others are the grammar it calls.

mod body;
mod current;
mod date;
mod request;
mod response;
mod state;
mod status;
pub(crate) mod syntax;

pub use date::DefaultHeaders;
pub(crate) use request::is_forwarding_alias;
pub use response::write_field_line;
pub(crate) use response::{
    BodyWriter, Declared, content_length, is_misplaced_trailer, refusal_text,
};
pub use state::{Connection, Next};
pub use status::reason_phrase;
pub use syntax::{decimal, is_token, list_members, trim};
