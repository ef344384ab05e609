//! The opening handshake: what is accepted, what is refused and how, and what is agreed on.

use std::time::Instant;

use pronghorn_proto::event::{Inbound, Input};
use pronghorn_proto::head::{Framing, RequestHead};
use pronghorn_proto::http1;
use pronghorn_proto::limits::Limits;
use pronghorn_proto::websocket::deflate::DeflateLimits;
use pronghorn_proto::websocket::handshake::{
    Handshake, Refusal, is_wanted, subprotocol_field, subprotocols,
};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";

fn head(request_line: &str, lines: &[&str]) -> (RequestHead, Vec<u8>) {
    let mut bytes = format!("{request_line}\r\nHost: a\r\n");
    for line in lines {
        bytes += line;
        bytes += "\r\n";
    }
    bytes += "\r\n";
    let limits = Limits::default();
    let mut head = RequestHead::default();
    let mut input = Input::new(bytes.as_bytes());
    let event = http1::Connection::new(Instant::now(), &limits)
        .receive(Instant::now(), &limits, &mut input, &mut head)
        .expect("a head");
    assert!(matches!(event, Some(Inbound::Head(_))));
    (head, bytes.into_bytes())
}

fn upgrade(method: &str, lines: &[&str]) -> Result<Handshake, Refusal> {
    let lines = [&["Upgrade: websocket", "Connection: Upgrade"], lines].concat();
    let (head, source) = head(&format!("{method} /chat HTTP/1.1"), &lines);
    assert!(is_wanted(&head, &source));
    Handshake::of_upgrade(&head, &source, Some(&DeflateLimits::default()))
}

fn fields(handshake: &Handshake) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    handshake.fields().map(|(name, value)| (text(name), text(value))).collect()
}

#[test]
fn key_of_the_rfc_is_answered_as_in_the_rfc() {
    let handshake = upgrade("GET", &[KEY, VERSION]).expect("RFC 6455, 1.3");
    let expected = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    assert_eq!(
        fields(&handshake),
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn only_the_one_protocol_is_wanted() {
    for (line, wanted) in [
        ("Upgrade: websocket", true),
        ("upgrade: WebSocket", true),
        ("Upgrade: h2c", false),
        ("Upgrade: websocket, foo", false),
    ] {
        let (head, source) = head("GET / HTTP/1.1", &[line, "Connection: keep-alive, Upgrade"]);
        assert_eq!(is_wanted(&head, &source), wanted, "{line}");
    }
    let (head, source) = head("GET / HTTP/1.1", &["Upgrade: websocket"]);
    assert!(!is_wanted(&head, &source), "without Connection: upgrade");
}

#[test]
fn refusals_have_a_status_and_words() {
    let cases: [(&str, &[&str], u16, &str); 10] = [
        ("POST", &[KEY, VERSION], 405, "unsupported HTTP method: POST"),
        ("BREW", &[KEY, VERSION], 405, "unsupported HTTP method: BREW"),
        ("GET", &[VERSION], 400, "missing Sec-WebSocket-Key header"),
        ("GET", &[KEY], 400, "missing Sec-WebSocket-Version header"),
        ("GET", &[KEY, KEY, VERSION], 400, "invalid Sec-WebSocket-Key header: multiple values"),
        (
            "GET",
            &["Sec-WebSocket-Key: AAAA", VERSION],
            400,
            "invalid Sec-WebSocket-Key header: AAAA",
        ),
        (
            "GET",
            &["Sec-WebSocket-Key: ????????????????????????", VERSION],
            400,
            "invalid Sec-WebSocket-Key header: ????????????????????????",
        ),
        ("GET", &[KEY, "Sec-WebSocket-Version: 8"], 400, "invalid Sec-WebSocket-Version header: 8"),
        (
            "GET",
            &[KEY, VERSION, "Sec-WebSocket-Extensions: permessage-deflate=;"],
            400,
            "invalid Sec-WebSocket-Extensions header: permessage-deflate=;",
        ),
        (
            "GET",
            &[KEY, VERSION, "Sec-WebSocket-Extensions: a b"],
            400,
            "invalid Sec-WebSocket-Extensions header: a b",
        ),
    ];
    for (method, lines, status, complaint) in cases {
        let refusal = upgrade(method, lines).expect_err(complaint);
        assert_eq!(refusal.status, status, "{complaint}");
        assert_eq!(refusal.text, format!("Failed to open a WebSocket connection: {complaint}.\n"));
    }
    assert_eq!(upgrade("POST", &[]).unwrap_err().field, Some((&b"allow"[..], &b"GET"[..])));
}

#[test]
fn offers_are_answered_as_rfc_7692_says() {
    let cases = [
        ("permessage-deflate", Some("; server_max_window_bits=12")),
        (
            "permessage-deflate; client_max_window_bits",
            Some("; server_max_window_bits=12; client_max_window_bits=12"),
        ),
        (
            "permessage-deflate; client_max_window_bits=10; server_max_window_bits=\"10\"",
            Some("; server_max_window_bits=10; client_max_window_bits=10"),
        ),
        (
            "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=12",
            ),
        ),
        (
            "permessage-deflate; client_max_window_bits=15",
            Some("; server_max_window_bits=12; client_max_window_bits=12"),
        ),
        // Declined: unknown, out of range, without or with a value, twice.
        ("permessage-deflate; foo", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=012", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("x-webkit-deflate-frame", None),
        ("", None),
        // The first one that will do.
        ("foo, permessage-deflate; bar, permessage-deflate", Some("; server_max_window_bits=12")),
    ];
    for (offer, answer) in cases {
        let line = format!("Sec-WebSocket-Extensions: {offer}");
        let handshake = upgrade("GET", &[KEY, VERSION, &line]).expect(offer);
        let found = fields(&handshake).into_iter().find(|(name, _)| name.ends_with("Extensions"));
        assert_eq!(
            found.map(|(_, value)| value),
            answer.map(|parameters| format!("permessage-deflate{parameters}")),
            "{offer}"
        );
    }
}

#[test]
fn offers_may_stand_in_several_lines() {
    let lines = [
        KEY,
        VERSION,
        "Sec-WebSocket-Extensions: foo; a=\"b,c;d\"",
        "Sec-WebSocket-Extensions: permessage-deflate",
    ];
    // A quoted string that is no token is malformed here.
    assert!(upgrade("GET", &lines).is_err());
    let lines = [KEY, VERSION, "Sec-WebSocket-Extensions: foo", lines[3]];
    assert!(upgrade("GET", &lines).unwrap().agreement.is_some());
}

#[test]
fn nothing_is_agreed_on_where_deflate_is_off() {
    let lines = ["Upgrade: websocket", "Connection: Upgrade", KEY, VERSION];
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    let (head, source) = head("GET / HTTP/1.1", &[&lines[..], &[offer]].concat());
    let handshake = Handshake::of_upgrade(&head, &source, None).unwrap();
    assert_eq!(handshake.agreement, None);
    assert_eq!(fields(&handshake).len(), 3);
}

#[test]
fn a_stream_that_needs_no_upgrade_needs_no_key() {
    let (mut head, source) = head("GET / HTTP/1.1", &[VERSION]);
    head.framing = Framing::Chunked;
    let handshake = Handshake::of_connect(&head, &source, None).expect("RFC 8441, 5");
    assert_eq!(fields(&handshake), []);
    head.framing = Framing::None;
    assert_eq!(Handshake::of_connect(&head, &source, None).unwrap_err().status, 400);
}

#[test]
fn subprotocols_come_in_their_order() {
    let lines =
        ["Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol:  v2.example , ,"];
    let (head, source) = head("GET / HTTP/1.1", &lines);
    let found: Vec<&[u8]> = subprotocols(&head, &source).collect();
    assert_eq!(found, [&b"chat"[..], b"superchat", b"v2.example"]);
    assert!(subprotocol_field(b"chat").is_ok());
    for invalid in [&b""[..], b"a b", b"a\r\nb", b"a,b", b"\xc3\xbc"] {
        assert!(subprotocol_field(invalid).is_err(), "{invalid:?}");
    }
}
