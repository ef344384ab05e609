//! A request's head as the rest of the server reads it (RFC 9113, 8.3; RFC 9110, 7.2).
//!
//! `h2` has checked what the protocol asks for: pseudo-header fields, lower case, no fields that are
//! about a connection. Here the head becomes lines as HTTP/1.1 has them, so that what is above needs
//! no second way to read one, and what HTTP/1.1 refuses is refused.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;

use crate::error::Reject;
use crate::head::{Field, Framing, Method, RequestHead, Span, Version, is_of_proxy};
use crate::http1::{is_forwarding_alias, syntax};
use crate::limits::Limits;

/// Writes the head to `source` and what it means to `head`, as ranges of it. `has_body` tells that
/// the head was not all.
pub fn read(
    parts: &Parts,
    has_body: bool,
    limits: &Limits,
    head: &mut RequestHead,
    source: &mut Vec<u8>,
) -> Result<(), Reject> {
    head.clear();
    source.clear();
    head.version = Version::Http2;
    head.persistent = true;
    head.method = method(&parts.method, source);
    head.upgrade = tunnelled(parts, source);
    if head.method == Method::Connect && head.upgrade.is_none() {
        return Err(Reject::with_status(501, "CONNECT is not supported"));
    }
    target(parts, limits, head, source)?;
    let mut lines = Lines { head, source, limits };
    let authority = parts.uri.authority();
    if let Some(authority) = authority {
        if !syntax::is_host(authority.as_str().as_bytes()) {
            return Err(Reject::bad_request("invalid :authority"));
        }
        // Where ASGI wants it: first.
        lines.add(b"host", authority.as_str().as_bytes())?;
    }
    check_host(&parts.headers, authority)?;
    lines.add_all(&parts.headers, authority.is_some())?;
    head.framing = framing(&parts.headers, has_body)?;
    if matches!(head.framing, Framing::Length(length) if length > limits.body_bytes_max) {
        return Err(Reject::CONTENT_TOO_LARGE);
    }
    head.expects_continue &= has_body;
    Ok(())
}

/// The protocol that an extended CONNECT asks for, if it is one that there is (RFC 8441, 4).
fn tunnelled(parts: &Parts, source: &mut Vec<u8>) -> Option<Span> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>()?.as_str();
    (protocol == "websocket").then(|| append(source, protocol.as_bytes()))
}

fn method(method: &http::Method, source: &mut Vec<u8>) -> Method {
    match *method {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::DELETE => Method::Delete,
        http::Method::OPTIONS => Method::Options,
        http::Method::PATCH => Method::Patch,
        http::Method::CONNECT => Method::Connect,
        _ => Method::Other(append(source, method.as_str().as_bytes())),
    }
}

fn target(
    parts: &Parts,
    limits: &Limits,
    head: &mut RequestHead,
    source: &mut Vec<u8>,
) -> Result<(), Reject> {
    let path = parts.uri.path().as_bytes();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    if path.len() + query.len() > limits.request_line_bytes_max {
        return Err(Reject::with_status(414, "request target too long"));
    }
    let is_asterisk = path == b"*" && head.method == Method::Options;
    if !path.starts_with(b"/") && !is_asterisk {
        return Err(Reject::bad_request("request target of no known form"));
    }
    if !syntax::is_visible_ascii(path) || !query.is_empty() && !syntax::is_visible_ascii(query) {
        return Err(Reject::bad_request("invalid byte in request target"));
    }
    head.path = append(source, path);
    head.query = append(source, query);
    Ok(())
}

/// One host, and no second opinion about it.
fn check_host(headers: &HeaderMap, authority: Option<&Authority>) -> Result<(), Reject> {
    let mut hosts = headers.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    match (authority, hosts.next()) {
        (None, None) => Err(Reject::bad_request("missing Host")),
        (None, Some(host)) if !syntax::is_host(host) => Err(Reject::bad_request("invalid Host")),
        (Some(authority), Some(host))
            if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) =>
        {
            Err(Reject::bad_request("Host differs from :authority"))
        }
        _ if hosts.next().is_some() => Err(Reject::bad_request("more than one Host")),
        _ => Ok(()),
    }
}

/// `h2` counts the body against its length.
fn framing(headers: &HeaderMap, has_body: bool) -> Result<Framing, Reject> {
    let mut lengths = headers.get_all(http::header::CONTENT_LENGTH).iter();
    let length = lengths.next().map(HeaderValue::as_bytes);
    if lengths.next().is_some() {
        return Err(Reject::bad_request("more than one Content-Length"));
    }
    match length.map(syntax::decimal) {
        Some(None) => Err(Reject::bad_request("invalid Content-Length")),
        _ if !has_body => Ok(Framing::None),
        Some(Some(length)) => Ok(Framing::Length(length)),
        None => Ok(Framing::Chunked),
    }
}

struct Lines<'l> {
    head: &'l mut RequestHead,
    source: &'l mut Vec<u8>,
    limits: &'l Limits,
}

impl Lines<'_> {
    fn add_all(&mut self, headers: &HeaderMap, has_host: bool) -> Result<(), Reject> {
        let mut last: Option<&HeaderName> = None;
        for (name, value) in headers {
            let value = syntax::trim(value.as_bytes());
            if has_host && *name == http::header::HOST {
                continue;
            }
            if *name == http::header::COOKIE && last == Some(name) {
                self.join_cookie(value)?;
            } else if !is_forwarding_alias(name.as_str().as_bytes()) {
                self.note(name, value);
                self.add(name.as_str().as_bytes(), value)?;
            }
            last = Some(name);
        }
        Ok(())
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        if self.head.fields.len() >= self.limits.headers_max {
            return Err(Reject::with_status(431, "too many header fields"));
        }
        let name = append(self.source, name);
        self.source.extend_from_slice(b": ");
        let value = append(self.source, value);
        self.head.fields.push(Field { name, value });
        self.check_size()
    }

    /// Crumbs of one cookie field, which a client may send apart to compress them better (RFC 9113,
    /// 8.2.3). `HeaderMap` has them one after the other.
    fn join_cookie(&mut self, value: &[u8]) -> Result<(), Reject> {
        if let Some(field) = self.head.fields.last_mut() {
            self.source.extend_from_slice(b"; ");
            self.source.extend_from_slice(value);
            field.value = Span::new(field.value.range().start, self.source.len());
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Reject> {
        if self.source.len() > self.limits.head_bytes_max() {
            return Err(Reject::with_status(431, "header block too long"));
        }
        Ok(())
    }

    fn note(&mut self, name: &HeaderName, value: &[u8]) {
        if *name == http::header::EXPECT {
            let mut members = syntax::list_members(value);
            self.head.expects_continue |=
                members.any(|member| member.eq_ignore_ascii_case(b"100-continue"));
        }
        self.head.forwarded |= is_of_proxy(name.as_str().as_bytes());
    }
}

fn append(source: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = source.len();
    source.extend_from_slice(bytes);
    Span::new(start, source.len())
}
