//! Static files: paths that stay inside, encodings, preconditions, ranges.

use std::time::{Duration, Instant};

use pronghorn_proto::files::Fields;
use pronghorn_proto::files::encoding::choose;
use pronghorn_proto::files::path::relative;
use pronghorn_proto::files::range::{RANGES_MAX, Ranges, ranges};
use pronghorn_proto::files::selection::{Selection, Validators, http_date, select};
use pronghorn_proto::head::Method;
use proptest::prelude::{any, prop, proptest};

#[test]
fn path_is_decoded() {
    for (raw, expected) in [
        ("/", ""),
        ("/a.txt", "a.txt"),
        ("/a/b/c", "a/b/c"),
        ("/a/", "a/"),
        ("/%61%2Etxt", "a.txt"),
        ("/%e2%82%ac", "\u{20ac}"),
        ("/a%20b", "a b"),
        ("/100%25", "100%"),
        ("/%252e%252e", "%2e%2e"),
        ("/a:b", "a:b"),
        ("/.well-known/security.txt", ".well-known/security.txt"),
        ("/a..b", "a..b"),
        ("/a...", "a..."),
        ("/~user", "~user"),
    ] {
        let relative = relative(raw.as_bytes());
        assert_eq!(relative.as_deref(), Some(expected.as_bytes()), "{raw}");
    }
}

#[test]
fn path_that_could_lead_out_names_nothing() {
    for raw in [
        "",
        "a",
        "//",
        "//host",
        "//host/a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/../etc/passwd",
        "/a/../b",
        "/a/..",
        "/a/.",
        "/%2e",
        "/%2e%2e/etc/passwd",
        "/%2E%2e/",
        "/.%2e/a",
        "/a/%2e%2e/%2e%2e/b",
        "/..%2fetc",
        "/a%2fb",
        "/%2f",
        "/%2Fetc%2Fpasswd",
        "/\\",
        "/..\\..\\a",
        "/a%5cb",
        "/%5c%5chost%5cshare",
        "/C:\\Windows",
        "/C:%5cWindows",
        "/a%00",
        "/a%00.txt",
        "/a%0a",
        "/a%7f",
        "/%",
        "/%a",
        "/%zz",
        "/a%2",
        "/.git/config",
        "/a/.env",
        "/.htaccess",
        "/%2egit",
        "/a/.well-known",
    ] {
        assert_eq!(relative(raw.as_bytes()), None, "{raw}");
    }
}

proptest! {
    #[test]
    fn path_never_leads_out(raw in prop::collection::vec(any::<u8>(), 0..40)) {
        let raw = [b"/", &*raw].concat();
        if let Some(path) = relative(&raw) {
            assert!(!path.starts_with(b"/"));
            let inner = path.strip_suffix(b"/").unwrap_or(&path);
            for name in inner.split(|&byte| byte == b'/') {
                assert!(![&b"."[..], b".."].contains(&name));
                assert!(path.is_empty() || !name.is_empty());
                assert!(name.iter().all(|byte| ![0, b'\\'].contains(byte)));
            }
        }
    }

    #[test]
    fn ranges_lie_within_the_file(field in "bytes=[0-9,\\- ]{0,40}", length in 0_u64..100) {
        if let Ranges::Parts(parts) = ranges(field.as_bytes(), length) {
            assert!(!parts.is_empty() && parts.len() <= RANGES_MAX);
            assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
            assert!(total <= length);
        }
    }
}

#[test]
fn encoding_is_the_one_that_the_client_likes_best() {
    let both: &[&[u8]] = &[b"br", b"gzip"];
    let cases: &[(&[&str], Option<usize>)] = &[
        (&[], None),
        (&[""], None),
        (&["gzip, deflate, br, zstd"], Some(0)),
        (&["gzip"], Some(1)),
        (&["GZIP"], Some(1)),
        (&["gzip", "br"], Some(0)),
        (&["gzip;q=1.0, br;q=0.5"], Some(1)),
        (&["gzip;q=0.5, br;q=0.501"], Some(0)),
        (&["br;q=0, gzip"], Some(1)),
        (&["br;q=0.0, gzip;q=0.000"], None),
        (&["br ; q=0.2 , gzip ; Q=0.1"], Some(0)),
        (&["*"], Some(0)),
        (&["*;q=0"], None),
        (&["*, br;q=0"], Some(1)),
        (&["identity"], None),
        (&["identity, gzip;q=0.5"], None),
        (&["identity;q=0.5, gzip;q=0.5"], Some(1)),
        (&["identity;q=0, gzip;q=0.1"], Some(1)),
        (&["deflate"], None),
        (&["brotli"], None),
        (&["br;q=2"], None),
        (&["br;q=1.001"], None),
        (&["br;q="], None),
        (&["br;q=0.1234"], None),
        (&["br;level=5"], Some(0)),
    ];
    for (lines, expected) in cases {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(choose(&lines, both), *expected, "{lines:?}");
    }
    assert_eq!(choose(&[b"br"], &[]), None);
}

#[test]
fn ranges_are_read() {
    let parts = |parts: &[(u64, u64)]| {
        Ranges::Parts(parts.iter().map(|&(start, end)| start..end).collect())
    };
    for (field, expected) in [
        ("bytes=0-0", parts(&[(0, 1)])),
        ("bytes=0-99", parts(&[(0, 100)])),
        ("bytes=0-100", parts(&[(0, 100)])),
        ("Bytes=99-", parts(&[(99, 100)])),
        ("bytes=-1", parts(&[(99, 100)])),
        ("bytes=-1000", parts(&[(0, 100)])),
        ("bytes=5-99999999999999999999999", parts(&[(5, 100)])),
        ("bytes=-99999999999999999999999", parts(&[(0, 100)])),
        ("bytes=0-9,20-29", parts(&[(0, 10), (20, 30)])),
        ("bytes= 20-29 ,\t0-9, ,", parts(&[(20, 30), (0, 10)])),
        ("bytes=0-9,500-", parts(&[(0, 10)])),
        ("bytes=100-", Ranges::Unsatisfiable),
        ("bytes=100-200,300-", Ranges::Unsatisfiable),
        ("bytes=99999999999999999999999-", Ranges::Unsatisfiable),
        ("bytes=-0", Ranges::Unsatisfiable),
        // The same many times.
        ("bytes=0-,0-", Ranges::Whole),
        ("bytes=0-50,40-99", Ranges::Whole),
        // Not understood.
        ("bytes=", Ranges::Whole),
        ("bytes=,", Ranges::Whole),
        ("bytes", Ranges::Whole),
        ("", Ranges::Whole),
        ("bytes 0-1", Ranges::Whole),
        ("lines=0-1", Ranges::Whole),
        ("bytes=1", Ranges::Whole),
        ("bytes=-", Ranges::Whole),
        ("bytes=2-1", Ranges::Whole),
        ("bytes=a-b", Ranges::Whole),
        ("bytes=+1-2", Ranges::Whole),
        ("bytes=0x1-2", Ranges::Whole),
        ("bytes=1_0-20", Ranges::Whole),
        ("bytes=0-1-2", Ranges::Whole),
        ("bytes=--1", Ranges::Whole),
        ("bytes=0-9,x", Ranges::Whole),
    ] {
        assert_eq!(ranges(field.as_bytes(), 100), expected, "{field}");
    }
    assert_eq!(ranges(b"bytes=0-", 0), Ranges::Unsatisfiable);
    assert_eq!(ranges(b"bytes=-5", 0), Ranges::Unsatisfiable);
}

#[test]
fn ranges_are_few_and_read_in_linear_time() {
    let many = |count: u64| {
        let list: Vec<_> = (0..count).map(|index| format!("{index}-{index}")).collect();
        format!("bytes={}", list.join(","))
    };
    let most = RANGES_MAX as u64;
    assert!(matches!(ranges(many(most).as_bytes(), 100_000), Ranges::Parts(_)));
    assert_eq!(ranges(many(most + 1).as_bytes(), 100_000), Ranges::Whole);
    let long = many(10_000);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(ranges(long.as_bytes(), 100_000), Ranges::Whole);
        assert_eq!(ranges(&[b"bytes=", &*b",".repeat(60_000)].concat(), 100), Ranges::Whole);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "seconds where milliseconds are due");
}

/// A file of a hundred bytes.
const FILE: Validators<'_> = Validators { etag: b"\"a,b\"", modified_s: 784_111_777, length: 100 };
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";

#[track_caller]
fn assert_selects(fields: &Fields<'_>, expected: &Selection) {
    assert_eq!(select(Method::Get, fields, &FILE), *expected, "{fields:?}");
}

#[test]
fn if_none_match_finds_what_the_client_has() {
    let cases: &[(&[&[u8]], bool)] = &[
        (&[b"\"a,b\""], true),
        (&[b"W/\"a,b\""], true),
        (&[b"*"], true),
        (&[b"\"x\", W/\"y\",\"a,b\""], true),
        (&[b"\"x\"", b"\"a,b\""], true),
        (&[b"\"a\""], false),
        (&[b"\"b\""], false),
        (&[b"a,b"], false),
        (&[b"\"a,b"], false),
        (&[b""], false),
        (&[b"\"x\" \"a,b\""], true),
    ];
    for (lines, matches) in cases {
        let fields = Fields { if_none_match: lines.to_vec(), ..Fields::default() };
        let expected = if *matches { Selection::NotModified } else { Selection::Whole };
        assert_selects(&fields, &expected);
        // It goes before the date.
        let fields = Fields { if_modified_since: Some(AFTER), ..fields };
        assert_selects(&fields, &expected);
    }
}

#[test]
fn if_modified_since_compares_dates() {
    for (date, expected) in [
        (DATE, Selection::NotModified),
        (AFTER, Selection::NotModified),
        (BEFORE, Selection::Whole),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", Selection::NotModified),
        (b"yesterday", Selection::Whole),
        (b"\xff", Selection::Whole),
        (b"", Selection::Whole),
    ] {
        let fields = Fields { if_modified_since: Some(date), ..Fields::default() };
        assert_selects(&fields, &expected);
    }
}

#[test]
fn preconditions_of_changes_are_kept() {
    let failed = Selection::PreconditionFailed;
    for (lines, expected) in [
        (&[&b"\"a,b\""[..]][..], Selection::Whole),
        (&[b"*"], Selection::Whole),
        (&[b"W/\"a,b\""], failed.clone()),
        (&[b"\"x\""], failed.clone()),
    ] {
        let fields = Fields { if_match: lines.to_vec(), ..Fields::default() };
        assert_selects(&fields, &expected);
        // It goes before the date.
        assert_selects(&Fields { if_unmodified_since: Some(BEFORE), ..fields }, &expected);
    }
    for (date, expected) in [(DATE, Selection::Whole), (AFTER, Selection::Whole), (BEFORE, failed)]
    {
        let fields = Fields { if_unmodified_since: Some(date), ..Fields::default() };
        assert_selects(&fields, &expected);
    }
}

#[test]
fn if_range_lets_only_current_parts_through() {
    let part = Selection::Parts(std::iter::once(0..1).collect());
    for (if_range, expected) in [
        (None, part.clone()),
        (Some(&b"\"a,b\""[..]), part.clone()),
        (Some(DATE), part.clone()),
        (Some(b"W/\"a,b\""), Selection::Whole),
        (Some(b"\"x\""), Selection::Whole),
        (Some(BEFORE), Selection::Whole),
        (Some(AFTER), Selection::Whole),
        (Some(b"nonsense"), Selection::Whole),
    ] {
        let fields = Fields { range: vec![b"bytes=0-0"], if_range, ..Fields::default() };
        assert_selects(&fields, &expected);
        assert_eq!(select(Method::Head, &fields, &FILE), Selection::Whole);
    }
    let twice = Fields { range: vec![b"bytes=0-0", b"bytes=1-1"], ..Fields::default() };
    assert_selects(&twice, &Selection::Whole);
    let beyond = Fields { range: vec![b"bytes=100-"], ..Fields::default() };
    assert_selects(&beyond, &Selection::Unsatisfiable);
    let fields = Fields { if_none_match: vec![b"*"], ..beyond };
    assert_selects(&fields, &Selection::NotModified);
}

#[test]
fn dates_are_those_of_http() {
    assert_eq!(http_date(784_111_777).as_bytes(), DATE);
    assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}
