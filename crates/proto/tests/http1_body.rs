//! Where a request's body ends: what is understood, and what is refused because two servers could
//! disagree.
//!
//! Every input comes whole, byte by byte and cut at every point, which must make no difference.

mod support;

use pronghorn_proto::head::Framing;
use pronghorn_proto::limits::Limits;
use support::{Event, SMUGGLED, accepted, assert_refused, chunked, post, record, run};

// --- Transfer-Encoding --------------------------------------------------------------------------

/// Codings, and how they are refused by HTTP/1.1.
const CODINGS: &[(&[u8], u16)] = &[
    (b"", 400),
    (b" ", 400),
    (b"x", 400),
    (b"0", 400),
    (b"*", 400),
    (b"true", 400),
    (b"none", 400),
    (b"chunk", 400),
    (b"chunke", 400),
    (b"xchunked", 400),
    (b"chunkedx", 400),
    (b"chunkedd", 400),
    (b"x-chunked", 400),
    (b"chunked-x", 400),
    (b",chunked", 400),
    (b", chunked", 400),
    (b"chunked,", 400),
    (b"chunked, ", 400),
    (b"chunked ,", 400),
    (b"chunked,,", 400),
    (b"chunked,chunked", 400),
    (b"chunked, chunked", 400),
    (b"chunked chunked", 400),
    (b"chunked\tchunked", 400),
    (b"gzip", 400),
    (b"deflate", 400),
    (b"br", 400),
    (b"trailers", 400),
    (b"identity", 400),
    (b"gzip,chunked", 501),
    (b"gzip, chunked", 501),
    (b"GZIP , CHUNKED", 501),
    (b"compress,deflate,\tchunked", 501),
    (b"x-gzip, chunked", 501),
    (b"identity, chunked", 501),
    (b"gzip, chunked, chunked", 400),
    (b"chunked, gzip, chunked", 400),
    (b"gzip,, chunked", 400),
    (b", gzip, chunked", 400),
    (b"gz ip, chunked", 400),
    (b"gzip;q=1, chunked", 400),
    (b"chunked, identity", 400),
    (b"chunked, gzip", 400),
    (b"gzip, chunked, identity", 400),
    (b"gzip chunked", 400),
    (b"chunked;", 400),
    (b"chunked;q=1", 400),
    (b"chunked; a=b", 400),
    (b"chunked=", 400),
    (b"chunked/1", 400),
    (b"chunked:chunked", 400),
    (b"\"chunked\"", 400),
    (b"'chunked'", 400),
    (b"[chunked]", 400),
    (b"<chunked>", 400),
    (b"c hunked", 400),
    (b"%63hunked", 400),
    (b"\x0bchunked", 400),
    (b"chunked\x0b", 400),
    (b"\x0cchunked", 400),
    (b"\x1cchunked", 400),
    (b"\x1fchunked", 400),
    (b"\0chunked", 400),
    (b"chunked\0", 400),
    (b"chunked\x7f", 400),
    (b"\x85chunked", 400),
    (b"chunked\xa0", 400),
    (b"\xc2\xa0chunked", 400),
    (b"\xef\xbb\xbfchunked", 400),
    (b"chun\xe2\x84\xaaed", 400),
    (b"\rchunked", 400),
    (b"chunked\r", 400),
    (b"\nchunked", 400),
];

#[test]
fn refuses_any_transfer_encoding_but_chunked() {
    for (coding, status) in CODINGS {
        let head = post(&[&[b"Transfer-Encoding: ", *coding].concat()]);
        assert_refused(&[&head[..], b"0\r\n\r\n"].concat(), *status);
    }
}

#[test]
fn refuses_any_transfer_encoding_in_http_1_0() {
    for (coding, _) in [&[(&b"chunked"[..], 0)], CODINGS].concat() {
        let head = [b"POST / HTTP/1.0\r\nTransfer-Encoding: ", coding, b"\r\n\r\n"].concat();
        assert_refused(&[&head[..], b"0\r\n\r\n"].concat(), 400);
    }
}

#[test]
fn accepts_chunked_in_any_case_and_with_space_around() {
    for coding in ["chunked", " Chunked", "CHUNKED \t", "\t chunked"] {
        let head = post(&[format!("Transfer-Encoding:{coding}").as_bytes()]);
        let record = accepted(&[&head[..], b"5\r\nhello\r\n0\r\n\r\n"].concat());
        assert_eq!((record.head().framing, &*record.body()), (Framing::Chunked, &b"hello"[..]));
    }
}

#[test]
fn refuses_two_transfer_encodings() {
    for (first, second) in [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("gzip", "chunked"),
        ("chunked", ""),
        ("", "chunked"),
    ] {
        let first = format!("Transfer-Encoding: {first}");
        let second = format!("TRANSFER-encoding: {second}");
        assert_refused(&post(&[first.as_bytes(), second.as_bytes()]), 400);
    }
}

#[test]
fn refuses_framing_fields_in_disguise() {
    let lines: &[&[u8]] = &[
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding\0: chunked",
        b"Transfer-Encoding",
        b"Transfer-Encoding chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\r\rTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunked\r\n identity",
        b"Content-Length : 5",
        b"Content-Length\x0b: 5",
        b"X: y\nContent-Length: 5",
    ];
    for line in lines {
        assert_refused(&post(&[line]), 400);
    }
    let record = accepted(&post(&[b"Transfer_Encoding: chunked", b"Content_Length: 9"]));
    assert_eq!(record.head().framing, Framing::None);
}

// --- Content-Length -----------------------------------------------------------------------------

#[test]
fn refuses_content_lengths_that_are_no_number() {
    let lengths: &[&[u8]] = &[
        b"",
        b"  ",
        b"+5",
        b"-5",
        b"-0",
        b"--5",
        b"5-",
        b"5_0",
        b"0x5",
        b"0b1",
        b"0o5",
        b"5h",
        b"a",
        b"five",
        b"NaN",
        b"inf",
        b"5.0",
        b".5",
        b"5.",
        b"5e0",
        b"5,5",
        b"5, 5",
        b"5 ,5",
        b"5,6",
        b",5",
        b"5,",
        b"5 5",
        b"5\t5",
        b"5;",
        b"5/5",
        b"\"5\"",
        b"'5'",
        b"%35",
        b"5\0",
        b"\x005",
        b"\x0b5",
        b"5\x0b",
        b"\x0c5",
        b"\x1c5",
        b"5\x1f",
        b"5\x7f",
        b"\xa05",
        b"5\xa0",
        b"\x855",
        b"\xb2",
        b"\xc2\xb2",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
        b"5\r",
        b"\r5",
        b"\n5",
        b"9223372036854775808",
        b"18446744073709551615",
        b"18446744073709551616",
        b"18446744073709551621",
        b"36893488147419103237",
        b"99999999999999999999999999999999",
    ];
    for length in lengths {
        assert_refused(&post(&[&[b"Content-Length: ", *length].concat()]), 400);
    }
}

#[test]
fn accepts_content_lengths_of_digits() {
    for (length, framing) in [
        ("5", Framing::Length(5)),
        ("05", Framing::Length(5)),
        ("\t 0000000000000000000000000005 ", Framing::Length(5)),
        ("0", Framing::None),
        ("000", Framing::None),
    ] {
        let body: &[u8] = if framing == Framing::None { b"" } else { b"hello" };
        let head = post(&[format!("Content-Length:{length}").as_bytes()]);
        let record = accepted(&[&head[..], body].concat());
        assert_eq!((record.head().framing, &*record.body()), (framing, body));
    }
    let record = record(&post(&[b"Content-Length: 9223372036854775807"]));
    assert_eq!(record.head().framing, Framing::Length(i64::MAX.unsigned_abs()));
}

#[test]
fn refuses_two_content_lengths() {
    for (first, second) in [("5", "5"), ("5", "6"), ("0", "5"), ("5", ""), ("0", "0"), ("5", "05")]
    {
        let first = format!("Content-Length: {first}");
        let second = format!("content-length: {second}");
        assert_refused(&post(&[first.as_bytes(), second.as_bytes()]), 400);
    }
}

#[test]
fn refuses_content_length_with_transfer_encoding() {
    for length in ["0", "5"] {
        for coding in ["chunked", "identity", "gzip, chunked", "xchunked"] {
            let length = format!("Content-Length: {length}");
            let coding = format!("Transfer-Encoding: {coding}");
            assert_refused(&post(&[length.as_bytes(), coding.as_bytes()]), 400);
            assert_refused(&post(&[coding.as_bytes(), length.as_bytes()]), 400);
        }
    }
}

#[test]
fn bodies_of_any_method_are_no_requests() {
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE"] {
        let length = SMUGGLED.len();
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let record = record(&[head.as_bytes(), SMUGGLED].concat());
        assert_eq!((record.heads().len(), record.body()), (1, SMUGGLED.to_vec()));
    }
}

// --- Chunks -------------------------------------------------------------------------------------

#[test]
fn accepts_well_formed_chunks() {
    let bodies: &[&[u8]] = &[
        b"5\r\nhello\r\n0\r\n\r\n",
        b"000000000000005\r\nhello\r\n000000000000000\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n",
        b"5;a\r\nhello\r\n0;a=b\r\n\r\n",
        b"5;\r\nhello\r\n0;\r\n\r\n",
        b"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
        b"5; a = b\t\r\nhello\r\n0\r\n\r\n",
        b"5;\x80\xff\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    ];
    for body in bodies {
        let record = accepted(&chunked(body));
        assert_eq!(
            (record.body(), record.ends()),
            (b"hello".to_vec(), 1),
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn refuses_malformed_chunks() {
    let bodies: &[&[u8]] = &[
        // Sizes.
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"\t5\r\nhello\r\n",
        b"5\t\r\nhello\r\n",
        b"5 ;a\r\nhello\r\n",
        b"5 5\r\nhello\r\n",
        b"5h\r\nhello\r\n",
        b"g\r\nhello\r\n",
        b"5.0\r\nhello\r\n",
        b"5,\r\nhello\r\n",
        b"\"5\"\r\nhello\r\n",
        b"\x005\r\nhello\r\n",
        b"5\0\r\nhello\r\n",
        b"5\x0b\r\nhello\r\n",
        b"5\xa0\r\nhello\r\n",
        b"\xb2\r\nhe\r\n",
        b"\r\nhello\r\n",
        b";a=b\r\nhello\r\n",
        b"0000000000000005\r\nhello\r\n",
        b"fffffffffffffffe\r\nhello\r\n",
        b"10000000000000005\r\nhello\r\n",
        b"fffffffffffffffff\r\nhello\r\n",
        // Line ends.
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5\r\rhello\r\n",
        b"5\r\r\nhello\r\n",
        b"5\n\r\nhello\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\n\rX",
        b"0\r\n\r\r\n",
        b"0\r\r\n\r\n",
        b"00\n\r\n",
        // Extensions.
        b"5;\nhello\r\n",
        b"5;a\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;a=b\r\r\nhello\r\n",
        b"5;a=b\n\r\nhello\r\n",
        b"5;a=\"\n\"\r\nhello\r\n",
        b"5;a=\"\r\"\r\nhello\r\n",
        b"5;a\0b\r\nhello\r\n",
        b"5;a\x7f\r\nhello\r\n",
        b"2;\n00\r\n0\r\n\r\n",
        b"0;\n\r\n",
        b"0;a\rb\r\n\r\n",
        // What follows the data.
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n",
        b"5\r\nhello\n\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"5\r\nhello \r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
    ];
    for body in bodies {
        assert_refused(&chunked(body), 400);
    }
}

#[test]
fn largest_chunk_does_not_wrap() {
    let record = record(&chunked(&[b"fffffffffffffff\r\n", SMUGGLED].concat()));
    assert_eq!((record.heads().len(), record.body()), (1, SMUGGLED.to_vec()));
}

#[test]
fn pieces_of_a_body_are_told_as_they_come() {
    let pieces = [&chunked(b"5\r\nhe")[..], b"l", b"lo\r\n0\r", b"\n\r\n"];
    let mut driver = support::Driver::unanswered(&Limits::default());
    let bodies: Vec<_> = pieces.map(|piece| driver.send(piece).record.body()).into();
    assert_eq!(bodies, [&b"he"[..], b"hel", b"hello", b"hello"]);
    assert_eq!(driver.record.ends(), 1);
}

#[test]
fn truncated_body_never_ends() {
    for input in [
        chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"),
        [&post(&[b"Content-Length: 11"])[..], b"hello world"].concat(),
    ] {
        assert_eq!(accepted(&input).body(), b"hello world");
        for cut in 1..input.len() {
            let record = run(&Limits::default(), [&input[..cut]]);
            assert_eq!((record.ends(), record.refusal()), (0, None), "at {cut}");
            assert!(b"hello world".starts_with(&record.body()));
        }
    }
}

// --- Trailers -----------------------------------------------------------------------------------

#[test]
fn trailers_are_checked_and_dropped() {
    for trailer in [
        "Host: evil",
        "Content-Length: 40",
        "Transfer-Encoding: identity",
        "Authorization: evil",
        "X-Forwarded-For: 1.2.3.4",
        "Connection: close",
        "X:",
        "X: y\r\nX: y",
    ] {
        let record = accepted(&chunked(format!("1\r\nx\r\n0\r\n{trailer}\r\n\r\n").as_bytes()));
        assert_eq!((record.head().fields.len(), record.head().persistent), (2, true), "{trailer}");
        let next = [&chunked(format!("0\r\n{trailer}\r\n\r\n").as_bytes())[..], SMUGGLED].concat();
        assert_eq!(support::record(&next).heads().len(), 2, "{trailer}");
    }
}

#[test]
fn refuses_malformed_trailers() {
    let trailers: &[&[u8]] = &[
        b"no colon\r\n\r\n",
        b": value\r\n\r\n",
        b"a b: c\r\n\r\n",
        b"X : y\r\n\r\n",
        b" X: y\r\n\r\n",
        b"X: y\r\n Z: z\r\n\r\n",
        b"X: y\r\n\tz\r\n\r\n",
        b"X: y\nZ: z\r\n\r\n",
        b"X: y\rZ: z\r\n\r\n",
        b"X: y\n\n",
        b"X: y\r\n\n",
        b"X: y\r\n\rZ",
        b"X: \0\r\n\r\n",
        b"X\0: y\r\n\r\n",
        b"X: \x0b\r\n\r\n",
        b"X: \x7f\r\n\r\n",
        b"X\x80: y\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for trailer in trailers {
        assert_refused(&chunked(&[b"5\r\nhello\r\n0\r\n", *trailer].concat()), 400);
    }
}

#[test]
fn nothing_is_understood_after_a_refusal() {
    for fault in [b"GET /\0".to_vec(), chunked(b"x\r\n"), post(&[b"Content-Length: x"])] {
        let mut driver = support::Driver::new(&Limits::default());
        for _ in 0..3 {
            driver.send(&fault).send(SMUGGLED);
        }
        let refusals =
            driver.record.events.iter().filter(|event| matches!(event, Event::Refused(_)));
        assert_eq!(refusals.count(), 1);
        assert!(driver.pending.is_empty(), "what comes is dropped");
        assert!(matches!(driver.record.events.last(), Some(Event::Closed { linger: true })));
    }
}
