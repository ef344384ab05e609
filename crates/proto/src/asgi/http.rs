//! The `http` scope: one request, its receive side and its send side.

use crate::asgi::Ended;
use crate::error::ApplicationError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Awaited,
    Started {
        announced_trailers: bool,
    },
    /// The body is complete, the announced trailers are not.
    Trailing,
    Complete,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Present,
    /// It has ended its side. That is how most clients leave, but some wait for the answer.
    Leaving,
    Gone,
}

/// What `receive()` yields now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// `http.request` with what has come of the body.
    Request { more_body: bool },
    /// `http.disconnect`.
    Disconnect,
    /// Nothing yet.
    Wait,
}

/// What becomes of a message that the application may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes to the connection, and whether more of the response follows.
    Submit { more: bool },
    /// Nobody is there to read it; that is no error (ASGI spec 2.3).
    Ignored,
}

/// What the server does once the application has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The response is complete, or nobody waits for it.
    Nothing,
    /// The response is complete; there is a line to log.
    Log { log: Option<&'static str> },
    /// Nothing has been sent: 500, with the line to log unless it raised.
    Answer500 { log: Option<&'static str> },
    /// Part of a response is out: the connection ends where it is.
    Abort { log: Option<&'static str> },
}

/// One request as the application sees it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    response: Response,
    /// The whole body has come.
    body_ended: bool,
    /// `more_body: False` has been received.
    end_received: bool,
    client: Client,
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            response: Response::Awaited,
            body_ended: false,
            end_received: false,
            client: Client::Present,
        }
    }

    /// The request is whole.
    pub fn end_body(&mut self) {
        self.body_ended = true;
    }

    /// The client has ended its side of the connection.
    pub fn leave(&mut self) {
        if self.client == Client::Present {
            self.client = Client::Leaving;
        }
    }

    #[must_use]
    pub fn has_left(&self) -> bool {
        self.client != Client::Present
    }

    /// The client is gone.
    pub fn disconnect(&mut self) {
        self.client = Client::Gone;
    }

    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.client == Client::Gone
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.response == Response::Complete
    }

    #[must_use]
    pub fn is_started(&self) -> bool {
        self.response != Response::Awaited
    }

    /// The application takes a message; `body_is_waiting` says whether some of the body has come
    /// that it has not had. A body that came whole is delivered even if the client has gone since.
    pub fn receive(&mut self, body_is_waiting: bool) -> Received {
        if self.response == Response::Complete {
            Received::Disconnect
        } else if self.body_ended && !self.end_received {
            self.end_received = true;
            Received::Request { more_body: false }
        } else if self.client != Client::Present {
            Received::Disconnect
        } else if body_is_waiting {
            Received::Request { more_body: true }
        } else {
            Received::Wait
        }
    }

    /// What a waiter gets that was woken for something another one took: `http.request` with no
    /// body, as Uvicorn has it.
    #[must_use]
    pub fn more_body(&self) -> bool {
        !self.body_ended
    }

    /// The application sends `http.response.start`, and says whether trailers will follow the body.
    ///
    /// # Errors
    /// Not now.
    pub fn start(&mut self, announced_trailers: bool) -> Result<Sent, ApplicationError> {
        match self.response {
            _ if self.is_disconnected() => Ok(Sent::Ignored),
            Response::Awaited => {
                self.response = Response::Started { announced_trailers };
                Ok(Sent::Submit { more: true })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The application sends a part of the body: `http.response.body`, or one of the messages that
    /// stand in for it.
    ///
    /// # Errors
    /// Not now.
    pub fn body(&mut self, more: bool) -> Result<Sent, ApplicationError> {
        match self.response {
            _ if self.is_disconnected() => Ok(Sent::Ignored),
            Response::Started { .. } if more => Ok(Sent::Submit { more }),
            Response::Started { announced_trailers } => {
                self.response =
                    if announced_trailers { Response::Trailing } else { Response::Complete };
                Ok(Sent::Submit { more: announced_trailers })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The application sends `http.response.trailers`.
    ///
    /// # Errors
    /// Not now.
    pub fn trailers(&mut self, more: bool) -> Result<Sent, ApplicationError> {
        match self.response {
            _ if self.is_disconnected() => Ok(Sent::Ignored),
            Response::Trailing => {
                if !more {
                    self.response = Response::Complete;
                }
                Ok(Sent::Submit { more })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The application sends `http.response.early_hint`. The specification has it follow the start,
    /// where it is of use only if nothing of that has been sent; frameworks send it before.
    ///
    /// # Errors
    /// Not now.
    pub fn early_hint(&self) -> Result<Sent, ApplicationError> {
        match self.response {
            _ if self.is_disconnected() => Ok(Sent::Ignored),
            Response::Awaited | Response::Started { .. } => Ok(Sent::Submit { more: true }),
            Response::Trailing | Response::Complete => Err(self.unexpected()),
        }
    }

    /// The error for a message of another type.
    #[must_use]
    pub fn unexpected(&self) -> ApplicationError {
        match self.response {
            Response::Awaited => ApplicationError::ExpectedStart,
            Response::Started { .. } => ApplicationError::ExpectedBody,
            Response::Trailing => ApplicationError::ExpectedTrailers,
            Response::Complete => ApplicationError::AfterComplete,
        }
    }

    /// The application has ended.
    #[must_use]
    pub fn conclude(&self, ended: Ended) -> Conclusion {
        let log = match ended {
            Ended::Raised => None,
            Ended::ReturnedValue => Some("ASGI callable should return None, but returned"),
            Ended::Returned if self.response == Response::Awaited => {
                Some("ASGI callable returned without starting response.")
            }
            Ended::Returned => Some("ASGI callable returned without completing response."),
        };
        match (self.response, ended) {
            // The connection may carry the next request by now.
            (Response::Complete, Ended::ReturnedValue) => Conclusion::Log { log },
            (_, Ended::ReturnedValue) => Conclusion::Abort { log },
            _ if self.is_disconnected() => Conclusion::Nothing,
            // The connection may have gone on to another request, which must not suffer for it.
            (Response::Complete, _) => Conclusion::Nothing,
            // It was told that the client has left, and took it at its word.
            (_, Ended::Returned) if self.client == Client::Leaving => {
                Conclusion::Abort { log: None }
            }
            (Response::Awaited, _) => Conclusion::Answer500 { log },
            (Response::Started { .. } | Response::Trailing, _) => Conclusion::Abort { log },
        }
    }
}
