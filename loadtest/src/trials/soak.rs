//! Trial: the simulated market is sent to many subscribers for any time, and every message is checked.
//!
//! It fails on anything that PROTOCOL.md does not allow: a number that is not the next one, a gap (readers here are
//! fast), a close, a refusal, a book with another checksum, or silence. What was sent before the measured time
//! (snapshots, the market's opening) is checked too, but not counted.

use std::time::{Duration, Instant};

use serde::Serialize;
use tickwire_wire::limits::SUBSCRIPTIONS_MAX;

use crate::swarm::{
    Broker, BrokerArgs, Interrupt, Latency, Lateness, Layout, Memory, Outcome, Phase, Readers, Sample, Swarm,
    bytes, conn, grouped, micros, progress,
};

/// Symbols of the simulated market.
const SYMBOLS: usize = 10_000;
/// Symbols of each subscriber, which has four topics for each.
const SYMBOLS_EACH: usize = 100;
/// The channels on which each subscriber gets each of its symbols.
const CHANNELS: [&str; 4] = ["trade", "book", "bbo", "ticker"];
const TOPICS_EACH: usize = SYMBOLS_EACH * CHANNELS.len();
const _: () = assert!(TOPICS_EACH <= SUBSCRIPTIONS_MAX);
/// The time between the last subscription and the measurement.
const WARM_UP: Duration = Duration::from_secs(3);
/// How many subscribers decode every message, rebuild their books and verify each checksum.
const THOROUGH: usize = 4;
/// The time between two readings of the broker's memory.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// The number of samples between two lines of progress.
const SAMPLES_PER_LINE: usize = 5;
/// If memory grows by more than this percentage over the last half, it counts as growing.
const STEADY_PERCENT: f64 = 3.0;

/// Send the simulated market to many subscribers: every message checked, memory and CPU time over time
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SoakArgs {
    /// Ticks per second of the simulated market, which has 10,000 symbols
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// Subscribers, with one connection each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// How many seconds to measure
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    seconds: u64,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &SoakArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let mut command = args.broker.command()?;
    command.args([
        "--feed",
        "sim",
        "--symbols",
        &SYMBOLS.to_string(),
        "--rate",
        &args.rate.to_string(),
    ]);
    let broker = Broker::start(&mut command, interrupt)?;
    let quoted = broker.topics("bbo.*", SYMBOLS, interrupt)?;
    let symbols = quoted.iter().filter_map(|topic| topic.strip_prefix("bbo."));
    let topics = symbols.flat_map(|symbol| CHANNELS.map(|channel| format!("{channel}.{symbol}")));
    let layout = Layout {
        readers: args.subscribers as usize,
        topics: topics.collect(),
        topics_each: TOPICS_EACH,
        apart: TOPICS_EACH,
        snapshot: true,
        thorough: THOROUGH,
        ..Layout::default()
    };
    let mut swarm = broker.readers(layout, Lateness::new()?, interrupt)?;
    swarm.connect()?;
    progress!("all subscribers have their acks");
    swarm.turn_for(WARM_UP)?;

    let mut outcome = Outcome::of_broker(&broker.description);
    measure(args, &broker, &mut swarm, &mut outcome)?;
    swarm.finish()?;
    outcome.faults.merge(swarm.handler.faults);
    outcome.expect("broker", broker.stop());
    Ok(outcome)
}

/// The broker's memory at a moment of the measured time.
#[derive(Debug, Clone, Copy, Serialize)]
struct Reading {
    at_s: f64,
    memory: Memory,
}

fn measure(
    args: &SoakArgs,
    broker: &Broker,
    swarm: &mut Swarm<Readers<Lateness>>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let own = || Sample::take(std::process::id());
    let before = (broker.scrape()?, broker.sample()?, own()?);
    swarm.handler.counts = Default::default();
    swarm.handler.watch.phase = Phase::Calm;
    let began = Instant::now();
    let read = || {
        let memory = broker.memory()?;
        let at_s = began.elapsed().as_secs_f64();
        anyhow::Ok(Reading { at_s, memory })
    };
    let mut readings = vec![read()?];
    let until = began + Duration::from_secs(args.seconds);
    let mut next = began + SAMPLE_EVERY;
    while Instant::now() < until {
        swarm.turn_until(next.min(until), |_| false)?;
        if Instant::now() < next {
            continue;
        }
        next += SAMPLE_EVERY;
        swarm.handler.find_silent(conn::now());
        readings.push(read()?);
        if readings.len() % SAMPLES_PER_LINE == 1 {
            tell(&swarm.handler, &readings);
        }
    }
    // Counters and clocks are read together. The page of metrics may take its time.
    let seconds = began.elapsed().as_secs_f64();
    let used = [broker.sample()?.since(&before.1).cpu, own()?.since(&before.2).cpu];
    swarm.handler.find_silent(conn::now());
    let count = grouped(u64::from(args.subscribers));
    let text = format!("{count} subscribers with {SYMBOLS_EACH} of {SYMBOLS} symbols each, {seconds:.1} s");
    outcome.row("load", text);
    outcome.figure("seconds", seconds);
    traffic(&swarm.handler, seconds, outcome);
    let updates = swarm.handler.counts.updates.max(1) as f64;
    for (who, key, used) in [
        ("broker's", "broker_cpu_s", used[0]),
        ("this side's", "own_cpu_s", used[1]),
    ] {
        let (seconds, each) = (used.as_secs_f64(), used.as_secs_f64() * 1e6 / updates);
        outcome.row(
            format!("{who} CPU"),
            format_args!("{seconds:.2} s, {each:.3} µs per delivery"),
        );
        outcome.figure(key, seconds);
    }
    let ticks = broker.scrape()?.grown(&before.0, "tickwire_feed_ticks_total", "");
    outcome.row("feed's ticks/s", grouped((ticks / seconds) as u64));
    memory(&readings, seconds, outcome);
    Ok(())
}

fn tell(readers: &Readers<Lateness>, readings: &[Reading]) {
    let Some(last) = readings.last() else { return };
    let counts = readers.counts;
    progress!(
        "{:4.0} s  {:>9} deliveries/s  p99 {}  RSS {}  missing {}  gapped {}  closes {}  faults {}",
        last.at_s,
        grouped((counts.updates as f64 / last.at_s.max(1e-3)) as u64),
        micros(readers.watch.calm_us.value_at_quantile(0.99)),
        bytes(last.memory.rss_bytes),
        counts.missing,
        counts.gapped,
        counts.closes,
        readers.faults.count()
    );
}

fn traffic(readers: &Readers<Lateness>, seconds: f64, outcome: &mut Outcome) {
    let counts = readers.counts;
    outcome.figures(counts);
    outcome.row("deliveries", grouped(counts.updates));
    let [each_s, bytes_s] = [counts.updates, counts.bytes].map(|count| (count as f64 / seconds) as u64);
    let text = format!("{} ({} a second)", grouped(each_s), bytes(bytes_s));
    outcome.row("deliveries/s", text);
    outcome.row("missed sequences", grouped(counts.missing + counts.gapped));
    outcome.row("closes", grouped(counts.closes));
    outcome.row("conflated", grouped(counts.conflated));
    let latency = Latency::of(&readers.watch.calm_us);
    outcome.row("latency", latency);
    outcome.figure("latency_us", latency);
}

fn memory(readings: &[Reading], seconds: f64, outcome: &mut Outcome) {
    for reading in readings.first().into_iter().chain(readings.last()) {
        let [rss, anonymous] = [reading.memory.rss_bytes, reading.memory.anon_bytes].map(bytes);
        let label = format!("broker's RSS at {:.0} s", reading.at_s);
        outcome.row(label, format_args!("{rss} (anonymous {anonymous})"));
    }
    let growth = growth_percent(readings).map_or("unknown: too few readings".to_owned(), |percent| {
        let word = match percent > STEADY_PERCENT {
            true => "growing",
            false => "steady",
        };
        format!("{percent:+.2} % ({word})")
    });
    outcome.row(format!("RSS growth, last half of {seconds:.0} s"), growth);
    outcome.figure("samples", readings);
}

/// The growth from the first to the last fifth of the last half, in percent of the first.
fn growth_percent(readings: &[Reading]) -> Option<f64> {
    let half = &readings[readings.len() / 2..];
    let fifth = half.len() / 5;
    if fifth == 0 {
        return None;
    }
    let mean = |some: &[Reading]| {
        let sum: u64 = some.iter().map(|reading| reading.memory.rss_bytes).sum();
        sum as f64 / some.len() as f64
    };
    let (from, to) = (mean(&half[..fifth]), mean(&half[half.len() - fifth..]));
    Some((to / from - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_last_half() {
        let growth = |megabytes: &[u64]| {
            let reading = |megabytes: &u64| Reading {
                at_s: 0.0,
                memory: Memory {
                    rss_bytes: megabytes * 1_000_000,
                    anon_bytes: 0,
                },
            };
            growth_percent(&megabytes.iter().map(reading).collect::<Vec<_>>())
        };
        assert_eq!(growth(&[1; 4]), None);
        assert_eq!(growth(&[&[1; 5][..], &[6; 15]].concat()), Some(0.0));
        let growing = growth(&(100..120).collect::<Vec<_>>()).expect("enough readings");
        assert!((growing - 8.0 / 110.5 * 100.0).abs() < 1e-9, "{growing}");
    }
}
