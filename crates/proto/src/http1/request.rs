//! Reads a request's head (RFC 9112, 3 and 5; RFC 9110, 7.2).
//!
//! All or nothing: a head is read once it is there whole, and what it means for framing is decided
//! in the same pass, so that no head with two readings gets past this file.

use crate::error::Reject;
use crate::head::{Field, Framing, Method, RequestHead, Span, Version};
use crate::http1::syntax;
use crate::limits::Limits;

/// How far an incomplete head has been looked at, so that single bytes do not cost a pass each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    scanned: usize,
}

/// Reads the head at the start of `input` into `head`. Returns its length, `None` while it is
/// incomplete.
pub fn read_head(
    input: &[u8],
    progress: &mut Progress,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Reject> {
    if progress.scanned > 0 && !ends_in(input, progress.scanned) {
        return incomplete(input, progress, limits);
    }
    match parse(input, limits, head)? {
        Some(length) => {
            *progress = Progress::default();
            Ok(Some(length))
        }
        None => incomplete(input, progress, limits),
    }
}

/// Whether the head's last line has come since `scanned` bytes were looked at.
fn ends_in(input: &[u8], scanned: usize) -> bool {
    memchr::memmem::find(&input[scanned.saturating_sub(3)..], b"\r\n\r\n").is_some()
}

fn incomplete(
    input: &[u8],
    progress: &mut Progress,
    limits: &Limits,
) -> Result<Option<usize>, Reject> {
    // From one byte before: a CR may have waited there for its LF.
    syntax::check_incomplete(&input[progress.scanned.saturating_sub(1)..])?;
    progress.scanned = input.len();
    let line_end = memchr::memchr(b'\n', input).unwrap_or(input.len());
    if line_end > limits.request_line_bytes_max + 2 {
        return Err(Reject::with_status(414, "request line too long"));
    }
    if input.len() - line_end > limits.header_bytes_max {
        return Err(Reject::with_status(431, "header block too long"));
    }
    Ok(None)
}

fn parse(input: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Option<usize>, Reject> {
    head.clear();
    let mut start = 0;
    // Empty lines before a request line are skipped (RFC 9112, 2.2).
    while input[start..].starts_with(b"\r\n") && start < limits.request_line_bytes_max {
        start += 2;
    }
    let Some((line, fields_start)) = syntax::line(input, start)? else { return Ok(None) };
    if line.len() > limits.request_line_bytes_max {
        return Err(Reject::with_status(414, "request line too long"));
    }
    let authority = request_line(line, start, head)?;

    let mut semantics = Semantics::default();
    let mut start = fields_start;
    loop {
        let Some((line, next)) = syntax::line(input, start)? else { return Ok(None) };
        if next - fields_start > limits.header_bytes_max {
            return Err(Reject::with_status(431, "header block too long"));
        }
        if line.is_empty() {
            semantics.conclude(input, authority, head)?;
            return Ok(Some(next));
        }
        let (name, value) = syntax::field_line(line)?;
        if head.fields.len() == limits.headers_max {
            return Err(Reject::with_status(431, "too many header fields"));
        }
        let value_start = start + (value.as_ptr().addr() - line.as_ptr().addr());
        let field = Field {
            name: Span::new(start, start + name.len()),
            value: Span::new(value_start, value_start + value.len()),
        };
        if !is_forwarding_alias(name) {
            semantics.note(name, value, field.value, head)?;
            head.fields.push(field);
        }
        start = next;
    }
}

/// Reads `method SP request-target SP HTTP-version`. Returns the authority of an absolute form.
fn request_line<'i>(
    line: &'i [u8],
    start: usize,
    head: &mut RequestHead,
) -> Result<Option<&'i [u8]>, Reject> {
    let malformed = Reject::bad_request("malformed request line");
    let method_end = memchr::memchr(b' ', line).ok_or(malformed)?;
    let target_end = line.len().checked_sub(b" HTTP/1.1".len()).ok_or(malformed)?;
    if target_end <= method_end + 1 {
        return Err(malformed);
    }
    head.version = match &line[target_end..] {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Reject::with_status(505, "unsupported HTTP version"));
        }
        _ => return Err(malformed),
    };
    head.persistent = head.version == Version::Http11;
    head.method = match &line[..method_end] {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        b"PATCH" => Method::Patch,
        b"CONNECT" => Method::Connect,
        other if syntax::is_token(other) => Method::Other(Span::new(start, start + method_end)),
        _ => return Err(Reject::bad_request("invalid method")),
    };
    let target = &line[method_end + 1..target_end];
    if !syntax::is_visible_ascii(target) {
        return Err(Reject::bad_request("invalid byte in request target"));
    }
    request_target(target, start + method_end + 1, head)
}

/// Sorts a target by its form (RFC 9112, 3.2) and finds path and query in it.
fn request_target<'i>(
    target: &'i [u8],
    start: usize,
    head: &mut RequestHead,
) -> Result<Option<&'i [u8]>, Reject> {
    let (authority, path_start) = match target {
        _ if head.method == Method::Connect => {
            return Err(Reject::with_status(501, "CONNECT is not supported"));
        }
        [b'/', ..] => (None, 0),
        b"*" if head.method == Method::Options => (None, 0),
        _ => {
            let authority_start = absolute_form(target)
                .ok_or(Reject::bad_request("request target of no known form"))?;
            let rest = &target[authority_start..];
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
                .unwrap_or(rest.len());
            let authority = &rest[..length];
            if authority.is_empty() || !syntax::is_host(authority) {
                return Err(Reject::bad_request("invalid authority in request target"));
            }
            (Some(authority), authority_start + length)
        }
    };
    // A fragment has no place in a request; who sends one gets the resource without it.
    let end = memchr::memchr(b'#', target).map_or(target.len(), |index| index.max(path_start));
    let question = memchr::memchr(b'?', &target[path_start..end]).map(|index| path_start + index);
    let path_end = question.unwrap_or(end);
    head.path = Span::new(start + path_start, start + path_end);
    let query_start = question.map_or(end, |index| index + 1);
    head.query = Span::new(start + query_start, start + end);
    Ok(authority)
}

/// Where the authority starts, if this is an absolute form with a scheme that is ours.
fn absolute_form(target: &[u8]) -> Option<usize> {
    [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let prefix = target.get(..scheme.len())?;
        prefix.eq_ignore_ascii_case(scheme).then_some(scheme.len())
    })
}

/// `X_Forwarded_For` and the like: WSGI and CGI make the same variable of it as of the spelling
/// that proxies overwrite, so a client could speak for the proxy.
fn is_forwarding_alias(name: &[u8]) -> bool {
    if memchr::memchr(b'_', name).is_none() {
        return false;
    }
    let dashed = |index: usize, expected: u8| match name[index] {
        b'_' => expected == b'-',
        byte => byte.eq_ignore_ascii_case(&expected),
    };
    let matches_prefix = |prefix: &[u8]| {
        name.len() >= prefix.len()
            && prefix.iter().enumerate().all(|(index, &byte)| dashed(index, byte))
    };
    matches_prefix(b"x-forwarded-") || matches_prefix(b"x-real-ip")
}

/// What the fields mean for framing and persistence, gathered while they are read.
#[derive(Default)]
struct Semantics {
    host: Option<Span>,
    content_length: Option<u64>,
    transfer_encoding: Option<Span>,
    closes: bool,
    upgrades: bool,
    upgrade: Option<Span>,
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
            4 if is(b"host") => {
                if self.host.replace(span).is_some() {
                    return Err(Reject::bad_request("more than one Host"));
                }
                if !syntax::is_host(value) {
                    return Err(Reject::bad_request("invalid Host"));
                }
            }
            6 if is(b"expect") => {
                head.expects_continue = value.eq_ignore_ascii_case(b"100-continue")
            }
            7 if is(b"upgrade") => self.upgrade = Some(span),
            10 if is(b"connection") => {
                for member in syntax::list_members(value) {
                    self.closes |= member.eq_ignore_ascii_case(b"close");
                    self.upgrades |= member.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if is(b"content-length") => {
                let length = syntax::decimal(value);
                let length = length.ok_or(Reject::bad_request("invalid Content-Length"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(Reject::bad_request("more than one Content-Length"));
                }
            }
            15 if is(b"x-forwarded-for") => head.forwarded = true,
            17 if is(b"x-forwarded-proto") => head.forwarded = true,
            17 if is(b"transfer-encoding") => {
                if self.transfer_encoding.replace(span).is_some() {
                    return Err(Reject::bad_request("more than one Transfer-Encoding"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(
        &self,
        input: &[u8],
        authority: Option<&[u8]>,
        head: &mut RequestHead,
    ) -> Result<(), Reject> {
        let host = self.host.map(|span| span.of(input));
        if host.is_none() && head.version == Version::Http11 {
            return Err(Reject::bad_request("missing Host"));
        }
        if let (Some(authority), Some(host)) = (authority, host)
            && !authority.eq_ignore_ascii_case(host)
        {
            return Err(Reject::bad_request("Host differs from the request target"));
        }
        head.framing = self.framing(input, head.version)?;
        head.expects_continue &= head.version == Version::Http11 && head.framing != Framing::None;
        head.persistent &= !self.closes;
        head.upgrade = self.upgrade.filter(|_| self.upgrades);
        if head.framing != Framing::None
            && head.upgrade.is_some_and(|span| span.of(input).eq_ignore_ascii_case(b"websocket"))
        {
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
        let mut members = codings.split(|&byte| byte == b',').map(syntax::trim);
        let chunked_last =
            codings.rsplit(|&byte| byte == b',').next().map(syntax::trim) == Some(b"chunked");
        if chunked_last
            && members
                .all(|member| matches!(member, b"gzip" | b"deflate" | b"compress" | b"chunked"))
            && codings.windows(7).filter(|window| *window == b"chunked").count() == 1
        {
            return Err(Reject::with_status(501, "unsupported transfer coding"));
        }
        Err(Reject::bad_request("invalid Transfer-Encoding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<(RequestHead, usize), Reject> {
        let mut head = RequestHead::default();
        let mut progress = Progress::default();
        let length = read_head(input, &mut progress, &Limits::default(), &mut head)?;
        Ok((head, length.expect("complete")))
    }

    #[test]
    fn splits_path_and_query() {
        let input = b"GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\n\r\nrest";
        let (head, length) = read(input).unwrap();
        assert_eq!(head.path.of(input), b"/a/b");
        assert_eq!(head.query.of(input), b"c=d?e");
        assert_eq!(&input[length..], b"rest");
    }

    #[test]
    fn strips_authority_of_absolute_form() {
        for (target, path) in [("http://x", ""), ("HTTP://x/a", "/a"), ("https://x:80?q", "")] {
            let host = if target.contains(":80") { "x:80" } else { "X" };
            let input = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            let (head, _) = read(input.as_bytes()).unwrap();
            assert_eq!(head.path.of(input.as_bytes()), path.as_bytes());
        }
    }

    #[test]
    fn drops_underscore_spellings_of_forwarding_fields() {
        let input = b"GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded-For: 1\r\nmy_own: 1\r\n\r\n";
        let (head, _) = read(input).unwrap();
        assert_eq!(head.fields.len(), 2);
        assert!(!head.forwarded);
    }

    #[test]
    fn incomplete_heads_are_looked_at_once() {
        let input = b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
        let mut head = RequestHead::default();
        let mut progress = Progress::default();
        for end in 1..input.len() {
            let outcome = read_head(&input[..end], &mut progress, &Limits::default(), &mut head);
            assert_eq!(outcome, Ok(None), "at {end}");
            assert_eq!(progress.scanned, end);
        }
        let outcome = read_head(input, &mut progress, &Limits::default(), &mut head);
        assert_eq!(outcome, Ok(Some(input.len())));
    }
}
