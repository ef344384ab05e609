//! The request in progress, as far as its answer depends on it.

use crate::head::{Method, RequestHead, Version};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    pub version: Version,
    pub is_head: bool,
    /// Who sent it knows what to do with trailers.
    pub accepts_trailers: bool,
    pub demand: Demand,
}

/// Who waits for the present request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Nobody,
    /// The peer waits for `100 Continue` before it sends any of it (RFC 9110, 10.1.1).
    Continue,
    /// The application reads it, so that there is no reason to end the connection over it.
    Application,
}

impl Current {
    pub fn of(head: &RequestHead) -> Self {
        Self {
            version: head.version,
            is_head: head.method == Method::Head,
            accepts_trailers: head.accepts_trailers,
            demand: if head.expects_continue { Demand::Continue } else { Demand::Nobody },
        }
    }
}

impl Default for Current {
    /// Before the first one.
    fn default() -> Self {
        Self {
            version: Version::Http11,
            is_head: false,
            accepts_trailers: false,
            demand: Demand::Nobody,
        }
    }
}
