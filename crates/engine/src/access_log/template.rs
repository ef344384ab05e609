//! Lines after the operator's own format, `--access-log-format`, and JSON, `--log-json`.
//!
//! `pronghorn.access_format` reads the operator's text and gives the pieces; here they are filled in.
//! A value that is not there is `-`, in JSON `null`. What comes from the client or the application is
//! escaped: in plain lines as in nginx's (`\xNN` for quotes, backslashes and what is not printable), in
//! JSON as JSON has it.

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::access_log::Entry;
use crate::access_log::line::{
    entry, write_client, write_full_path, write_path, write_protocol, write_query,
    write_request_line, write_status, write_text,
};
use crate::ffi::containers::{as_u16, items, pair_items};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text::as_str;

/// The format of a line.
pub struct Template {
    pieces: Vec<Piece>,
    escape: Escape,
}

/// A part of a line.
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
}

/// What a line can tell.
enum Field {
    Client,
    ClientHost,
    ClientPort,
    Method,
    Path,
    Query,
    FullPath,
    Protocol,
    HttpVersion,
    RequestLine,
    Scheme,
    Status,
    StatusText,
    Bytes,
    DurationS,
    DurationMs,
    DurationUs,
    Time,
    TimeClf,
    ProcessId,
    RequestHeader(Vec<u8>),
    ResponseHeader(Vec<u8>),
}

/// How values appear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    Plain,
    Json,
}

impl Template {
    /// `pieces` are pairs of a kind and the text or the name of the header that belongs to it.
    /// `None` where a kind is unknown.
    pub fn new(pieces: Vec<(String, Vec<u8>)>, escape: Escape) -> Option<Self> {
        let pieces = pieces.into_iter().map(|(kind, text)| Piece::new(&kind, text));
        Some(Self { pieces: pieces.collect::<Option<_>>()?, escape })
    }

    pub fn shows_response_headers(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Field(Field::ResponseHeader(_))))
    }

    /// Writes a whole line.
    pub fn write(&self, line: &mut Vec<u8>, entry: &Entry) {
        let mut value = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => line.extend_from_slice(text),
                Piece::Field(field) => {
                    value.clear();
                    let shape = field.value(&mut value, entry).filter(|_| !value.is_empty());
                    self.escape.write(line, shape, &value);
                }
            }
        }
        line.push(b'\n');
    }
}

impl Piece {
    fn new(kind: &str, text: Vec<u8>) -> Option<Self> {
        let field = match kind {
            "literal" => return Some(Self::Literal(text)),
            "client" => Field::Client,
            "client_host" => Field::ClientHost,
            "client_port" => Field::ClientPort,
            "method" => Field::Method,
            "path" => Field::Path,
            "query" => Field::Query,
            "full_path" => Field::FullPath,
            "protocol" => Field::Protocol,
            "http_version" => Field::HttpVersion,
            "request_line" => Field::RequestLine,
            "scheme" => Field::Scheme,
            "status" => Field::Status,
            "status_text" => Field::StatusText,
            "bytes" => Field::Bytes,
            "duration_s" => Field::DurationS,
            "duration_ms" => Field::DurationMs,
            "duration_us" => Field::DurationUs,
            "time" => Field::Time,
            "time_clf" => Field::TimeClf,
            "process_id" => Field::ProcessId,
            "request_header" => Field::RequestHeader(text),
            "response_header" => Field::ResponseHeader(text),
            _ => return None,
        };
        Some(Self::Field(field))
    }
}

/// What a value is made of.
#[derive(Clone, Copy)]
enum Shape {
    /// Digits and a point.
    Number,
    /// Printable ASCII without quotes.
    Quoted,
    /// Any bytes.
    Raw,
}

impl Field {
    /// Writes the value; `None` where there is none.
    fn value(&self, value: &mut Vec<u8>, logged: &Entry) -> Option<Shape> {
        let scope = &logged.scope;
        match self {
            Self::Client => write_client(value, scope)?,
            Self::ClientHost => {
                value.extend_from_slice(as_str(&client(scope)?.0)?.as_bytes());
                return Some(Shape::Raw);
            }
            Self::ClientPort => {
                let port = as_u16(&client(scope)?.1).unwrap_or_else(Raised::forget)?;
                return Some(number(value, u64::from(port)));
            }
            Self::Method => write_text(value, scope, &names().method)?,
            Self::Path => write_path(value, scope)?,
            Self::Query => write_query(value, scope)?,
            Self::FullPath => write_full_path(value, scope)?,
            Self::Protocol => write_protocol(value, scope)?,
            Self::HttpVersion => write_text(value, scope, &names().http_version)?,
            Self::RequestLine => write_request_line(value, scope)?,
            Self::Scheme => write_text(value, scope, &names().scheme)?,
            Self::Status => return Some(number(value, u64::from(logged.status))),
            Self::StatusText => write_status(value, logged.status),
            Self::Bytes => return Some(number(value, logged.body_bytes())),
            Self::DurationS => return Some(decimal(value, logged.duration, 1_000_000)),
            Self::DurationMs => return Some(decimal(value, logged.duration, 1_000)),
            Self::DurationUs => return Some(decimal(value, logged.duration, 1)),
            Self::Time => write_time(value, SystemTime::now()),
            Self::TimeClf => write_time_clf(value, SystemTime::now()),
            Self::ProcessId => return Some(number(value, u64::from(std::process::id()))),
            Self::RequestHeader(name) => {
                return header(value, entry(scope, &names().headers).as_ref(), name);
            }
            Self::ResponseHeader(name) => return header(value, logged.headers.as_ref(), name),
        }
        Some(Shape::Quoted)
    }
}

impl Entry {
    /// The bytes of the body that left: of an answer to HEAD, or without content, there are none.
    fn body_bytes(&self) -> u64 {
        let method = entry(&self.scope, &names().method);
        let is_head = method.as_ref().and_then(as_str) == Some("HEAD");
        if is_head || matches!(self.status, 204 | 304) { 0 } else { self.byte_count }
    }
}

impl Escape {
    fn write(self, line: &mut Vec<u8>, shape: Option<Shape>, value: &[u8]) {
        match (self, shape) {
            (Self::Plain, None) => line.push(b'-'),
            (Self::Json, None) => line.extend_from_slice(b"null"),
            (_, Some(Shape::Number)) | (Self::Plain, Some(Shape::Quoted)) => {
                line.extend_from_slice(value);
            }
            (Self::Plain, Some(Shape::Raw)) => {
                for &byte in value {
                    write_escaped(line, byte, b"\\x");
                }
            }
            (Self::Json, Some(Shape::Quoted | Shape::Raw)) => {
                line.push(b'"');
                for &byte in value {
                    match byte {
                        b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                        _ => write_escaped(line, byte, b"\\u00"),
                    }
                }
                line.push(b'"');
            }
        }
    }
}

fn write_escaped(line: &mut Vec<u8>, byte: u8, prefix: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\') {
        line.push(byte);
    } else {
        line.extend_from_slice(prefix);
        line.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn client(scope: &Object) -> Option<(Object, Object)> {
    pair_items(&entry(scope, &names().client)?)
}

/// The first field of that name, which is in lower case; the application may have written its own
/// otherwise.
fn header(value: &mut Vec<u8>, headers: Option<&Object>, name: &[u8]) -> Option<Shape> {
    let found = items(headers?)?.find_map(|item| {
        let (key, value) = item.as_pair()?;
        key.as_bytes()?.eq_ignore_ascii_case(name).then(|| value.as_bytes())?
    })?;
    value.extend_from_slice(found);
    Some(Shape::Raw)
}

fn number(value: &mut Vec<u8>, number: u64) -> Shape {
    value.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    Shape::Number
}

/// A duration in a unit of so many microseconds, with as many decimals as that takes.
fn decimal(value: &mut Vec<u8>, duration: Duration, unit_us: u128) -> Shape {
    let us = duration.as_micros();
    let (whole, rest) = (us / unit_us, us % unit_us);
    // Writing to a `Vec` cannot fail.
    let _ = match unit_us {
        1 => write!(value, "{whole}"),
        1_000 => write!(value, "{whole}.{rest:03}"),
        _ => write!(value, "{whole}.{rest:06}"),
    };
    Shape::Number
}

/// `2026-11-25T22:47:23.123Z`
fn write_time(value: &mut Vec<u8>, now: SystemTime) {
    let date = Date::of(now);
    let ms = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let (year, month, day, time) = (date.year(), date.month_number(), date.day(), date.time());
    let _ = write!(value, "{year}-{month:02}-{day}T{time}.{ms:03}Z");
}

/// `[25/Nov/2026:22:47:23 +0000]`
fn write_time_clf(value: &mut Vec<u8>, now: SystemTime) {
    let date = Date::of(now);
    let (day, month, year, time) = (date.day(), date.month(), date.year(), date.time());
    let _ = write!(value, "[{day}/{month}/{year}:{time} +0000]");
}

/// A date as HTTP writes it (RFC 9110, 5.6.7), the parts of which have fixed places:
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
struct Date(String);

impl Date {
    fn of(now: SystemTime) -> Self {
        Self(httpdate::fmt_http_date(now))
    }

    fn day(&self) -> &str {
        self.0.get(5..7).unwrap_or_default()
    }

    fn month(&self) -> &str {
        self.0.get(8..11).unwrap_or_default()
    }

    fn month_number(&self) -> usize {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        MONTHS.find(self.month()).map_or(0, |at| at / 3 + 1)
    }

    fn year(&self) -> &str {
        self.0.get(12..16).unwrap_or_default()
    }

    fn time(&self) -> &str {
        self.0.get(17..25).unwrap_or_default()
    }
}
