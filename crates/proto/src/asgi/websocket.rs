//! The `websocket` scope: one WebSocket, its receive side and its send side.

use crate::asgi::Ended;
use crate::error::ApplicationError;

/// How far the application's side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Application {
    /// It has neither accepted nor denied.
    Connecting,
    /// It answers with an HTTP response instead.
    Denying,
    Accepted,
    /// It has closed the WebSocket, or denied it.
    Closed,
}

/// What `receive()` yields now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// `websocket.connect`.
    Connect,
    /// `websocket.receive` with the message that has waited longest.
    Message,
    /// `websocket.disconnect`.
    Disconnect,
    /// Nothing yet.
    Wait,
}

/// What the server does once the application has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Everything is said; the close frame waits for its answer.
    Nothing { log: Option<&'static str> },
    /// Nothing has been sent: 500.
    Answer500 { log: Option<&'static str> },
    /// The stream ends where it is.
    Abort { log: Option<&'static str> },
}

/// One WebSocket as the application sees it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    application: Application,
    /// `websocket.connect` has been received.
    is_connected: bool,
    /// Nothing comes from the client any more.
    is_disconnected: bool,
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    #[must_use]
    pub const fn new() -> Self {
        Self { application: Application::Connecting, is_connected: false, is_disconnected: false }
    }

    /// Nothing comes from the client any more: it has closed, has gone, or has been denied.
    pub fn disconnect(&mut self) {
        self.is_disconnected = true;
    }

    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.is_disconnected
    }

    /// The handshake has been answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.application != Application::Connecting
    }

    /// The application takes a message; `message_is_waiting` says whether one has come.
    pub fn receive(&mut self, message_is_waiting: bool) -> Received {
        if !self.is_connected {
            self.is_connected = true;
            Received::Connect
        } else if message_is_waiting {
            Received::Message
        } else if self.is_disconnected || self.application == Application::Closed {
            Received::Disconnect
        } else {
            Received::Wait
        }
    }

    /// The application sends `websocket.accept`.
    ///
    /// # Errors
    /// Not now.
    pub fn accept(&mut self) -> Result<(), ApplicationError> {
        self.expect(Application::Connecting)?;
        self.application = Application::Accepted;
        Ok(())
    }

    /// The application sends `websocket.send`.
    ///
    /// # Errors
    /// Not now, or there is nobody to send it to.
    pub fn send(self) -> Result<(), ApplicationError> {
        self.expect(Application::Accepted)
    }

    /// The application sends `websocket.close`. Says whether that denies the handshake.
    ///
    /// # Errors
    /// Not now, or there is nobody to send it to.
    pub fn close(&mut self) -> Result<bool, ApplicationError> {
        let denies = self.application == Application::Connecting;
        if !denies {
            self.expect(Application::Accepted)?;
        } else if self.is_disconnected {
            return Err(ApplicationError::Disconnected);
        }
        self.application = Application::Closed;
        Ok(denies)
    }

    /// The application sends `websocket.http.response.start`.
    ///
    /// # Errors
    /// Not now.
    pub fn deny(&mut self) -> Result<(), ApplicationError> {
        self.expect(Application::Connecting)?;
        self.application = Application::Denying;
        Ok(())
    }

    /// The application sends `websocket.http.response.body`.
    ///
    /// # Errors
    /// Not now.
    pub fn deny_body(&mut self, more: bool) -> Result<(), ApplicationError> {
        self.expect(Application::Denying)?;
        if !more {
            self.application = Application::Closed;
        }
        Ok(())
    }

    /// A message that is allowed in one state only.
    fn expect(self, expected: Application) -> Result<(), ApplicationError> {
        if self.is_disconnected {
            Err(ApplicationError::Disconnected)
        } else if self.application == expected {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// The error for a message that is not allowed now.
    #[must_use]
    pub fn unexpected(&self) -> ApplicationError {
        match self.application {
            Application::Connecting => ApplicationError::ExpectedAccept,
            Application::Denying => ApplicationError::ExpectedDenialBody,
            Application::Accepted => ApplicationError::ExpectedMessage,
            Application::Closed => ApplicationError::AfterClose,
        }
    }

    /// The application has ended.
    #[must_use]
    pub fn conclude(&self, ended: Ended) -> Conclusion {
        let log = match (ended, self.application) {
            (Ended::Raised, _) => None,
            (Ended::ReturnedValue, _) => Some("ASGI callable should return None, but returned"),
            _ if self.is_disconnected => None,
            (Ended::Returned, Application::Connecting) => {
                Some("ASGI callable returned without completing handshake.")
            }
            (Ended::Returned, Application::Denying) => {
                Some("ASGI callable returned without completing response.")
            }
            (Ended::Returned, Application::Accepted | Application::Closed) => None,
        };
        match self.application {
            Application::Connecting if self.is_disconnected => Conclusion::Nothing { log },
            Application::Connecting => Conclusion::Answer500 { log },
            Application::Denying | Application::Accepted => Conclusion::Abort { log },
            Application::Closed => Conclusion::Nothing { log },
        }
    }
}
