//! Errors, by who made them: the peer (answered with a status) or the application (raised in it).

use std::fmt;

/// A request that is refused: what to answer, and what to log. The connection closes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status to answer with.
    pub status: u16,
    /// Why, for the log. Holds nothing that the peer sent.
    pub reason: &'static str,
}

impl Reject {
    /// A body that is longer than this server takes (RFC 9110, 15.5.14).
    pub const CONTENT_TOO_LARGE: Self = Self::with_status(413, "request body too long");

    /// Malformed syntax or framing that could be read in two ways.
    #[must_use]
    pub const fn bad_request(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// Another 4xx or 5xx.
    #[must_use]
    pub const fn with_status(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// What an application did wrong with `send`. Uvicorn's texts, which people match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationError {
    /// The message's type is not the one expected now.
    ExpectedStart,
    /// A response is under way and this is not its body.
    ExpectedBody,
    /// The response is complete.
    AfterComplete,
    /// A status outside 200 to 999: 1xx would leave the client waiting for the real one.
    InvalidStatus,
    /// Not a token (RFC 9110, 5.1).
    InvalidHeaderName,
    /// A control byte (RFC 9110, 5.5).
    InvalidHeaderValue,
    /// A `content-length` that is not a number, or two that differ.
    InvalidContentLength,
    /// More body bytes than declared.
    BodyTooLong,
    /// Fewer body bytes than declared.
    BodyTooShort,
}

impl ApplicationError {
    /// The text to raise, where `message_type` is what the application sent.
    #[must_use]
    pub fn text(&self, message_type: &str) -> String {
        match self {
            Self::ExpectedStart | Self::ExpectedBody => {
                format!("{self}, but got '{message_type}'.")
            }
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
            Self::AfterComplete => "Unexpected ASGI message sent, after response already completed",
            Self::InvalidStatus => "Invalid HTTP status.",
            Self::InvalidHeaderName => "Invalid HTTP header name.",
            Self::InvalidHeaderValue => "Invalid HTTP header value.",
            Self::InvalidContentLength => "Invalid HTTP Content-Length.",
            Self::BodyTooLong => "Response content longer than Content-Length",
            Self::BodyTooShort => "Response content shorter than Content-Length",
        })
    }
}

impl std::error::Error for ApplicationError {}
