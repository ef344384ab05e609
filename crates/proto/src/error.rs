//! Errors, by who made them: the peer (answered with a status) or the application (raised in it).

use std::fmt;

/// A request that is refused: what to answer, and what to log. The connection closes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status to answer with.
    pub status: u16,
    /// Why, for the log. Holds nothing that the peer sent.
    pub reason: &'static str,
    /// The answer's body, where it is not the usual one.
    pub text: Option<&'static str>,
}

impl Reject {
    /// A body that is longer than this server takes (RFC 9110, 15.5.14).
    pub const CONTENT_TOO_LARGE: Self = Self::with_status(413, "request body too long");

    /// Malformed syntax or framing that could be read in two ways.
    #[must_use]
    pub const fn bad_request(reason: &'static str) -> Self {
        Self::with_status(400, reason)
    }

    /// The same with a text of its own.
    #[must_use]
    pub const fn with_text(self, text: &'static str) -> Self {
        Self { text: Some(text), ..self }
    }

    /// Another 4xx or 5xx.
    #[must_use]
    pub const fn with_status(status: u16, reason: &'static str) -> Self {
        Self { status, reason, text: None }
    }
}

/// A WebSocket that is failed: the code and the reason of the close frame (RFC 6455, 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
}

impl Failure {
    /// Framing that RFC 6455 does not allow.
    #[must_use]
    pub const fn protocol_error(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }

    /// A message whose content is not what its type says.
    #[must_use]
    pub const fn invalid_data(reason: &'static str) -> Self {
        Self { code: 1007, reason }
    }

    /// A message above the limit.
    #[must_use]
    pub const fn too_big() -> Self {
        Self { code: 1009, reason: "message too big" }
    }
}

/// What an application did wrong with `send`. Uvicorn's texts, which people match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationError {
    /// The message's type is not the one expected now.
    ExpectedStart,
    /// A response is under way and this is not its body.
    ExpectedBody,
    /// The body is complete and trailers were announced.
    ExpectedTrailers,
    /// The response is complete.
    AfterComplete,
    /// A status outside 200 to 999: 1xx would leave the client waiting for the real one.
    InvalidStatus,
    /// Not a token (RFC 9110, 5.1).
    InvalidHeaderName,
    /// A control byte (RFC 9110, 5.5).
    InvalidHeaderValue,
    /// A field that frames, routes or authenticates, which comes too late in a trailer (RFC 9110,
    /// 6.5.1).
    InvalidTrailer,
    /// A `content-length` that is not a number, or two that differ.
    InvalidContentLength,
    /// More body bytes than declared.
    BodyTooLong,
    /// Fewer body bytes than declared.
    BodyTooShort,
    /// A WebSocket's handshake comes first.
    ExpectedAccept,
    /// A WebSocket is open.
    ExpectedMessage,
    /// A WebSocket is being denied.
    ExpectedDenialBody,
    /// The application has closed the WebSocket.
    AfterClose,
    /// The peer has closed the WebSocket or has gone.
    Disconnected,
    /// Not a token (RFC 6455, 4.1).
    InvalidSubprotocol,
    /// Not one that may be sent (RFC 6455, 7.4).
    InvalidCloseCode,
    /// Longer than a control frame (RFC 6455, 5.5).
    CloseReasonTooLong,
}

impl ApplicationError {
    /// The text to raise, where `message_type` is what the application sent.
    #[must_use]
    pub fn text(&self, message_type: &str) -> String {
        match self {
            Self::ExpectedStart
            | Self::ExpectedBody
            | Self::ExpectedTrailers
            | Self::ExpectedMessage => {
                format!("{self}, but got '{message_type}'.")
            }
            Self::ExpectedAccept | Self::ExpectedDenialBody => {
                format!("{self} but got '{message_type}'.")
            }
            Self::AfterClose => format!(
                "Unexpected ASGI message '{message_type}', after sending 'websocket.close'."
            ),
            Self::AfterComplete => format!(
                "Unexpected ASGI message '{message_type}' sent, after response already completed."
            ),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ExpectedStart => "Expected ASGI message 'http.response.start'",
            Self::ExpectedBody => "Expected ASGI message 'http.response.body'",
            Self::ExpectedTrailers => "Expected ASGI message 'http.response.trailers'",
            Self::AfterComplete => "Unexpected ASGI message sent, after response already completed",
            Self::InvalidStatus => "Invalid HTTP status.",
            Self::InvalidHeaderName => "Invalid HTTP header name.",
            Self::InvalidHeaderValue => "Invalid HTTP header value.",
            Self::InvalidTrailer => "HTTP header not allowed in trailers.",
            Self::InvalidContentLength => "Invalid HTTP Content-Length.",
            Self::BodyTooLong => "Response content longer than Content-Length",
            Self::BodyTooShort => "Response content shorter than Content-Length",
            Self::ExpectedAccept => {
                "Expected ASGI message 'websocket.accept', 'websocket.close' or \
                 'websocket.http.response.start'"
            }
            Self::ExpectedMessage => "Expected ASGI message 'websocket.send' or 'websocket.close'",
            Self::ExpectedDenialBody => "Expected ASGI message 'websocket.http.response.body'",
            Self::AfterClose => "Unexpected ASGI message, after sending 'websocket.close'",
            Self::Disconnected => "The client has disconnected.",
            Self::InvalidSubprotocol => "Invalid WebSocket subprotocol.",
            Self::InvalidCloseCode => "Invalid WebSocket close code.",
            Self::CloseReasonTooLong => {
                "A WebSocket close reason must be at most 123 bytes of UTF-8."
            }
        })
    }
}

impl std::error::Error for ApplicationError {}
