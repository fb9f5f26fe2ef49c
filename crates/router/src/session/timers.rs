//! When a session last got and sent bytes, and what is due by that: its ping, its heartbeat, and the ends of its waits.
//!
//! Never reads a clock, and no question changes it.

use tickwire_wire::{CloseCode, Micros};

use super::Transport;
use crate::settings::ShardSettings;

/// The times of events on a connection.
#[derive(Debug)]
pub(crate) struct Timers {
    opened: Micros,
    last_in: Micros,
    last_out: Micros,
    /// Whether it has sent a request, or need not send one.
    requested: bool,
    /// When a ping was sent, if no byte has come since.
    pinged: Option<Micros>,
    /// Whether a ping was sent whose pong has not come yet.
    pong_owed: bool,
    /// When it is closed because the broker drains, if it does.
    leaves_at: Option<Micros>,
    /// When its token expires, if it does.
    expires: Option<Micros>,
}

impl Timers {
    /// The timers of a new connection.
    pub(crate) fn new(transport: Transport, now: Micros) -> Self {
        Self {
            opened: now,
            last_in: now,
            last_out: now,
            requested: transport != Transport::WebSocket,
            pinged: None,
            pong_owed: false,
            leaves_at: None,
            expires: None,
        }
    }

    /// Records that the client sent bytes.
    pub(crate) fn heard(&mut self, now: Micros) {
        self.last_in = now;
        self.pinged = None;
    }

    /// Records that the client sent a request.
    pub(crate) fn requested(&mut self) {
        self.requested = true;
    }

    /// Records that a message of the protocol was written.
    pub(crate) fn spoke(&mut self, now: Micros) {
        self.last_out = now;
    }

    /// Records that a ping is sent.
    pub(crate) fn pinged(&mut self, now: Micros) {
        self.pinged = Some(now);
        self.pong_owed = true;
    }

    /// Records a pong. Returns whether it answers a ping.
    pub(crate) fn take_pong(&mut self) -> bool {
        std::mem::take(&mut self.pong_owed)
    }

    /// Sets when the session ends because the broker drains.
    pub(crate) fn leave_at(&mut self, at: Micros) {
        self.leaves_at = Some(at);
    }

    /// Sets when the token expires. Returns the previous time.
    pub(crate) fn expire_at(&mut self, at: Option<Micros>) -> Option<Micros> {
        std::mem::replace(&mut self.expires, at)
    }

    /// Whether it is time to end the session because the broker drains.
    pub(crate) fn leaves(&self, now: Micros) -> bool {
        self.leaves_at.is_some_and(|at| at <= now)
    }

    /// The code and reason with which to close the session, if its client has kept it waiting for a request or a pong.
    pub(crate) fn overdue(&self, settings: &ShardSettings, now: Micros) -> Option<(CloseCode, String)> {
        let (first_ms, pong_ms) = (settings.first_request_ms, settings.pong_timeout_ms);
        if !self.requested && self.opened.plus_ms(first_ms) <= now {
            let reason = format!("no request within {first_ms} ms of the handshake");
            return Some((CloseCode::NO_REQUEST, reason));
        }
        let pinged = self.pinged.filter(|at| at.plus_ms(pong_ms) <= now)?;
        let reason = format!("no pong within {} ms", now.since(pinged) / 1_000);
        Some((CloseCode::NO_PONG, reason))
    }

    /// Whether it is time to ping the client.
    pub(crate) fn ping_is_due(&self, transport: Transport, settings: &ShardSettings, now: Micros) -> bool {
        transport != Transport::Sse
            && self.pinged.is_none()
            && self.last_in.plus_ms(settings.ping_after_ms) <= now
    }

    /// Whether it is time for a heartbeat, because nothing was sent for so long.
    pub(crate) fn heartbeat_is_due(
        &self,
        transport: Transport,
        settings: &ShardSettings,
        now: Micros,
    ) -> bool {
        transport != Transport::Echo && self.last_out.plus_ms(settings.heartbeat_ms) <= now
    }

    /// When something may be due next, after `now`. For a new session, after 0.
    pub(crate) fn next_due(&self, transport: Transport, settings: &ShardSettings, now: Micros) -> Micros {
        let mut at = self.last_out.plus_ms(settings.heartbeat_ms);
        if !self.requested {
            at = at.min(self.opened.plus_ms(settings.first_request_ms));
        }
        if transport != Transport::Sse {
            at = at.min(match self.pinged {
                Some(pinged) => pinged.plus_ms(settings.pong_timeout_ms),
                None => self.last_in.plus_ms(settings.ping_after_ms),
            });
        }
        // A stall has no deadline of its own. It is found within a quarter more than its time.
        at = at.min(now.max(self.opened).plus_ms(settings.stall_ms / 4));
        // A heartbeat that waits to be written, or that other waiting messages hold back, is checked again later.
        at.max(now.plus_ms(settings.heartbeat_ms.min(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::message::AnnouncedLimits;

    use super::*;
    use crate::settings::SessionLimits;

    /// Times far enough apart that each can be told from the sum of others.
    fn settings() -> ShardSettings {
        ShardSettings {
            server: String::new(),
            limits: AnnouncedLimits {
                subscriptions: 1,
                message_bytes: 1,
                ops_per_s: 1,
                ops_burst: 1,
                publishes_per_s: 1,
                publishes_burst: 1,
            },
            session_limits: SessionLimits::default(),
            topics_at_once: 1,
            outbox_bytes_max: 1,
            stall_ms: 400_000,
            heartbeat_ms: 15_000,
            ping_after_ms: 20_000,
            pong_timeout_ms: 7_000,
            first_request_ms: 10_000,
            close_timeout_ms: 5_000,
        }
    }

    fn at(ms: u64) -> Micros {
        Micros(0).plus_ms(1_000_000 + ms)
    }

    /// What is due at a time in milliseconds: the close code, whether to ping, and whether to send a heartbeat.
    fn due(timers: &Timers, transport: Transport, ms: u64) -> (Option<CloseCode>, bool, bool) {
        let (settings, now) = (settings(), at(ms));
        (
            timers.overdue(&settings, now).map(|(code, _)| code),
            timers.ping_is_due(transport, &settings, now),
            timers.heartbeat_is_due(transport, &settings, now),
        )
    }

    #[test]
    fn a_websocket_is_to_ask_for_something_in_time_and_is_closed_otherwise() {
        let mut timers = Timers::new(Transport::WebSocket, at(0));
        let next = |timers: &Timers| timers.next_due(Transport::WebSocket, &settings(), Micros(0));
        assert_eq!(next(&timers), at(10_000));
        assert_eq!(due(&timers, Transport::WebSocket, 9_999), (None, false, false));
        let (overdue, ..) = due(&timers, Transport::WebSocket, 10_000);
        assert_eq!(overdue, Some(CloseCode::NO_REQUEST));
        timers.requested();
        assert_eq!(next(&timers), at(15_000), "the heartbeat");
        assert_eq!(due(&timers, Transport::WebSocket, 15_000), (None, false, true));
        timers.spoke(at(15_000));
        assert_eq!(due(&timers, Transport::WebSocket, 20_000), (None, true, false));
        for transport in [Transport::Sse, Transport::Echo] {
            let timers = Timers::new(transport, at(0));
            let (overdue, ping, beat) = due(&timers, transport, 20_000);
            assert_eq!(overdue, None, "{transport:?} need not ask");
            assert_eq!(
                (ping, beat),
                (transport == Transport::Echo, transport == Transport::Sse)
            );
        }
    }

    #[test]
    fn who_is_pinged_has_its_time_to_answer_and_is_not_pinged_meanwhile() {
        let mut timers = Timers::new(Transport::WebSocket, at(0));
        timers.requested();
        timers.spoke(at(20_000));
        timers.pinged(at(20_000));
        assert_eq!(
            timers.next_due(Transport::WebSocket, &settings(), at(20_000)),
            at(27_000)
        );
        assert_eq!(due(&timers, Transport::WebSocket, 26_999), (None, false, false));
        let overdue = timers.overdue(&settings(), at(27_500));
        assert_eq!(
            overdue,
            Some((CloseCode::NO_PONG, "no pong within 7500 ms".to_owned()))
        );
        timers.heard(at(26_000));
        assert_eq!(due(&timers, Transport::WebSocket, 27_500), (None, false, false));
        // Any byte shows that the client is there, but a pong stays owed.
        assert!(timers.take_pong() && !timers.take_pong());
    }

    #[test]
    fn what_is_due_and_cannot_be_done_is_looked_at_a_second_later() {
        let mut timers = Timers::new(Transport::Sse, at(0));
        assert_eq!(
            timers.next_due(Transport::Sse, &settings(), at(15_000)),
            at(16_000)
        );
        timers.leave_at(at(5));
        assert!(!timers.leaves(at(4)) && timers.leaves(at(5)));
        assert_eq!(timers.expire_at(Some(at(1))), None);
        assert_eq!(timers.expire_at(None), Some(at(1)));
        // A stall is found within a quarter of its time, whatever else is due.
        let quiet = ShardSettings {
            stall_ms: 40_000,
            ..settings()
        };
        assert_eq!(timers.next_due(Transport::Sse, &quiet, at(1_000)), at(11_000));
    }
}
