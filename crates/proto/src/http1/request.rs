//! Reads a request's head (RFC 9112, 3 and 5; RFC 9110, 7.2).
//!
//! Line by line and each line once, however the bytes come: whether a head is refused, and why,
//! depends on its bytes alone. What it means for framing is decided in the same pass, so that no
//! head with two readings gets past this file.

use std::mem;

use crate::error::Reject;
use crate::head::{Field, Framing, Method, RequestHead, Span, Version, is_of_proxy};
use crate::http1::syntax::{self, CRLF_BYTES, Section};
use crate::limits::Limits;

/// A head under way. Memory is only allocated for one that does not come whole.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Nothing has come before it.
    is_first: bool,
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    lines: LineReader,
    head: RequestHead,
}

impl HeadReader {
    /// Reads what a connection begins with.
    pub fn first() -> Self {
        Self { is_first: true, partial: None }
    }

    /// Whether what is refused is not HTTP/1 at all: HTTP/2's preface, with which a connection may
    /// begin (RFC 9113, 3.4), or what is neither.
    pub fn is_http2(&self, input: &[u8], reject: Reject) -> bool {
        self.is_first && (reject == FOREIGN || input.starts_with(b"PRI * HTTP/2.0\r\n"))
    }

    /// Reads the head at the start of `input` into `head`. Returns its length, `None` while it is
    /// incomplete; the same bytes then come again, with more behind them.
    pub fn read(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<Option<usize>, Reject> {
        let Some(partial) = &mut self.partial else { return self.begin(input, limits, head) };
        let length = partial.lines.read(input, limits, &mut partial.head)?;
        if length.is_some() {
            mem::swap(head, &mut partial.head);
            self.partial = None;
        }
        Ok(length)
    }

    fn begin(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<Option<usize>, Reject> {
        head.clear();
        let mut lines = LineReader::default();
        let length = lines.read(input, limits, head)?;
        if length.is_none() {
            self.partial = Some(Box::new(Partial { lines, head: mem::take(head) }));
        }
        Ok(length)
    }

    /// Something has come, other than the empty lines that may precede a head.
    pub fn has_begun(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.lines.has_begun())
    }
}

/// How far a head has been read.
#[derive(Debug, Default)]
struct LineReader {
    /// Where the next line starts...
    start: usize,
    /// ...and how much of it has been looked at.
    scanned: usize,
    /// Where the field lines start, once the request line is there.
    fields_start: Option<usize>,
    fields: usize,
    semantics: Semantics,
}

impl LineReader {
    fn read(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<Option<usize>, Reject> {
        let Some(fields_start) = self.request_line(input, limits, head)? else { return Ok(None) };
        self.field_lines(input, fields_start, limits, head)
    }

    fn request_line(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<Option<usize>, Reject> {
        if self.fields_start.is_some() {
            return Ok(self.fields_start);
        }
        let bytes_max = limits.request_line_bytes_max.saturating_add(CRLF_BYTES);
        let too_long = Reject::with_status(414, "request line too long");
        let mut section = Section::new(input, self.start, bytes_max, too_long);
        while let Some(line) = section.line(&mut self.scanned)? {
            self.start += line.len() + CRLF_BYTES;
            // Empty lines before a request line are skipped (RFC 9112, 2.2).
            if !line.is_empty() {
                self.semantics.authority = request_line(line, input, head)?;
                self.fields_start = Some(self.start);
                break;
            }
        }
        Ok(self.fields_start)
    }

    fn field_lines(
        &mut self,
        input: &[u8],
        fields_start: usize,
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<Option<usize>, Reject> {
        let bytes_max = fields_start.saturating_add(limits.header_bytes_max);
        let too_long = Reject::with_status(431, "header block too long");
        let mut section = Section::new(input, self.start, bytes_max, too_long);
        while let Some(line) = section.line(&mut self.scanned)? {
            self.start += line.len() + CRLF_BYTES;
            if line.is_empty() {
                self.semantics.conclude(input, head)?;
                return Ok(Some(self.start));
            }
            self.field_line(line, input, limits, head)?;
        }
        Ok(None)
    }

    fn field_line(
        &mut self,
        line: &[u8],
        input: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<(), Reject> {
        self.fields += 1;
        if self.fields > limits.headers_max {
            return Err(Reject::with_status(431, "too many header fields"));
        }
        let (name, value) = syntax::field_line(line)?;
        if !is_forwarding_alias(name) {
            let field =
                Field { name: Span::within(input, name), value: Span::within(input, value) };
            self.semantics.note(name, value, field.value, head)?;
            head.fields.push(field);
        }
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.fields_start.is_some() || self.scanned > 0
    }
}

/// A request line, from its three words, but of no HTTP/1: neither its target nor its version is of a
/// form that there is. To HTTP/2 it is an invalid preface, which is not worth an answer.
const FOREIGN: Reject = Reject::bad_request("request line of another protocol");

fn is_foreign(line: &[u8]) -> bool {
    let words = line.split(|&byte| byte == b' ');
    memchr::memchr(b'/', line).is_none()
        && words.clone().count() == 3
        && words.into_iter().all(|word| !word.is_empty())
}

/// Reads `method SP request-target SP HTTP-version` (RFC 9112, 3), a line of `input`. Returns the
/// authority of an absolute form.
fn request_line(line: &[u8], input: &[u8], head: &mut RequestHead) -> Result<Option<Span>, Reject> {
    let malformed = || {
        let malformed = Reject::bad_request("malformed request line");
        if is_foreign(line) { FOREIGN } else { malformed }
    };
    let (words, version) = line.split_last_chunk().ok_or_else(malformed)?;
    let space = words.iter().position(|&byte| byte == b' ').ok_or_else(malformed)?;
    let (method, target) = (&words[..space], &words[space + 1..]);
    if target.is_empty() {
        return Err(malformed());
    }
    head.version = if version == b" HTTP/1.1" {
        Version::Http11
    } else if version == b" HTTP/1.0" {
        Version::Http10
    } else if let [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] = version {
        return Err(Reject::with_status(505, "unsupported HTTP version"));
    } else {
        return Err(malformed());
    };
    head.method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        b"PATCH" => Method::Patch,
        b"CONNECT" => Method::Connect,
        other if syntax::is_token(other) => Method::Other(Span::within(input, other)),
        _ => return Err(Reject::bad_request("invalid method")),
    };
    request_target(target, input, head)
}

/// Sorts a target by its form (RFC 9112, 3.2) and finds path and query in it. Returns the authority
/// of an absolute form.
fn request_target(
    target: &[u8],
    input: &[u8],
    head: &mut RequestHead,
) -> Result<Option<Span>, Reject> {
    let (front, rest) = target.split_at(syntax::query_start(target));
    if !syntax::is_visible_ascii(rest) {
        return Err(Reject::bad_request("invalid byte in request target"));
    }
    let (authority, path) = match front {
        _ if head.method == Method::Connect => {
            return Err(Reject::with_status(501, "CONNECT is not supported"));
        }
        [b'/', ..] => (None, front),
        b"*" if head.method == Method::Options && rest.is_empty() => (None, front),
        _ => {
            let front = after_scheme(front)
                .ok_or(Reject::bad_request("request target of no known form"))?;
            let length = front.iter().position(|&byte| byte == b'/').unwrap_or(front.len());
            let (authority, path) = front.split_at(length);
            if authority.is_empty() || !syntax::is_host(authority) {
                return Err(Reject::bad_request("invalid authority in request target"));
            }
            (Some(Span::within(input, authority)), path)
        }
    };
    head.path = Span::within(input, path);
    if let [b'?', query @ ..] = rest {
        // A fragment has no place in a request; who sends one gets the resource without it.
        let length = memchr::memchr(b'#', query).unwrap_or(query.len());
        head.query = Span::within(input, &query[..length]);
    }
    Ok(authority)
}

/// What follows the scheme, if this is an absolute form with one that is ours.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let (prefix, rest) = target.split_at_checked(scheme.len())?;
        prefix.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// `X_Forwarded_For` and the like: WSGI and CGI make the same variable of it as of the spelling
/// that proxies overwrite, so a client could speak for the proxy.
#[inline]
pub fn is_forwarding_alias(name: &[u8]) -> bool {
    // Most names can be told from these by their first byte.
    matches!(name, [b'x' | b'X', rest @ ..] if is_rest_of_alias(rest))
}

fn is_rest_of_alias(rest: &[u8]) -> bool {
    let dashed = |(&byte, expected): (&u8, &u8)| match byte {
        b'_' => *expected == b'-',
        byte => byte.eq_ignore_ascii_case(expected),
    };
    let starts_with =
        |prefix: &[u8]| rest.len() >= prefix.len() && rest.iter().zip(prefix).all(dashed);
    rest.contains(&b'_') && (starts_with(b"-forwarded-") || starts_with(b"-real-ip"))
}

/// What the fields mean for framing and persistence, gathered while they are read.
#[derive(Debug, Default)]
struct Semantics {
    authority: Option<Span>,
    host: Option<Span>,
    content_length: Option<u64>,
    transfer_encoding: Option<Span>,
    closes: bool,
    upgrades: bool,
    upgrade: Option<Span>,
    names_websocket: bool,
}

impl Semantics {
    fn note(
        &mut self,
        name: &[u8],
        value: &[u8],
        span: Span,
        head: &mut RequestHead,
    ) -> Result<(), Reject> {
        let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
        match name.len() {
            2 if is(b"te") => head.accepts_trailers |= has_member(value, b"trailers"),
            4 if is(b"host") => {
                if self.host.replace(span).is_some() {
                    return Err(Reject::bad_request("more than one Host"));
                }
                if !syntax::is_host(value) {
                    return Err(Reject::bad_request("invalid Host"));
                }
            }
            6 if is(b"expect") => head.expects_continue |= has_member(value, b"100-continue"),
            7 if is(b"upgrade") => {
                self.upgrade = Some(span);
                self.names_websocket |= has_member(value, b"websocket");
            }
            10 if is(b"connection") => {
                self.closes |= has_member(value, b"close");
                self.upgrades |= has_member(value, b"upgrade");
            }
            14 if is(b"content-length") => {
                let length = syntax::decimal(value);
                let length = length.ok_or(Reject::bad_request("invalid Content-Length"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(Reject::bad_request("more than one Content-Length"));
                }
            }
            17 if is(b"transfer-encoding") && self.transfer_encoding.replace(span).is_some() => {
                return Err(Reject::bad_request("more than one Transfer-Encoding"));
            }
            _ => head.forwarded |= is_of_proxy(name),
        }
        Ok(())
    }

    fn conclude(&self, input: &[u8], head: &mut RequestHead) -> Result<(), Reject> {
        let is_http_11 = head.version == Version::Http11;
        let host = self.host.map(|span| span.of(input));
        if host.is_none() && is_http_11 {
            return Err(Reject::bad_request("missing Host"));
        }
        if let (Some(authority), Some(host)) = (self.authority, host)
            && !authority.of(input).eq_ignore_ascii_case(host)
        {
            return Err(Reject::bad_request("Host differs from the request target"));
        }
        head.framing = self.framing(input, head.version)?;
        head.expects_continue &= is_http_11 && head.framing != Framing::None;
        head.accepts_trailers &= is_http_11;
        head.persistent = is_http_11 && !self.closes;
        // RFC 9110, 7.8: not in HTTP/1.0.
        head.upgrade = self.upgrade.filter(|_| self.upgrades && is_http_11);
        if head.upgrade.is_some() && self.names_websocket && head.framing != Framing::None {
            return Err(Reject::bad_request("WebSocket upgrade with a body"));
        }
        Ok(())
    }

    /// RFC 9112, 6.1 to 6.3, without the leniencies.
    fn framing(&self, input: &[u8], version: Version) -> Result<Framing, Reject> {
        let Some(codings) = self.transfer_encoding.map(|span| span.of(input)) else {
            return Ok(match self.content_length {
                None | Some(0) => Framing::None,
                Some(length) => Framing::Length(length),
            });
        };
        if version == Version::Http10 {
            return Err(Reject::bad_request("Transfer-Encoding in HTTP/1.0"));
        }
        if self.content_length.is_some() {
            return Err(Reject::bad_request("both Transfer-Encoding and Content-Length"));
        }
        if codings.eq_ignore_ascii_case(b"chunked") {
            return Ok(Framing::Chunked);
        }
        Err(unacceptable(codings))
    }
}

/// Unless `chunked` comes last, and only there, nothing says where the body ends: 400 (RFC 9112,
/// 6.3). What comes before it is a coding that we lack: 501 (6.1).
fn unacceptable(codings: &[u8]) -> Reject {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = codings.split(|&byte| byte == b',').map(syntax::trim);
    let ends_chunked = codings.next_back().is_some_and(is_chunked);
    if ends_chunked && codings.all(|coding| syntax::is_token(coding) && !is_chunked(coding)) {
        Reject::with_status(501, "unsupported transfer coding")
    } else {
        Reject::bad_request("invalid Transfer-Encoding")
    }
}

fn has_member(value: &[u8], expected: &[u8]) -> bool {
    syntax::list_members(value).any(|member| member.eq_ignore_ascii_case(expected))
}
