//! How large heads and bodies may be: to the byte, and the same in whatever pieces they come.

mod support;

use pronghorn_proto::limits::Limits;
use support::{
    accepted, accepted_within, assert_refused, assert_refused_within, chunked, get, post,
    record_within,
};

// --- Heads --------------------------------------------------------------------------------------

fn with_host(request_line: &[u8]) -> Vec<u8> {
    [request_line, b"\r\nHost: a\r\n\r\n"].concat()
}

fn narrow_head() -> Limits {
    Limits { request_line_bytes_max: 40, header_bytes_max: 60, headers_max: 4, ..Limits::default() }
}

#[test]
fn request_line_has_a_longest_length() {
    let line = |bytes: usize| [b"GET /", &*b"a".repeat(bytes - 14), b" HTTP/1.1"].concat();
    for (limits, max) in [(narrow_head(), 40), (Limits::default(), 64 * 1024)] {
        assert_eq!(line(max).len(), max);
        accepted_within(&limits, &with_host(&line(max)));
        assert_refused_within(&limits, &with_host(&line(max + 1)), 414);
        assert_refused_within(&limits, &with_host(&line(max + 2)), 414);
        assert_refused_within(&limits, &with_host(&line(max * 2)), 414);
        // Without an end, and without even a space.
        assert_refused_within(&limits, &b"G".repeat(max + 2), 414);
        // With a fault that comes too late to be seen.
        assert_refused_within(&limits, &[&line(max + 3)[..], b"\x01"].concat(), 414);
    }
}

#[test]
fn empty_lines_count_towards_the_request_line() {
    let request = with_host(b"GET / HTTP/1.1");
    accepted_within(&narrow_head(), &[&b"\r\n".repeat(13)[..], &request].concat());
    assert_refused_within(&narrow_head(), &[&b"\r\n".repeat(14)[..], &request].concat(), 414);
    assert_refused_within(&narrow_head(), &b"\r\n".repeat(1000), 414);
    assert_refused(&b"\r\n".repeat(33_000), 414);
    // They do not make a head that is long, but not too long, longer.
    let long = [b"\r\nGET /", &*b"a".repeat(60_000), b" HTTP/1.1\r\nHost: a\r\nX: "].concat();
    accepted(&[&long[..], &b"b".repeat(65_000), b"\r\n\r\n"].concat());
}

#[test]
fn header_block_has_a_longest_length() {
    for (limits, max) in [(narrow_head(), 60), (Limits::default(), 64 * 1024)] {
        // `Host: a`, `X: ...` and the empty line, each with its CRLF.
        let head = |bytes: usize| {
            let value = b"b".repeat(bytes - b"Host: a\r\nX: \r\n\r\n".len());
            get(&[b"Host: a\r\nX: ", &*value, b"\r\n"].concat())
        };
        assert_eq!(head(max).len(), max + b"GET / HTTP/1.1\r\n".len());
        accepted_within(&limits, &head(max));
        assert_refused_within(&limits, &head(max + 1), 431);
        assert_refused_within(&limits, &head(max + 2), 431);
        assert_refused_within(&limits, &head(max * 2), 431);
        let open = &head(max * 2)[..max + 20];
        assert_refused_within(&limits, open, 431);
        let name = [b"GET / HTTP/1.1\r\n", &*b"b".repeat(max)].concat();
        assert_refused_within(&limits, &name, 431);
    }
}

#[test]
fn fields_have_a_largest_number() {
    let head = |fields: usize| get(&[b"Host: a\r\n", &*b"A:\r\n".repeat(fields - 1)].concat());
    for (limits, max) in [(narrow_head(), 4), (Limits::default(), 100)] {
        assert_eq!(accepted_within(&limits, &head(max)).head().fields.len(), max);
        assert_refused_within(&limits, &head(max + 1), 431);
        assert_refused_within(&limits, &head(max + 2), 431);
    }
    // Those that are dropped count as well.
    let aliases = get(&[b"Host: a\r\n", &*b"x_real_ip:\r\n".repeat(4)].concat());
    assert_refused_within(&narrow_head(), &aliases, 431);
}

#[test]
fn longest_head_is_the_longest_of_its_parts() {
    let line = [b"GET /", &*b"a".repeat(26), b" HTTP/1.1\r\n"].concat();
    let fields = [b"Host: a\r\nX: ", &*b"b".repeat(44), b"\r\n\r\n"].concat();
    let head = [line, fields].concat();
    assert_eq!(head.len(), narrow_head().head_bytes_max());
    accepted_within(&narrow_head(), &head);
}

#[test]
fn limits_without_an_end_are_none() {
    let limits = Limits {
        request_line_bytes_max: usize::MAX,
        header_bytes_max: usize::MAX,
        headers_max: usize::MAX,
        chunk_line_bytes_max: usize::MAX,
        chunk_extension_bytes_max: usize::MAX,
        trailer_bytes_max: usize::MAX,
        drain_bytes_max: u64::MAX,
        ..Limits::default()
    };
    let body = b"1;a\r\nx\r\n0\r\nX: y\r\n\r\n";
    let input = [&post(&[b"Transfer-Encoding: chunked"])[..], body].concat();
    assert_eq!(accepted_within(&limits, &input).body(), b"x");
}

#[test]
fn limits_of_zero_admit_nothing() {
    for limits in [
        Limits { request_line_bytes_max: 0, ..Limits::default() },
        Limits { header_bytes_max: 0, ..Limits::default() },
        Limits { headers_max: 0, ..Limits::default() },
    ] {
        assert!(record_within(&limits, &get(b"Host: a\r\n")).refusal().is_some());
    }
}

// --- Bodies -------------------------------------------------------------------------------------

fn narrow_body() -> Limits {
    Limits {
        chunk_line_bytes_max: 10,
        chunk_extension_bytes_max: 20,
        trailer_bytes_max: 20,
        ..Limits::default()
    }
}

#[test]
fn chunk_line_has_a_longest_length() {
    for (limits, max) in [(narrow_body(), 10), (Limits::default(), 4096)] {
        let body = |bytes: usize| {
            let line = [&b"1;"[..], &b"a".repeat(bytes - 2)].concat();
            chunked(&[&line[..], b"\r\nx\r\n0\r\n\r\n"].concat())
        };
        assert_eq!(accepted_within(&limits, &body(max)).body(), b"x");
        assert_refused_within(&limits, &body(max + 1), 400);
        assert_refused_within(&limits, &body(max + 2), 400);
        assert_refused_within(&limits, &body(max * 3), 400);
        let open = chunked(&[&b"1;"[..], &b"a".repeat(max)].concat());
        assert_refused_within(&limits, &open, 400);
    }
}

#[test]
fn chunk_extensions_have_a_longest_length_together() {
    let body =
        |chunks: usize| chunked(&[&b"1;aaa\r\nx\r\n".repeat(chunks)[..], b"0\r\n\r\n"].concat());
    assert_eq!(accepted_within(&narrow_body(), &body(5)).body(), b"xxxxx");
    assert_refused_within(&narrow_body(), &body(6), 400);
    assert_eq!(accepted(&body(4096)).ends(), 1);
    assert_refused(&body(4097), 400);
    // Of one body: the next one starts anew.
    let twice = body(5).repeat(2);
    assert_eq!(record_within(&narrow_body(), &twice).ends(), 2);
}

#[test]
fn trailer_section_has_a_longest_length() {
    for (limits, max) in [(narrow_body(), 20), (Limits::default(), 16 * 1024)] {
        // Two lines and the empty one, each with its CRLF.
        let body = |bytes: usize| {
            let value = b"y".repeat(bytes - b"X:\r\nA: \r\n\r\n".len());
            chunked(&[b"0\r\nX:\r\nA: ", &*value, b"\r\n\r\n"].concat())
        };
        assert_eq!(accepted_within(&limits, &body(max)).ends(), 1);
        assert_refused_within(&limits, &body(max + 1), 431);
        assert_refused_within(&limits, &body(max + 2), 431);
        assert_refused_within(&limits, &body(max * 2), 431);
        assert_refused_within(&limits, &chunked(&[b"0\r\n", &*b"X".repeat(max)].concat()), 431);
        assert_refused_within(
            &limits,
            &chunked(&[b"0\r\n", &*b"X:\r\n".repeat(max)].concat()),
            431,
        );
    }
}

// --- Bodies as a whole -------------------------------------------------------------------------

fn with_body(length: u64, body: &[u8]) -> Vec<u8> {
    [&post(&[format!("Content-Length: {length}").as_bytes()])[..], body].concat()
}

#[test]
fn body_has_a_longest_length() {
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    accepted_within(&limits, &with_body(10, b"0123456789"));
    assert_refused_within(&limits, &with_body(11, b"0123456789x"), 413);
    assert_refused_within(&limits, &with_body(u64::MAX >> 1, b""), 413);
    accepted_within(&limits, &chunked(b"a\r\n0123456789\r\n0\r\n\r\n"));
    accepted_within(&limits, &chunked(b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"));
    // As soon as a chunk announces too much.
    assert_refused_within(&limits, &chunked(b"b\r\n"), 413);
    assert_refused_within(&limits, &chunked(b"5\r\n01234\r\n6\r\n"), 413);
    assert_refused_within(&limits, &chunked(b"5\r\n01234\r\nfffffffffffffff\r\n"), 413);
}

#[test]
fn body_limit_of_zero_takes_requests_without_a_body() {
    let limits = Limits { body_bytes_max: 0, ..Limits::default() };
    accepted_within(&limits, &get(b"Host: a\r\n"));
    accepted_within(&limits, &with_body(0, b""));
    accepted_within(&limits, &chunked(b"0\r\n\r\n"));
    assert_refused_within(&limits, &with_body(1, b"x"), 413);
}
