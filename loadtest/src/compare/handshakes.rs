//! Connections that are made and left at once: what one costs the server without TLS, with a full handshake, and with a resumed one.
//!
//! A connection is made when its WebSocket is open, so both sides have finished the handshake before it; then it is dropped with a
//! reset. The cost of a handshake is what the connection costs more than one without TLS. Few connections are on their way at once,
//! since clients keep few tickets.

use std::time::{Duration, Instant};

use tickwire_wire::Micros;

use crate::compare::{Figure, Figures, Measured, Setup, micros};
use crate::swarm::{
    Certificates, ConnId, Ending, Faults, Handler, Reply, Sample, Secured, Swarm, TlsClient, hasty,
};

/// How many connections are on their way at once.
const AT_ONCE: usize = 4;

/// Connections that want nothing but to be open.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    pub(super) opened: u64,
    pub(super) faults: Faults,
}

impl Handler for Visitors {
    /// What a server says by itself, such as a welcome.
    fn message(&mut self, _: ConnId, _: &[u8], _: Micros, _: &mut Reply<'_>) {}

    fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
        self.opened += 1;
        reply.settle();
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let text = format_args!("connection {}: {ending}", id.0);
        self.faults.add("connection ended", text);
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}

/// What connections of one sort cost.
struct Visits {
    version: String,
    /// The CPU time of the server for each, in microseconds.
    cost: f64,
    opened: u64,
    secured: Secured,
    faults: Faults,
}

impl Setup<'_> {
    /// Measures the cost of connections without TLS, with full handshakes and with resumed ones.
    pub(super) fn handshakes(&self) -> anyhow::Result<Measured> {
        let plain = self.visits(None)?;
        let full = self.visits(Some(hasty(false)?))?;
        let resumed = self.visits(Some(hasty(true)?))?;
        let mut figures = Figures::default();
        figures.set(Figure::PlainConnection, plain.cost);
        figures.set(Figure::FullConnection, full.cost);
        figures.set(Figure::ResumedConnection, resumed.cost);
        figures.set(Figure::FullPerCpuSecond, 1e6 / (full.cost - plain.cost));
        figures.set(Figure::ResumedPerCpuSecond, 1e6 / (resumed.cost - plain.cost));
        let share = 100.0 * resumed.secured.resumed as f64 / resumed.opened as f64;
        figures.set(Figure::Resumed, share);
        let mut faults = plain.faults;
        faults.merge(full.faults);
        faults.merge(resumed.faults);
        if full.secured.resumed > 0 {
            faults.add("not a full handshake", full.secured.resumed);
        }
        Ok(Measured {
            version: Some(plain.version),
            tls: full.secured.agreed,
            figures,
            faults,
            ..Measured::default()
        })
    }

    /// Makes connections for the measured time, with TLS as `client` says.
    fn visits(&self, client: Option<TlsClient>) -> anyhow::Result<Visits> {
        let certificates: Option<&Certificates> = self.certificates.filter(|_| client.is_some());
        let server = self.start(certificates)?;
        let mut endpoint = server.endpoint(self.protocol);
        endpoint.client = client;
        let count = self.scenario.subscribers as usize;
        let mut swarm =
            Swarm::new(&endpoint, count, self.interrupt, Visitors::default())?.with_unsettled_max(AT_ONCE);
        visit(&mut swarm, self.warmup())?;
        let (before, opened) = (Sample::take(server.pid())?, swarm.handler.opened);
        visit(&mut swarm, self.seconds())?;
        let used = Sample::take(server.pid())?.since(&before);
        let measured = swarm.handler.opened - opened;
        Ok(Visits {
            version: server.version.clone(),
            cost: micros(used.cpu) / measured as f64,
            opened: swarm.handler.opened,
            secured: swarm.secured().clone(),
            faults: swarm.handler.faults,
        })
    }
}

/// Makes all connections of `swarm` and drops them, again and again for `time`.
fn visit(swarm: &mut Swarm<Visitors>, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        swarm.connect()?;
        swarm.reset_when_dropped();
        swarm.reconnect(ConnId(0));
    }
    Ok(())
}
