//! Connections that come through a proxy, which tells of their origin before everything else.
//!
//! Whether a peer may do so is for Python to say, once, when the connection is accepted. From a
//! trusted one the header must come; from any other it would be a malformed request.

use pronghorn_proto::proxy_protocol::Malformed;

use crate::asgi::application::Level;
use crate::connection::Closing;
use crate::ffi::call::call;
use crate::ffi::containers::is_true;
use crate::ffi::error::Raised;
use crate::ffi::text;
use crate::listener::Address;
use crate::stream::ConnectionId;
use crate::worker::Worker;

impl Worker {
    /// Has a new connection begin with a header, if its peer is a proxy that is trusted.
    pub(super) fn expect_proxy_header(&self, id: ConnectionId) {
        let Some(is_proxy) = &self.is_proxy else { return };
        let peer = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            match (&connection.peer, &connection.local) {
                (Address::Inet(peer), _) => peer.ip().to_canonical().to_string().into_bytes(),
                // Who may connect to a Unix socket is known by its path.
                (Address::Unix(_), Address::Unix(Some(path))) => path.clone(),
                (Address::Unix(_), _) => Vec::new(),
            }
        };
        let is_trusted =
            text::utf8_lossy(&peer).and_then(|peer| is_true(&call(is_proxy, &[&peer])?));
        let is_trusted = is_trusted.unwrap_or_else(|raised: Raised| {
            raised.report(Some(is_proxy));
            false
        });
        if let Some(connection) = self.tables.borrow_mut().connection(id) {
            connection.awaits_proxy_header = is_trusted;
        }
    }

    /// Reads the header that is due. Says whether it has been read.
    pub(super) fn take_proxy_header(&self, id: ConnectionId) -> bool {
        let (outcome, peer) = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return false };
            let peer = connection.peer.clone();
            let outcome = connection.take_proxy_header();
            if outcome.is_err() {
                connection.closing = Closing::AfterFlush { linger: false };
            }
            (outcome, peer)
        };
        match outcome {
            Ok(is_taken) => is_taken,
            Err(Malformed(reason)) => {
                let line =
                    format!("Invalid PROXY protocol header received. From {peer}: {reason}.");
                self.application.log(Level::Warning, &line);
                false
            }
        }
    }
}
