//! When the peer is to show that it is there: pings, and how long their pongs may take (RFC 6455, 5.5.2
//! and 5.5.3).

use std::time::{Duration, Instant};

use crate::deadline::after;
use crate::error::Failure;
use crate::limits::WebSocketLimits;

#[derive(Clone, Copy, Debug)]
enum Stage {
    Off,
    Due {
        at: Instant,
    },
    /// A ping is out, and its pong may take until then.
    Pinged {
        at: Instant,
        until: Instant,
    },
}

/// What is to be done once the time has come.
pub enum Turn {
    Wait,
    /// Send a ping that says this.
    Ping([u8; 4]),
    /// The peer has not answered.
    Fail(Failure),
}

/// The pings of one WebSocket.
#[derive(Debug)]
pub struct Keepalive {
    stage: Stage,
    round_trip: Duration,
    /// Also what the last ping says, so that its pong is known from others.
    pings: u32,
}

impl Keepalive {
    pub fn new(now: Instant, limits: &WebSocketLimits) -> Self {
        let mut keepalive = Self { stage: Stage::Off, round_trip: Duration::ZERO, pings: 0 };
        keepalive.schedule(now, limits);
        keepalive
    }

    /// When `handle_timeout` has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Off => None,
            Stage::Due { at } | Stage::Pinged { until: at, .. } => Some(at),
        }
    }

    pub fn end(&mut self) {
        self.stage = Stage::Off;
    }

    /// A pong has come. One that was not asked for is no answer (5.5.3).
    pub fn receive_pong(&mut self, now: Instant, limits: &WebSocketLimits, payload: &[u8]) {
        if let Stage::Pinged { at, .. } = self.stage
            && payload == self.pings.to_be_bytes()
        {
            self.round_trip = now.saturating_duration_since(at);
            self.schedule(now, limits);
        }
    }

    fn schedule(&mut self, now: Instant, limits: &WebSocketLimits) {
        self.stage = match limits.ping_interval {
            // A pong's way counts towards the next interval, as Uvicorn has it.
            Some(interval) if !interval.is_zero() => {
                Stage::Due { at: after(now, interval.saturating_sub(self.round_trip)) }
            }
            _ => Stage::Off,
        };
    }

    /// What `due` told has come. `waiting` as in `WebSocket::handle_timeout`.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        waiting: bool,
    ) -> Turn {
        match self.stage {
            Stage::Off => Turn::Wait,
            Stage::Pinged { at, .. } if waiting => {
                self.stage = Self::pinged(at, now, limits);
                Turn::Wait
            }
            Stage::Pinged { .. } => {
                Turn::Fail(Failure { code: 1011, reason: "keepalive ping timeout" })
            }
            Stage::Due { .. } => {
                self.pings = self.pings.wrapping_add(1);
                self.stage = Self::pinged(now, now, limits);
                Turn::Ping(self.pings.to_be_bytes())
            }
        }
    }

    /// A ping went out `at`; from `now` on its pong has the whole time.
    fn pinged(at: Instant, now: Instant, limits: &WebSocketLimits) -> Stage {
        match (limits.ping_timeout, limits.ping_interval) {
            (Some(timeout), _) => Stage::Pinged { at, until: after(now, timeout) },
            (None, Some(interval)) => Stage::Due { at: after(now, interval) },
            (None, None) => Stage::Off,
        }
    }
}
