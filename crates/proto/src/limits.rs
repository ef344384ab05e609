//! Every bound that a peer can run into, in one place, with the reason for its default.

use std::time::Duration;

/// The bounds of one server. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest request line, together with the empty lines that may precede it. As long as the
    /// header block: long query strings are common.
    pub request_line_bytes_max: usize,
    /// Longest header block, all field lines and the empty one together, with their CRLFs.
    /// Uvicorn's h11 allows 64 KiB as well.
    pub header_bytes_max: usize,
    /// Most field lines in a head, those that are dropped among them. Browsers behind two proxies
    /// send about 40.
    pub headers_max: usize,
    /// Longest chunk-size line including its extensions, which nobody uses honestly.
    pub chunk_line_bytes_max: usize,
    /// All chunk extensions of one body together: else one byte of data can cost a line each.
    pub chunk_extension_bytes_max: usize,
    /// Longest trailer section, measured as the header block is. Trailers are checked and dropped.
    pub trailer_bytes_max: usize,
    /// Longest request body, without its chunk framing. Applications know best: there is none.
    pub body_bytes_max: u64,
    /// The rest of a request body that is read and dropped to keep a connection alive after the
    /// application answered without reading it. More than this costs less as a new connection.
    pub drain_bytes_max: u64,
    /// From the first byte of a head (or from accept) to its end.
    pub request_header_timeout: Duration,
    /// The window in which a body must make progress while the application wants more of it.
    pub request_body_timeout: Duration,
    /// Bytes of a body that must come within one such window.
    pub request_body_window_bytes_min: u64,
    /// From the end of a response to the first byte of the next head.
    pub keep_alive_timeout: Duration,
    pub http2: Http2Limits,
    /// The window in which the peer must take enough of what is to be sent.
    pub write_timeout: Duration,
    /// Bytes that it must take within one such window.
    pub write_window_bytes_min: u64,
}

/// What an HTTP/2 connection is told in the first SETTINGS (RFC 9113, 6.5.2).
#[derive(Clone, Copy, Debug)]
pub struct Http2Limits {
    /// Requests in progress on one connection. Most servers allow about as many; each can hold a
    /// window's worth of memory.
    pub streams_max: u32,
    /// What a stream's peer may send before the application takes it. Enough for what a client sends
    /// until it hears of it at 200 MB/s and 5 ms.
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together. A stream's share takes up to twice as much
    /// memory, and 64 KiB at least once it has come in pieces.
    pub connection_window_bytes: u32,
    /// Largest frame that is taken. Larger ones only make others wait longer.
    pub frame_bytes_max: u32,
    /// Largest header list, counted as HPACK does: 32 bytes for each field besides its own.
    pub header_list_bytes_max: u32,
    /// A stream may become a tunnel for a WebSocket (RFC 8441).
    pub tunnels: bool,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams_max: 100,
            stream_window_bytes: 1024 * 1024,
            connection_window_bytes: 2 * 1024 * 1024,
            frame_bytes_max: 16 * 1024,
            header_list_bytes_max: 64 * 1024,
            tunnels: true,
        }
    }
}

impl Limits {
    /// Longest head: empty lines, request line with its CRLF, and header block.
    #[must_use]
    pub fn head_bytes_max(&self) -> usize {
        self.request_line_bytes_max.saturating_add(2).saturating_add(self.header_bytes_max)
    }
}

/// The bounds of one WebSocket. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct WebSocketLimits {
    /// Longest message, after inflation.
    pub message_bytes_max: usize,
    /// How long after a pong the next ping is sent; `None` for never.
    pub ping_interval: Option<Duration>,
    /// How long a pong may take; `None` for as long as it likes.
    pub ping_timeout: Option<Duration>,
    /// How long the peer may take to answer a close frame. Ten seconds are Uvicorn's.
    pub close_timeout: Duration,
}

impl Default for WebSocketLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * 1024 * 1024,
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Some(Duration::from_secs(20)),
            close_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 64 * 1024,
            header_bytes_max: 64 * 1024,
            headers_max: 100,
            chunk_line_bytes_max: 4 * 1024,
            chunk_extension_bytes_max: 16 * 1024,
            trailer_bytes_max: 16 * 1024,
            body_bytes_max: u64::MAX,
            drain_bytes_max: 64 * 1024,
            request_header_timeout: Duration::from_secs(10),
            request_body_timeout: Duration::from_secs(30),
            request_body_window_bytes_min: 1024,
            keep_alive_timeout: Duration::from_secs(5),
            http2: Http2Limits::default(),
            write_timeout: Duration::from_secs(60),
            write_window_bytes_min: 14 * 1024,
        }
    }
}
