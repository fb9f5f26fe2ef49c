//! Keeps one client connected: it connects, runs sessions and waits between attempts. It stops when another attempt
//! makes no sense.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use tickwire_wire::message::{AnnouncedLimits, ServerMessage};
use tickwire_wire::{Codec, Control};
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::{Backoff, BackoffBounds};
use crate::connect::connect;
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Loss};
use crate::event::Event;
use crate::idle::QuietMax;
use crate::link::{Incoming, Link};
use crate::nodes::{Next, NodeFailure, Nodes};
use crate::session::{self, End, User};
use crate::tls::{Tls, TlsFiles};
use crate::token::TokenSource;

/// How long a connection must last to end an outage. The next outage begins with the shortest wait.
const STABLE: Duration = Duration::from_secs(10);
/// Most connections in a row that end with unreadable data. The client tries no other after them, since the broker
/// would send the same again.
const UNREADABLE_MAX: u32 = 3;
/// Most seconds of a broker's `Retry-After` that the client honours.
const RETRY_AFTER_S_MAX: u64 = 300;

/// The address of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    /// The TLS set-up, if the endpoint uses TLS.
    pub(crate) tls: Option<Tls>,
}

impl Address {
    /// The address that `url` names, with the TLS set-up that `files` make.
    pub(crate) fn of(url: &str, files: &TlsFiles) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::parse(url)?;
        let tls = Tls::of(&endpoint, files)?;
        Ok(Self { endpoint, tls })
    }
}

/// The settings of one client.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The addresses of the nodes: at least one, and none twice.
    pub(crate) addresses: Vec<Address>,
    pub(crate) codec: Codec,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) token: Option<TokenSource>,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) quiet_margin_ms: u64,
    pub(crate) message_bytes_max: usize,
    pub(crate) backoff: BackoffBounds,
}

impl Settings {
    /// The nodes at these addresses, in a random order.
    pub(crate) fn nodes(&self) -> Nodes {
        Nodes::new(self.addresses.len(), rand::random)
    }

    /// The headers of a handshake, including the one that shows the token.
    ///
    /// # Errors
    /// When the token cannot be read, or is empty or not valid as a header.
    pub(crate) async fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ConnectError> {
        let mut headers = self.headers.clone();
        if let Some(token) = &self.token {
            headers.push(token.header().await?);
        }
        Ok(headers)
    }
}

/// A connection whose welcome has come.
#[derive(Debug)]
pub(crate) struct Welcomed {
    link: Link,
    welcome: ServerMessage,
    limits: AnnouncedLimits,
}

/// Makes the first connection. Tries each node once.
pub(crate) async fn connect_first(settings: &Settings, nodes: &mut Nodes) -> Result<Welcomed, ConnectError> {
    loop {
        let error = match connect_once(settings, nodes).await {
            Ok(welcomed) => return Ok(welcomed),
            Err(error) => error,
        };
        if nodes.failed(failure(&error, true), Instant::now()) != Next::AtOnce {
            return Err(error);
        }
    }
}

/// What an attempt that failed with `error` says about its node.
fn failure(error: &ConnectError, may_pass: bool) -> NodeFailure {
    let asked_s = match error {
        ConnectError::Refused { retry_after_s, .. } => retry_after_s.unwrap_or(0),
        _ => 0,
    };
    NodeFailure {
        asked: Duration::from_secs(asked_s.min(RETRY_AFTER_S_MAX)),
        may_pass,
    }
}

/// Connects to the current node and waits for its welcome.
async fn connect_once(settings: &Settings, nodes: &Nodes) -> Result<Welcomed, ConnectError> {
    let address = &settings.addresses[nodes.current()];
    let after_ms = settings.connect_timeout_ms;
    let attempt = timeout(
        Duration::from_millis(after_ms),
        connect_and_wait(settings, address),
    );
    attempt.await.unwrap_or_else(|_| {
        Err(ConnectError::TimedOut {
            endpoint: address.endpoint.to_string(),
            after_ms,
        })
    })
}

async fn connect_and_wait(settings: &Settings, address: &Address) -> Result<Welcomed, ConnectError> {
    let endpoint = || address.endpoint.to_string();
    // Only the welcome says how long silence may last. Until then the deadline of the attempt is the bound.
    let quiet_max = QuietMax::new(settings.connect_timeout_ms.saturating_mul(2));
    let headers = settings.headers().await?;
    let halves = connect(
        &address.endpoint,
        address.tls.as_ref(),
        settings.codec,
        &headers,
        settings.message_bytes_max,
        quiet_max.clone(),
    )
    .await?;
    let mut link = Link::start(
        halves,
        settings.codec,
        settings.message_bytes_max,
        quiet_max,
        settings.quiet_margin_ms,
    );
    let loss = loop {
        match link.incoming.recv().await {
            Some(Incoming::Message(welcome) | Incoming::Pong(welcome, _)) => {
                let ServerMessage::Control(Control::Welcome { limits, .. }) = &welcome else {
                    let reason = "its first message is no welcome".to_owned();
                    return Err(ConnectError::BadHandshake {
                        endpoint: endpoint(),
                        reason,
                    });
                };
                let limits = *limits;
                return Ok(Welcomed {
                    link,
                    welcome,
                    limits,
                });
            }
            // Before the welcome a ping needs no answer.
            Some(Incoming::Ping(_)) => {}
            Some(Incoming::End(loss)) => break loss,
            None => break Loss::Broke("its reader stopped".to_owned()),
        }
    };
    Err(ConnectError::Lost {
        endpoint: endpoint(),
        loss,
    })
}

/// The task that keeps a client connected.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) settings: Settings,
    pub(crate) nodes: Nodes,
    pub(crate) core: Core,
    pub(crate) user: User,
}

impl Driver {
    /// Runs from the `first` connection until the client stops.
    pub(crate) async fn run(mut self, first: Welcomed) {
        let mut outage = Outage::new(self.settings.backoff);
        let mut next = Some(first);
        while let Some(welcomed) = next {
            let start = Instant::now();
            let url = self.settings.addresses[self.nodes.current()].endpoint.to_string();
            self.core.connected(url, welcomed.welcome);
            let end = session::run(welcomed.link, &welcomed.limits, &mut self.core, &mut self.user).await;
            if start.elapsed() >= STABLE {
                outage.over();
                self.nodes.lasted();
            }
            let retry_in = retry_in(&end, &mut outage, &mut self.nodes);
            tracing::debug!(loss = %end.loss, ?retry_in, "a connection ended");
            let left = end.loss == Loss::Left;
            let loss = end.loss;
            if left {
                return;
            }
            self.tell(Event::Disconnected { loss, retry_in }).await;
            next = match retry_in {
                Some(wait) => self.reconnect(wait, &mut outage).await,
                None => None,
            };
        }
    }

    /// Tries to connect until it succeeds or another attempt makes no sense.
    async fn reconnect(&mut self, mut wait: Duration, outage: &mut Outage) -> Option<Welcomed> {
        self.show_newest_token();
        loop {
            let attempt = async {
                sleep(wait).await;
                connect_once(&self.settings, &self.nodes).await
            };
            let error = tokio::select! {
                result = attempt => match result {
                    Ok(welcomed) => return Some(welcomed),
                    Err(error) => error,
                },
                () = session::closed(&mut self.user.closing) => return None,
            };
            let may_pass = match &error {
                ConnectError::Lost { loss, .. } => outage.allows_another(loss),
                error => error.is_retryable(),
            };
            let failure = failure(&error, may_pass);
            let next = self.nodes.failed(failure, Instant::now());
            let retry_in = outage.wait(next);
            self.tell(Event::ConnectFailed { error, retry_in }).await;
            wait = retry_in?;
        }
    }

    /// A client that shows a token at the handshake shows there the last token that `auth` accepted, since the first
    /// may have expired. This does not apply to a token file, which another program renews.
    fn show_newest_token(&mut self) {
        if let Some(source) = &mut self.settings.token
            && let Some(newest) = self.core.take_token()
            && let TokenSource::Text(token) = source
        {
            *token = newest;
        }
    }

    /// Delivers `event`, unless the client is told to stop before there is room.
    async fn tell(&mut self, event: Event) {
        let User { outlet, closing, .. } = &mut self.user;
        tokio::select! {
            () = outlet.send(event) => {}
            () = session::closed(closing) => {}
        }
    }
}

/// The connections in a row that ended soon.
#[derive(Debug)]
struct Outage {
    backoff: Backoff,
    /// Whether a connection of this outage ended with a drain.
    drained: bool,
    /// How many connections in a row ended with unreadable data.
    unreadable: u32,
}

impl Outage {
    fn new(bounds: BackoffBounds) -> Self {
        Self {
            backoff: Backoff::new(bounds),
            drained: false,
            unreadable: 0,
        }
    }

    /// Ends the outage, since a connection lasted.
    fn over(&mut self) {
        self.drained = false;
        self.backoff.reset();
        self.unreadable = 0;
    }

    /// How long to wait before what comes `next`; `None` if nothing does.
    fn wait(&mut self, next: Next) -> Option<Duration> {
        match next {
            Next::AtOnce => Some(Duration::ZERO),
            Next::AfterWait { asked } => Some(self.backoff.next(rand::random()).max(asked)),
            Next::Never => None,
        }
    }

    /// Counts a connection that ended. Returns whether to try another one.
    fn allows_another(&mut self, loss: &Loss) -> bool {
        let unreadable = matches!(loss, Loss::Protocol(_));
        self.unreadable = if unreadable { self.unreadable + 1 } else { 0 };
        loss.is_retryable() && self.unreadable < UNREADABLE_MAX
    }
}

/// How long to wait after `end` before the next connection; `None` if another one makes no sense.
fn retry_in(end: &End, outage: &mut Outage, nodes: &mut Nodes) -> Option<Duration> {
    if !outage.allows_another(&end.loss) {
        return None;
    }
    let failure = NodeFailure {
        asked: Duration::ZERO,
        may_pass: true,
    };
    let next = nodes.failed(failure, Instant::now());
    let Some(at) = end.reconnect_at else {
        return outage.wait(next);
    };
    // The broker itself spreads the clients of a drain. Brokers that drain every connection at once must not make the
    // client connect in a loop.
    let is_first = !std::mem::replace(&mut outage.drained, true);
    let least = match next {
        Next::AfterWait { asked } if is_first => asked,
        next => outage.wait(next)?,
    };
    Some(at.saturating_duration_since(Instant::now()).max(least))
}

#[cfg(test)]
mod tests {
    use tickwire_wire::CloseCode;

    use super::*;

    fn end(loss: Loss, reconnect_at: Option<Instant>) -> End {
        End { loss, reconnect_at }
    }

    fn closed(code: u16) -> Loss {
        Loss::Closed {
            code: Some(CloseCode(code)),
            reason: String::new(),
        }
    }

    fn one() -> Nodes {
        Nodes::new(1, || 0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_drains_every_connection_at_once_is_not_dialled_in_a_loop() {
        let mut outage = Outage::new(BackoffBounds {
            first_ms: 100,
            max_ms: 400,
        });
        let (mut waited, mut nodes) = (Duration::ZERO, one());
        for _ in 0..50 {
            waited += retry_in(&end(Loss::Drained, Some(Instant::now())), &mut outage, &mut nodes)
                .expect("a drain says to reconnect");
        }
        assert!(waited > Duration::from_secs(2), "50 connections in {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_follow_the_drain_or_the_bounds() {
        let bounds = BackoffBounds {
            first_ms: 100,
            max_ms: 400,
        };
        let mut outage = Outage::new(bounds);
        let at = Instant::now() + Duration::from_millis(8_300);
        let drained = retry_in(&end(closed(4000), Some(at)), &mut outage, &mut one());
        assert_eq!(
            drained,
            Some(Duration::from_millis(8_300)),
            "the rest of the drain's time"
        );
        outage.over();
        let left = retry_in(&end(Loss::Drained, Some(Instant::now())), &mut outage, &mut one());
        assert_eq!(left, Some(Duration::ZERO));
        outage.over();
        for ceiling_ms in [100, 200, 400, 400] {
            let wait =
                retry_in(&end(closed(4002), None), &mut outage, &mut one()).expect("4002 says to reconnect");
            assert!(
                wait <= Duration::from_millis(ceiling_ms),
                "{wait:?} is above {ceiling_ms} ms"
            );
        }
    }

    #[tokio::test]
    async fn some_ends_are_final() {
        let mut outage = Outage::new(BackoffBounds::default());
        for loss in [closed(4501), closed(4503), closed(1008), Loss::Left] {
            assert_eq!(
                retry_in(&end(loss.clone(), None), &mut outage, &mut one()),
                None,
                "{loss}"
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_asked_for_again_and_again() {
        let mut outage = Outage::new(BackoffBounds::default());
        let unreadable = end(Loss::Protocol("no message".to_owned()), None);
        let broke = end(Loss::Broke("the cable".to_owned()), None);
        let mut tried = |ends: &[&End]| -> Vec<bool> {
            ends.iter()
                .map(|end| retry_in(end, &mut outage, &mut one()).is_some())
                .collect()
        };
        assert_eq!(tried(&[&unreadable, &unreadable, &broke]), [true; 3]);
        assert_eq!(
            tried(&[&unreadable, &unreadable, &unreadable]),
            [true, true, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_node_is_tried_at_once_and_all_of_them_only_after_a_wait() {
        let bounds = BackoffBounds {
            first_ms: 100,
            max_ms: 100,
        };
        let (mut outage, mut nodes) = (Outage::new(bounds), Nodes::new(3, || 0));
        let mut waits = Vec::new();
        for _ in 0..300 {
            waits.push(
                retry_in(&end(Loss::Broke(String::new()), None), &mut outage, &mut nodes)
                    .expect("it goes on"),
            );
        }
        assert!(waits.chunks(3).all(|round| round[..2] == [Duration::ZERO; 2]));
        let waited: Duration = waits.iter().sum();
        assert!(
            (Duration::from_secs(3)..Duration::from_secs(7)).contains(&waited),
            "100 waits of 50 ms on average: {waited:?}"
        );
    }

    /// As during a rolling restart, in which each node soon drains, too.
    #[tokio::test(start_paused = true)]
    async fn nodes_that_drain_one_after_the_other_are_left_at_their_times_and_not_dialled_in_a_loop() {
        let bounds = BackoffBounds {
            first_ms: 100,
            max_ms: 400,
        };
        let (mut outage, mut nodes) = (Outage::new(bounds), Nodes::new(3, || 0));
        let after = Duration::from_millis(8_300);
        let told = retry_in(
            &end(closed(4000), Some(Instant::now() + after)),
            &mut outage,
            &mut nodes,
        );
        assert_eq!(
            told,
            Some(after),
            "the time is the node's, the other node the client's"
        );
        let mut next = || {
            retry_in(&end(Loss::Drained, Some(Instant::now())), &mut outage, &mut nodes)
                .expect("a drain says to reconnect")
        };
        assert_eq!(next(), Duration::ZERO, "the third node was not tried");
        let waited: Duration = (0..150).map(|_| next()).sum();
        assert!(waited > Duration::from_secs(2), "150 connections in {waited:?}");
    }
}
