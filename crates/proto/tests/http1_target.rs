//! Where a request is addressed to: its target and its `Host`, which must agree.
//!
//! Every input comes whole, byte by byte and cut at every point, which must make no difference.

mod support;

use support::{accepted, assert_refused, get, record};

fn request_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: a\r\n\r\n"].concat()
}

// --- Target -------------------------------------------------------------------------------------

#[test]
fn every_byte_of_a_target_is_visible_ascii() {
    for byte in 0..=255 {
        // Around the width in which targets are looked at.
        for (before, after) in [(0, 1), (1, 0), (4, 0), (5, 0), (6, 0), (0, 9), (9, 20), (20, 9)] {
            for start in ["/", "/?"] {
                let target = format!("{start}{}", "a".repeat(before)).into_bytes();
                let target = [&*target, &[byte], &b"b".repeat(after)].concat();
                let input = request_line(&[b"GET ", &*target, b" HTTP/1.1"].concat());
                if (0x21..=0x7e).contains(&byte) {
                    accepted(&input);
                } else {
                    assert_refused(&input, 400);
                }
            }
        }
    }
}

#[test]
fn splits_targets_into_path_and_query() {
    let cases = [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/??", "/", "?"),
        ("//a//b", "//a//b", ""),
        ("/a;b=c", "/a;b=c", ""),
        ("/%2e%2e/", "/%2e%2e/", ""),
        // A fragment has no place in a request: it is in neither.
        ("/a#b", "/a", ""),
        ("/a?b#c", "/a", "b"),
        ("/a#b?c", "/a", ""),
        ("/#", "/", ""),
        ("http://a", "", ""),
        ("http://a/", "/", ""),
        ("HTTP://A/b?c", "/b", "c"),
        ("https://a?b/c", "", "b/c"),
        ("http://a#b", "", ""),
        ("http://a/http://b/", "/http://b/", ""),
    ];
    for (target, path, query) in cases {
        let record = record(&request_line(format!("GET {target} HTTP/1.1").as_bytes()));
        let head = record.head();
        assert_eq!((&*head.path, &*head.query), (path.as_bytes(), query.as_bytes()), "{target}");
    }
}

#[test]
fn refuses_targets_of_no_known_form() {
    for target in [
        "a",
        "a/b",
        "?a",
        "#a",
        "*",
        "*a",
        "\\",
        "a:80",
        "http:",
        "http:/",
        "http://",
        "http:///",
        "http:///a",
        "http://?a",
        "http://#a",
        "ftp://a/",
        "://a/",
        "http//a/",
        "httpx://a/",
    ] {
        assert_refused(&request_line(format!("GET {target} HTTP/1.1").as_bytes()), 400);
    }
}

#[test]
fn asterisk_is_for_options() {
    let record = accepted(&request_line(b"OPTIONS * HTTP/1.1"));
    assert_eq!(record.head().path, b"*");
    assert_refused(&request_line(b"POST * HTTP/1.1"), 400);
    assert_refused(&request_line(b"OPTIONS ** HTTP/1.1"), 400);
}

#[test]
fn connect_is_not_implemented() {
    for target in ["a:80", "/", "*", "http://a/", "[::1]:443"] {
        assert_refused(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 501);
    }
}

// --- Host ---------------------------------------------------------------------------------------

#[test]
fn host_is_required_by_http_1_1_alone() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", 400);
    assert_refused(b"GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", 400);
    accepted(b"GET / HTTP/1.0\r\n\r\n");
    accepted(b"GET http://a/ HTTP/1.0\r\n\r\n");
}

#[test]
fn refuses_two_hosts() {
    for fields in
        ["Host: a\r\nHost: a\r\n", "Host: a\r\nX: y\r\nHOST: b\r\n", "Host:\r\nHost: a\r\n"]
    {
        assert_refused(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), 400);
        assert_refused(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes(), 400);
    }
}

#[test]
fn accepts_names_and_addresses_as_host() {
    for host in [
        "",
        "a",
        "a.example",
        "a.example.",
        "a_b.example",
        "A-b:1",
        "127.0.0.1:80",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "a%2eb",
        "[::1]",
        "[::1]:8000",
        "[::ffff:1.2.3.4]",
        "[1:2:3:4:5:6:7:8]",
    ] {
        accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
}

#[test]
fn refuses_hosts_that_are_no_authority() {
    let hosts: &[&[u8]] = &[
        b"a/b",
        b"a/",
        b"/",
        b"a?b",
        b"a#b",
        b"user@a",
        b"user:password@a",
        b"@a",
        b"a b",
        b"a\tb",
        b"a, b",
        b"a\\b",
        b"\"a\"",
        b"<a>",
        b"{a}",
        b"a|b",
        b"a^b",
        b"a`b",
        b"a%zz",
        b"a%",
        b"a%2",
        b"a:b",
        b"a:80:80",
        b"a:-1",
        b"a:+80",
        b"a:8 0",
        b"a: 80",
        b"a:80/",
        b":80",
        b"::1",
        b"[::1",
        b"::1]",
        b"[::1]]",
        b"[::1]a",
        b"[::1]:a",
        b"[a",
        b"[]",
        b"[]:80",
        b"http://a",
        b"a\x80b",
        b"\xc3\xa9.example",
        b"a\0b",
        b"a\x7fb",
        // What Python's `urlsplit` and its `port` raise on.
        b"a:65536",
        b"a:99999",
        b"a:18446744073709551696",
        b"[.]",
        b"[:]",
        b"[1.2.3.4]",
        b"[::g]",
        b"[::1%25eth0]",
        b"[v1.a]",
        b"[:::1]",
        b"[1:2:3:4:5:6:7:8:9]",
    ];
    for host in hosts {
        assert_refused(&get(&[b"Host: ", *host, b"\r\n"].concat()), 400);
    }
}

#[test]
fn authority_of_an_absolute_form_is_the_host() {
    for (authority, host) in
        [("a", "a"), ("A.b", "a.B"), ("[::1]:80", "[::1]:80"), ("a:80", "a:80")]
    {
        let input = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        accepted(input.as_bytes());
    }
    for authority in [
        "b",
        "a.b",
        "b.a",
        "a:81",
        "a:80:80",
        "a@b",
        "user@a",
        "user:password@a",
        "a\\@b",
        "[::1]",
        "[a]",
        "a%2eb",
        "a,b",
        "a:",
        ":a",
        "a:80@a",
    ] {
        let input = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_refused(input.as_bytes(), 400);
    }
    assert_refused(b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", 400);
    assert_refused(b"GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", 400);
}
