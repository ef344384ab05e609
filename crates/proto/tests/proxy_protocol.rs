//! The PROXY protocol: every header whole, byte by byte and with something behind it.

use std::net::SocketAddr;

use pronghorn_proto::proxy_protocol::{BINARY_BYTES_MAX, Malformed, Source, TEXT_BYTES_MAX, read};
use proptest::prelude::{any, prop, proptest};

fn inet(client: &str, server: &str) -> Source {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Source::Inet { client: address(client), server: address(server) }
}

/// Asserts that the header is read as soon as it is whole, and not before.
#[track_caller]
fn assert_read(header: &[u8], origin: &Source) {
    for end in 0..header.len() {
        assert_eq!(read(&header[..end]), Ok(None), "{}", header[..end].escape_ascii());
    }
    let expected = Ok(Some((origin.clone(), header.len())));
    assert_eq!(read(header), expected, "{}", header.escape_ascii());
    for rest in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\r\n", b"PROXY TCP4 ", b"\0", &[255; 5000]] {
        assert_eq!(read(&[header, rest].concat()), expected, "{}", header.escape_ascii());
    }
}

#[track_caller]
fn assert_malformed(input: &[u8]) {
    let refused = |input: &[u8]| matches!(read(input), Err(Malformed(_)));
    assert!(refused(input), "{}", input.escape_ascii());
    // Whatever follows.
    assert!(refused(&[input, b"\r\nGET / HTTP/1.1\r\n\r\n"].concat()), "{}", input.escape_ascii());
}

#[test]
fn text_headers_are_read() {
    for (header, origin) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n", inet("1.2.3.4:111", "5.6.7.8:222")),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            inet("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        ("PROXY TCP6 ::1 2001:db8::1 1 2\r\n", inet("[::1]:1", "[2001:db8::1]:2")),
        ("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", inet("[::ffff:1.2.3.4]:1", "[::1]:2")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            inet(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Source::Proxy),
        ("PROXY UNKNOWN anything at all\r\n", Source::Proxy),
    ] {
        assert!(header.len() <= TEXT_BYTES_MAX);
        assert_read(header.as_bytes(), &origin);
    }
}

#[test]
fn text_header_has_a_longest_length() {
    let of_length = |length: usize| {
        let filler = "x".repeat(length - "PROXY UNKNOWN \r\n".len());
        format!("PROXY UNKNOWN {filler}\r\n")
    };
    assert_read(of_length(TEXT_BYTES_MAX).as_bytes(), &Source::Proxy);
    assert_malformed(of_length(TEXT_BYTES_MAX + 1).as_bytes());
    assert_malformed(&[b"PROXY UNKNOWN ", &*b"x".repeat(TEXT_BYTES_MAX)].concat());
}

#[test]
fn malformed_text_headers_are_refused() {
    for header in [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        " PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY unknown\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 localhost 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n",
        "\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    ] {
        assert_malformed(header.as_bytes());
    }
}

const SIGNATURE: &[u8] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";
const V4: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 0, 111, 1, 0];

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a length");
    [SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

#[test]
fn binary_headers_are_read() {
    let v4 = inet("1.2.3.4:111", "5.6.7.8:256");
    assert_read(&binary(0x21, 0x11, V4), &v4);
    // With additions, whatever they are.
    assert_read(&binary(0x21, 0x11, &[V4, &[0x04, 0, 1, 0]].concat()), &v4);
    assert_read(&binary(0x21, 0x11, &[V4, &[0xff; 999]].concat()), &v4);
    let mut v6 = vec![0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
    assert_read(&binary(0x21, 0x21, &v6), &inet("[::1]:3", "[::2]:4"));
    let mut unix = vec![0; 216];
    unix[..4].copy_from_slice(b"/src");
    unix[108..112].copy_from_slice(b"/dst");
    assert_read(&binary(0x21, 0x31, &unix), &Source::Unix { server: b"/dst".to_vec() });
    unix[108..].fill(b'x');
    assert_read(&binary(0x21, 0x31, &unix), &Source::Unix { server: vec![b'x'; 108] });
    // Local, and of no family.
    for family in [0x00, 0x11, 0x21, 0x31, 0x99] {
        assert_read(&binary(0x20, family, b""), &Source::Proxy);
        assert_read(&binary(0x20, family, V4), &Source::Proxy);
    }
    assert_read(&binary(0x21, 0x00, b""), &Source::Proxy);
    assert_read(&binary(0x21, 0x00, &[7; 100]), &Source::Proxy);
}

#[test]
fn binary_header_has_a_longest_length() {
    let of_length = |length: usize| binary(0x21, 0x11, &[V4, &vec![0; length - 28]].concat());
    assert_read(&of_length(BINARY_BYTES_MAX), &inet("1.2.3.4:111", "5.6.7.8:256"));
    assert_malformed(&of_length(BINARY_BYTES_MAX + 1));
    // As soon as it says so.
    assert_malformed(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat());
}

#[test]
fn malformed_binary_headers_are_refused() {
    for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        assert_malformed(&binary(command, 0x11, V4));
    }
    // Datagrams, and families that do not exist.
    for family in [0x01, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xff] {
        assert_malformed(&binary(0x21, family, &[0; 216]));
    }
    for (family, length) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        for short in [0, 1, length / 2, length - 1] {
            assert_malformed(&binary(0x21, family, &vec![0; short]));
        }
    }
    for position in 0..SIGNATURE.len() {
        let mut header = binary(0x21, 0x11, V4);
        header[position] ^= 0x20;
        assert_malformed(&header);
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(input in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3) {
        let start: &[u8] = match kind {
            0 => b"",
            1 => b"PROXY TCP4 1.2.3.4 ",
            _ => SIGNATURE,
        };
        let input = [start, &*input].concat();
        let whole = read(&input);
        for end in 0..=input.len() {
            match read(&input[..end]) {
                Ok(None) => {}
                // What is said of a part holds for all of it.
                outcome => assert_eq!(outcome, whole, "{}", input[..end].escape_ascii()),
            }
        }
        if let Ok(Some((_, length))) = whole {
            assert!(length <= input.len() && length <= BINARY_BYTES_MAX);
        }
    }
}
