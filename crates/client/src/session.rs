//! Runs one connection from its welcome to its end: moves frames, requests, answers and events between the link, the
//! core and the user.
//!
//! The session takes no message while an event waits for the user. If the user takes no events, the broker has to stop
//! sending, and nothing piles up here. Requests still go out meanwhile, so the user can unsubscribe.

use std::time::Duration;

use tickwire_wire::message::{AnnouncedLimits, ServerMessage};
use tickwire_wire::{CloseCode, Control};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::clocks::Moment;
use crate::core::Core;
use crate::error::Loss;
use crate::event::Event;
use crate::link::{Incoming, Link, Outgoing};
use crate::pace::Pace;
use crate::request::{Body, Reply};

/// How long requests under way may delay the reconnect that a drain asked for.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// When to try again to restore subscriptions that the broker refused for the time being.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Latest time for the reconnect of a drain, whatever the broker says.
const DRAIN_MAX: Duration = Duration::from_secs(3_600);

/// A user's request on its way to the core.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) body: Body,
    pub(crate) reply: Reply,
}

/// The channel for events; `None` once the user has dropped its receiver.
#[derive(Debug)]
pub(crate) struct Outlet(Option<mpsc::Sender<Event>>);

impl Outlet {
    pub(crate) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self(Some(sender))
    }

    /// Delivers `event`; waits for room.
    pub(crate) async fn send(&mut self, event: Event) {
        if let Some(sender) = &self.0
            && sender.send(event).await.is_err()
        {
            self.0 = None;
        }
    }

    /// Delivers the core's events as far as there is room.
    fn deliver_now(&mut self, core: &mut Core) {
        while core.has_events() {
            let Some(sender) = &self.0 else {
                core.discard_events();
                return;
            };
            let closed = match sender.try_reserve() {
                Ok(permit) => {
                    if let Some(event) = core.event() {
                        permit.send(event);
                    }
                    false
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => true,
            };
            if closed {
                self.0 = None;
            }
        }
    }

    /// Waits for room, then delivers one of the core's events.
    async fn deliver_one(&mut self, core: &mut Core) {
        let Some(sender) = &self.0 else {
            core.discard_events();
            return;
        };
        let closed = match sender.reserve().await {
            Ok(permit) => {
                if let Some(event) = core.event() {
                    permit.send(event);
                }
                false
            }
            Err(mpsc::error::SendError(())) => true,
        };
        if closed {
            self.0 = None;
        }
    }
}

/// The channels to and from the user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) outlet: Outlet,
    /// Becomes true, or loses its sender, when the client is to stop.
    pub(crate) closing: watch::Receiver<bool>,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) loss: Loss,
    /// When to make the next connection, if the broker said so.
    pub(crate) reconnect_at: Option<Instant>,
}

/// One connection at work.
struct Session<'a> {
    core: &'a mut Core,
    user: &'a mut User,
    pace: Pace,
    pong: Option<Vec<u8>>,
    /// Whether the writer task has ended.
    writer_gone: bool,
    /// When to leave a broker that drains.
    reconnect_at: Option<Instant>,
    /// When to try again to restore what the broker refused for the time being.
    retry_at: Option<Instant>,
}

/// Runs the connection `link` to its end. The core has already handled the welcome.
pub(crate) async fn run(mut link: Link, limits: &AnnouncedLimits, core: &mut Core, user: &mut User) -> End {
    let mut session = Session {
        core,
        user,
        pace: Pace::new(limits, Instant::now()),
        pong: None,
        writer_gone: false,
        reconnect_at: None,
        retry_at: None,
    };
    let loss = session.run(&mut link).await;
    let reconnect_at = session.reconnect_at;
    core.disconnected();
    // Events of this connection are delivered before the next one begins, unless the user leaves.
    while core.has_events() {
        tokio::select! {
            () = user.outlet.deliver_one(core) => {}
            () = closed(&mut user.closing) => core.discard_events(),
        }
    }
    let code = match &loss {
        Loss::Closed { code: Some(code), .. } if code.may_be_sent() => *code,
        Loss::Protocol(_) => CloseCode::PROTOCOL,
        Loss::Left => CloseCode::NORMAL,
        _ => CloseCode::GOING_AWAY,
    };
    link.close(code).await;
    End { loss, reconnect_at }
}

impl Session<'_> {
    async fn run(&mut self, link: &mut Link) -> Loss {
        loop {
            self.user.outlet.deliver_now(self.core);
            let now = Instant::now();
            let leaving = self.reconnect_at.is_some_and(|at| now >= at);
            if leaving
                && (self.core.is_settled() || self.reconnect_at.is_some_and(|at| now >= at + SETTLE_MAX))
            {
                return Loss::Drained;
            }
            if self.retry_at.is_some_and(|at| now >= at) {
                self.retry_at = None;
                self.core.retry_unrestored();
            }
            let next = self.core.next_to_send();
            let pause = next.map_or(Duration::MAX, |counted| self.pace.wait(counted, now));
            let can_send = !self.writer_gone && (self.pong.is_some() || pause.is_zero());
            let wake = self.wake(now, pause, leaving);
            let takes_requests = !leaving && self.core.has_room();
            let waits_for_user = self.core.has_events();
            tokio::select! {
                permit = link.outgoing.reserve(), if can_send => match permit {
                    Ok(permit) => self.send(permit),
                    Err(mpsc::error::SendError(())) => self.writer_gone = true,
                },
                () = self.user.outlet.deliver_one(self.core), if waits_for_user => {}
                incoming = link.incoming.recv(), if !waits_for_user => {
                    if let Some(loss) = self.take(incoming) {
                        return loss;
                    }
                    if let Some(loss) = self.take_waiting(&mut link.incoming) {
                        return loss;
                    }
                }
                Some(command) = self.user.commands.recv(), if takes_requests => {
                    self.core.request(command.body, command.reply);
                }
                () = closed(&mut self.user.closing) => return Loss::Left,
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// The next moment at which something is due, if nothing happens before.
    fn wake(&self, now: Instant, pause: Duration, leaving: bool) -> Option<Instant> {
        let paced = (!pause.is_zero() && pause != Duration::MAX && !self.writer_gone).then(|| now + pause);
        let leave = self
            .reconnect_at
            .map(|at| if leaving { at + SETTLE_MAX } else { at });
        [paced, leave, self.retry_at].into_iter().flatten().min()
    }

    fn send(&mut self, permit: mpsc::Permit<'_, Outgoing>) {
        // There may be room only some time after the pause: the time counts from now.
        if let Some(payload) = self.pong.take() {
            permit.send(Outgoing::Pong(payload));
        } else if let Some((counted, bytes)) = self.core.send(Moment::now) {
            self.pace.spend(counted);
            permit.send(Outgoing::Request(bytes));
        }
    }

    /// Takes the messages that are already waiting, as long as the user takes the events.
    fn take_waiting(&mut self, waiting: &mut mpsc::Receiver<Incoming>) -> Option<Loss> {
        loop {
            self.user.outlet.deliver_now(self.core);
            if self.core.has_events() {
                return None;
            }
            match waiting.try_recv() {
                Ok(incoming) => {
                    let loss = self.take(Some(incoming));
                    if loss.is_some() {
                        return loss;
                    }
                }
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => {
                    return None;
                }
            }
        }
    }

    /// Takes one item of the reader. Returns how the connection ended, if it did.
    fn take(&mut self, incoming: Option<Incoming>) -> Option<Loss> {
        match incoming {
            Some(Incoming::Message(message)) => self.message(message, None),
            Some(Incoming::Pong(message, heard)) => self.message(message, Some(heard)),
            // An answer to the most recent ping is enough (RFC 6455 §5.5.3).
            Some(Incoming::Ping(payload)) => self.pong = Some(payload),
            Some(Incoming::End(loss)) => return Some(loss),
            None => return Some(Loss::Broke("its reader stopped".to_owned())),
        }
        None
    }

    fn message(&mut self, message: ServerMessage, heard: Option<Moment>) {
        if let ServerMessage::Control(Control::Drain {
            reconnect_after_ms, ..
        }) = &message
        {
            let after = Duration::from_millis(*reconnect_after_ms).min(DRAIN_MAX);
            self.reconnect_at = Some(Instant::now() + after);
        }
        self.core.received(message, heard);
        if self.core.has_unrestored() && self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + RETRY_AFTER);
        }
    }
}

/// Waits until the client is to stop: it was told to, or all its handles are gone.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        tracing::debug!("every handle of a client is gone");
    }
}
