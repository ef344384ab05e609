//! Uvicorn's line, and how text of the client's is shown.

use crate::ffi::containers::{as_u16, get_item, pair_items};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text::{as_bytes, as_str};

/// Writes Uvicorn's line. `None` where the scope is not as the server made it: then Python tells
/// what to make of it.
pub fn write_line(line: &mut Vec<u8>, scope: &Object, status: u16) -> Option<()> {
    line.extend_from_slice(b"INFO:     ");
    write_client(line, scope)?;
    line.extend_from_slice(b" - \"");
    write_request_line(line, scope)?;
    line.extend_from_slice(b"\" ");
    write_status(line, status);
    line.push(b'\n');
    Some(())
}

/// Uvicorn's line for the outcome of a WebSocket's handshake, which goes to the error log.
pub fn websocket_line(scope: &Object, outcome: &str) -> String {
    let mut line = Vec::new();
    // Of a scope that is not as the server made it, as much as can be told.
    let _ = write_client(&mut line, scope);
    line.extend_from_slice(b" - \"WebSocket ");
    let _ = write_full_path(&mut line, scope);
    line.extend_from_slice(b"\" ");
    line.extend_from_slice(outcome.as_bytes());
    String::from_utf8_lossy(&line).into_owned()
}

/// An entry of the scope, whatever the application has made of it.
pub fn entry(scope: &Object, key: &Object) -> Option<Object> {
    get_item(scope, key).unwrap_or_else(Raised::forget)
}

/// `host:port`, or nothing for a peer without an address.
pub fn write_client(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    let client = entry(scope, &names().client)?;
    if !client.is_none() {
        let (host, port) = pair_items(&client)?;
        line.extend_from_slice(printable(as_str(&host)?)?);
        line.push(b':');
        let port = as_u16(&port).unwrap_or_else(Raised::forget)?;
        line.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    Some(())
}

/// `GET /path?query HTTP/1.1`
pub fn write_request_line(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    write_text(line, scope, &names().method)?;
    line.push(b' ');
    write_full_path(line, scope)?;
    line.push(b' ');
    write_protocol(line, scope)
}

/// `/path?query`
pub fn write_full_path(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    write_path(line, scope)?;
    let before = line.len();
    line.push(b'?');
    write_query(line, scope)?;
    if line.len() == before + 1 {
        line.pop();
    }
    Some(())
}

pub fn write_path(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    let path = entry(scope, &names().path)?;
    write_quoted(line, as_str(&path)?.as_bytes(), is_safe_in_path);
    Some(())
}

pub fn write_query(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    let query = entry(scope, &names().query_string)?;
    write_quoted(line, as_bytes(&query)?, |byte| matches!(byte, 0x21 | 0x23..=0x7e));
    Some(())
}

/// `HTTP/1.1`
pub fn write_protocol(line: &mut Vec<u8>, scope: &Object) -> Option<()> {
    line.extend_from_slice(b"HTTP/");
    write_text(line, scope, &names().http_version)
}

/// A text of the scope's, which must be printable.
pub fn write_text(line: &mut Vec<u8>, scope: &Object, key: &Object) -> Option<()> {
    let text = entry(scope, key)?;
    line.extend_from_slice(printable(as_str(&text)?)?);
    Some(())
}

/// `200 OK`
pub fn write_status(line: &mut Vec<u8>, status: u16) {
    line.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    line.push(b' ');
    line.extend_from_slice(pronghorn_proto::http1::reason_phrase(status).as_bytes());
}

fn printable(text: &str) -> Option<&[u8]> {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)).then_some(text.as_bytes())
}

/// What `urllib.parse.quote` leaves as it is.
fn is_safe_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~' | b'/')
}

fn write_quoted(line: &mut Vec<u8>, source: &[u8], is_safe: fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in source {
        if is_safe(byte) {
            line.push(byte);
        } else {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            line.extend_from_slice(&[b'%', high, low]);
        }
    }
}
