//! Status lines and their phrases (RFC 9112, 4): written with every response, so those of all statuses
//! that have a phrase are there as a whole.

/// Writes a status line.
pub fn status_line(status: u16, out: &mut Vec<u8>) {
    if let Some(line) = line_with_phrase(status) {
        out.extend_from_slice(line.as_bytes());
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        // Without a phrase, there is the space before it all the same.
        out.extend_from_slice(b" \r\n");
    }
}

/// Makes what depends on a status of these pairs.
macro_rules! of_statuses {
    ($($status:literal $phrase:literal,)*) => {
        /// The phrases of Python's `http.HTTPStatus`; empty for a status that has none.
        #[must_use]
        pub fn reason_phrase(status: u16) -> &'static str {
            match status {
                $($status => $phrase,)*
                _ => "",
            }
        }

        /// The whole line of a status that has a phrase.
        fn line_with_phrase(status: u16) -> Option<&'static str> {
            Some(match status {
                $($status => concat!("HTTP/1.1 ", $status, " ", $phrase, "\r\n"),)*
                _ => return None,
            })
        }
    };
}

of_statuses! {
    101 "Switching Protocols",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Request Entity Too Large",
    414 "Request-URI Too Long",
    415 "Unsupported Media Type",
    416 "Requested Range Not Satisfiable",
    417 "Expectation Failed",
    418 "I'm a Teapot",
    421 "Misdirected Request",
    422 "Unprocessable Entity",
    423 "Locked",
    424 "Failed Dependency",
    425 "Too Early",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    510 "Not Extended",
    511 "Network Authentication Required",
}
