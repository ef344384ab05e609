//! Reads responses as a strict client does; what it cannot read panics.

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HEAD, 1xx, 204 and 304 have none.
    None,
    Length,
    Chunked,
    /// With the connection.
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// `connection: close` is there.
    pub closes: bool,
}

impl Response {
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let headers = self.headers.iter().filter(|(other, _)| other == name);
        headers.map(|(_, value)| &**value).collect()
    }
}

/// Takes a response from the start of `output`, `None` if that ends before it.
pub fn take(output: &mut &[u8], answers_head: bool) -> Option<Response> {
    let (mut response, head_length) = head(output)?;
    let body = &output[head_length..];
    let lengths = response.values("content-length");
    assert!(lengths.len() <= 1, "{response:?}");
    let length = lengths.first().map(|value| {
        let value = str::from_utf8(value).expect("digits").trim_matches([' ', '\t']);
        assert!(value.bytes().all(|byte| byte.is_ascii_digit()), "{response:?}");
        value.parse::<usize>().expect("a number")
    });
    let codings = response.values("transfer-encoding");
    assert!(codings.is_empty() || (codings == [b"chunked"] && length.is_none()), "{response:?}");
    let has_none = answers_head || response.status < 200 || [204, 304].contains(&response.status);
    let (framing, end) = match (has_none, codings.is_empty(), length) {
        (true, is_bare, _) => {
            assert!(is_bare, "{response:?}");
            (Framing::None, Some((Vec::new(), 0)))
        }
        (false, false, _) => (Framing::Chunked, chunks(body)),
        (false, true, Some(length)) => {
            (Framing::Length, body.get(..length).map(|body| (body.to_vec(), length)))
        }
        (false, true, None) => (Framing::Close, Some((body.to_vec(), body.len()))),
    };
    let (body, body_length) = end?;
    *output = &output[head_length + body_length..];
    response.framing = framing;
    response.body = body;
    Some(response)
}

fn head(output: &[u8]) -> Option<(Response, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 200];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(output).expect("a well-formed head")
    else {
        return None;
    };
    let head = &output[..length];
    for (index, byte) in head.iter().enumerate() {
        let after_cr = index > 0 && head[index - 1] == b'\r';
        assert_eq!(*byte == b'\n', after_cr, "lines end with CRLF alone");
    }
    assert_eq!(parsed.version, Some(1));
    let headers = parsed.headers.iter();
    let headers = headers.map(|header| (header.name.to_owned(), header.value.to_vec()));
    let mut response = Response {
        status: parsed.code.expect("a status"),
        headers: headers.collect(),
        framing: Framing::None,
        body: Vec::new(),
        closes: false,
    };
    response.closes = response.values("connection").iter().any(|value| {
        let mut members = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        members.any(|member| member.eq_ignore_ascii_case(b"close"))
    });
    Some((response, length))
}

/// The data of a chunked body, and its length on the wire.
fn chunks(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut data = Vec::new();
    let mut start = 0;
    loop {
        let rest = &body[start..];
        let httparse::Status::Complete((length, size)) =
            httparse::parse_chunk_size(rest).expect("a chunk size")
        else {
            return None;
        };
        let size = usize::try_from(size).expect("a size");
        data.extend_from_slice(rest.get(length..length + size)?);
        let end = rest.get(length + size..length + size + 2)?;
        assert_eq!(end, b"\r\n", "chunks and bodies end with CRLF");
        start += length + size + 2;
        if size == 0 {
            return Some((data, start));
        }
    }
}
