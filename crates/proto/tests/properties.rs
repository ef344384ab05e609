//! Properties over generated inputs: a reference for each grammar, and round trips.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use pronghorn_proto::event::Outbound;
use pronghorn_proto::head::Framing;
use pronghorn_proto::http1::{Next, write_field_line};
use pronghorn_proto::limits::Limits;
use support::response::{self, take};
use support::{Driver, Event, Record, SMUGGLED, post, run};

fn is_token(bytes: &[u8]) -> bool {
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_fit)
}

fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let is_kept = |byte: &u8| !b" \t".contains(byte);
    let start = bytes.iter().position(is_kept).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_kept).map_or(start, |index| index + 1);
    &bytes[start..end]
}

/// Bytes of which many are those that a grammar gives a meaning.
fn bytes_near(meaningful: &'static [u8], length: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => select(meaningful), 1 => any::<u8>()], 0..length)
}

/// The input in pieces, wherever the cuts fall.
fn in_pieces<'i>(input: &'i [u8], cuts: &[Index]) -> Vec<&'i [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for cut in cuts {
        pieces.push(&input[start..cut]);
        start = cut;
    }
    pieces.push(&input[start..]);
    pieces
}

/// What comes of the input, which may not depend on its pieces.
fn run_in_pieces(input: &[u8], cuts: &[Index]) -> Record {
    let whole = run(&Limits::default(), [input]);
    assert_eq!(run(&Limits::default(), in_pieces(input, cuts)), whole);
    assert_eq!(run(&Limits::default(), input.chunks(1)), whole);
    whole
}

/// Fragments of which inputs are made that come close to being requests.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let fragments: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"HEAD /a?b HTTP/1.1\r\n",
        b"POST http://a/ HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Host: a\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b":",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"5;a=b\r\nhello\r\n",
        b"hello",
        b"\0",
        SMUGGLED,
    ];
    prop_oneof![
        8 => select(fragments).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn pieces_make_no_difference(
        fragments in vec(fragment(), 0..12), cuts in vec(any::<Index>(), 0..6)
    ) {
        let record = run_in_pieces(&fragments.concat(), &cuts);
        let over = record.events.iter().position(|event| matches!(event, Event::Closed { .. }));
        prop_assert!(over.is_none_or(|index| index + 1 == record.events.len()));
    }

    #[test]
    fn content_length_is_digits_that_fit(
        value in bytes_near(b"0123456789", 24), cuts in vec(any::<Index>(), 0..3)
    ) {
        let head = post(&[&[b"Content-Length:", &*value].concat()]);
        let record = run_in_pieces(&head, &cuts);
        let digits = trim(&value);
        let number = (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
            .then(|| str::from_utf8(digits).unwrap().parse::<i64>().ok())
            .flatten();
        match number {
            Some(0) => prop_assert_eq!(record.head().framing, Framing::None),
            Some(number) => {
                prop_assert_eq!(record.head().framing, Framing::Length(number.unsigned_abs()));
            }
            None => prop_assert_eq!(record.refused_status(), Some(400)),
        }
    }

    #[test]
    fn transfer_encoding_is_chunked(
        members in vec(select(vec!["chunked", "Chunked", "gzip", "identity", "", " ", "x"]), 0..3),
        separator in select(vec![",", ", ", " ", ";", "\t,"]),
        space in select(vec!["", " ", "\t", "\u{b}"]),
    ) {
        let value = format!("{space}{}", members.join(separator));
        let head = post(&[format!("Transfer-Encoding:{value}").as_bytes()]);
        let record = run_in_pieces(&[&head[..], b"0\r\n\r\n", SMUGGLED].concat(), &[]);
        if value.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked") {
            prop_assert_eq!(record.heads().len(), 2);
        } else {
            prop_assert!(matches!(record.refused_status(), Some(400 | 501)));
            prop_assert_eq!(record.heads().len(), 0);
        }
    }

    #[test]
    fn chunk_line_is_digits_and_an_extension(
        line in bytes_near(b"00123456789abcdefABCDEF;;= \t", 18), cuts in vec(any::<Index>(), 0..3)
    ) {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let is_extension = extension.is_empty() || (extension[0] == b';' && is_value(extension));
        let is_fit = (1..=15).contains(&digits) && is_extension;
        let size = u64::from_str_radix(str::from_utf8(size).unwrap(), 16);
        let input = [&post(&[b"Transfer-Encoding: chunked"])[..], &line, b"\r\n"].concat();
        let rest = match size {
            Ok(0) => b"\r\n".to_vec(),
            Ok(size @ 1..=1000) => {
                [&vec![b'x'; usize::try_from(size).unwrap()][..], b"\r\n0\r\n\r\n"].concat()
            }
            _ => Vec::new(),
        };
        let record = run_in_pieces(&[&input[..], &rest, SMUGGLED].concat(), &cuts);
        match size {
            Ok(size) if is_fit && size <= 1000 => {
                prop_assert_eq!((record.body().len() as u64, record.heads().len()), (size, 2));
            }
            _ if is_fit => prop_assert_eq!((record.refusal(), record.heads().len()), (None, 1)),
            _ => {
                prop_assert_eq!((record.refused_status(), record.heads().len()), (Some(400), 1));
                prop_assert_eq!(record.body(), b"");
            }
        }
    }

    #[test]
    fn chunks_carry_their_data(
        chunks in vec((vec(any::<u8>(), 1..40), "(;[a-z=\" ]{0,9})?", any::<bool>()), 0..6),
        trailers in vec("[A-Za-z-]{1,9}:[ -~]{0,9}\r\n", 0..3),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut input = post(&[b"Transfer-Encoding: chunked"]);
        for (data, extension, is_upper) in &chunks {
            let size = data.len();
            let size = if *is_upper { format!("{size:X}") } else { format!("0{size:x}") };
            input.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            input.extend_from_slice(data);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(format!("0\r\n{}\r\n", trailers.concat()).as_bytes());
        input.extend_from_slice(SMUGGLED);
        let record = run_in_pieces(&input, &cuts);
        let expected: Vec<u8> = chunks.iter().flat_map(|(data, ..)| data.clone()).collect();
        prop_assert_eq!(record.body(), expected);
        prop_assert_eq!((record.ends(), record.heads().len()), (1, 2));
    }

    #[test]
    fn field_is_a_token_and_a_value(
        name in bytes_near(b"Xx-_1", 12),
        value in bytes_near(b"yY \t\x80", 40),
        cuts in vec(any::<Index>(), 0..3),
    ) {
        let line = [&*name, b":", &*value].concat();
        let record = run_in_pieces(&post(&[&line]), &cuts);
        // The first colon ends the name, wherever that is.
        let colon = line.iter().position(|&byte| byte == b':').unwrap();
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if is_token(name) && is_value(value) {
            let field = (name.to_vec(), trim(value).to_vec());
            prop_assert_eq!(&record.head().fields[1], &field);
        } else {
            prop_assert_eq!(record.refused_status(), Some(400));
        }
        let mut out = Vec::new();
        let is_fit = is_token(name) && is_value(value);
        prop_assert_eq!(write_field_line(name, value, &mut out).is_ok(), is_fit);
        prop_assert_eq!(out.is_empty(), !is_fit);
    }

    #[test]
    fn heads_mean_the_same_to_another_parser(
        line in "(GET|POST|BREW|M-X) [!-~]{1,12} HTTP/1[.][01]",
        fields in vec("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,9}:[ \t]{0,2}[ -~\t\u{80}-\u{ff}]{0,12}\r\n", 0..6),
    ) {
        let input = format!("{line}\r\nHost: a\r\n{}\r\n", fields.concat());
        let record = run_in_pieces(input.as_bytes(), &[]);
        if let Some(head) = record.heads().first() {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut parsed = httparse::Request::new(&mut headers);
            let length = parsed.parse(input.as_bytes()).expect("well-formed").unwrap();
            prop_assert_eq!(length, input.len());
            prop_assert_eq!(parsed.method, Some(&*head.method));
            let pairs = head.fields.iter().map(|(name, value)| (&**name, &**value));
            let expected = parsed.headers.iter().map(|field| (field.name.as_bytes(), trim(field.value)));
            prop_assert!(pairs.eq(expected));
        }
    }

    #[test]
    fn responses_are_read_as_they_were_meant(
        exchanges in vec(exchange(), 1..5),
    ) {
        let mut driver = Driver::unanswered(&Limits::default());
        for exchange in &exchanges {
            driver.pending.clear();
            driver.send(exchange.request);
            let headers: Vec<_> =
                exchange.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let start = Outbound::Start { status: exchange.status, headers: &headers };
            driver.submit(&start).unwrap();
            let (last, others) = exchange.pieces.split_last().unwrap();
            for piece in others {
                driver.piece(piece).unwrap();
            }
            driver.end(last).unwrap();
            if driver.next() != Next::Request {
                break;
            }
        }
        let output = driver.take_output();
        let mut rest = &*output;
        for exchange in &exchanges {
            let response = take(&mut rest, exchange.is_head()).expect("a whole response");
            prop_assert_eq!(response.status, exchange.status);
            let body = if response.framing == response::Framing::None {
                Vec::new()
            } else {
                exchange.pieces.concat()
            };
            prop_assert_eq!(&response.body, &body);
            prop_assert_eq!(response.values("server"), [b"test"]);
            for (name, value) in &exchange.headers {
                let name = str::from_utf8(name).unwrap().to_lowercase();
                if name.starts_with("x-") {
                    prop_assert!(response.values(&name).contains(&trim(value)));
                }
            }
            prop_assert_eq!(response.framing == response::Framing::Close, exchange.ends_with_connection());
            if response.closes {
                break;
            }
        }
        prop_assert!(rest.is_empty());
    }
}

/// A request and the response to it.
#[derive(Clone, Debug)]
struct Exchange {
    request: &'static [u8],
    status: u16,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    pieces: Vec<Vec<u8>>,
}

impl Exchange {
    fn is_head(&self) -> bool {
        self.request.starts_with(b"HEAD")
    }

    fn ends_with_connection(&self) -> bool {
        let declares =
            |(name, _): &(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"content-length");
        let has_body = !self.is_head() && ![204, 304].contains(&self.status);
        let is_old = self.request.ends_with(b"HTTP/1.0\r\n\r\n");
        is_old && has_body && self.pieces.len() > 1 && !self.headers.iter().any(declares)
    }
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let requests: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    ];
    let header = prop_oneof![
        6 => ("[Xx]-[a-z]{1,5}", "[ -~\t\u{80}-\u{ff}]{0,12}")
            .prop_map(|(name, value)| (name.into_bytes(), value.into_bytes())),
        1 => select(vec![
            ("Connection", "keep-alive"),
            ("connection", "close"),
            ("connection", "foo"),
            ("Transfer-Encoding", "chunked"),
        ]).prop_map(|(name, value)| (name.into(), value.into())),
    ];
    let status = prop_oneof![2 => Just(200), 1 => Just(204), 1 => Just(304), 2 => 200..=999_u16];
    let pieces = vec(vec(any::<u8>(), 0..50), 1..5);
    (select(requests), status, vec(header, 0..5), pieces, any::<bool>()).prop_map(
        |(request, status, mut headers, mut pieces, declares)| {
            if [204, 304].contains(&status) {
                pieces.iter_mut().for_each(Vec::clear);
            }
            if declares {
                let length = pieces.concat().len().to_string();
                headers.push((b"Content-Length".to_vec(), length.into_bytes()));
            }
            Exchange { request, status, headers, pieces }
        },
    )
}
