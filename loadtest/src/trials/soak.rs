//! Trial: the simulated market is sent to many subscribers for any time, and every message is checked.
//!
//! It fails on anything that PROTOCOL.md does not allow: a number that is not the next one, a gap (readers here are
//! fast), a close, a refusal, a message that does not contain what its topic promises, a book with another checksum, or
//! silence. What was sent before the measured time (snapshots, the market's opening) is checked too, but not counted.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tickwire_wire::limits::SUBSCRIPTIONS_MAX;

use crate::swarm::{
    Broker, BrokerArgs, Interrupt, Latency, Lateness, Layout, Memory, Outcome, Phase, Readers, Swarm, bytes,
    conn, grouped, micros, proc, progress,
};

/// The channels on which each subscriber gets each of its symbols.
const CHANNELS: [&str; 4] = ["trade", "book", "bbo", "ticker"];
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
    /// Symbols of the simulated market
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    symbols: u32,
    /// Ticks per second of the simulated market
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// Subscribers, with one connection each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Symbols of each subscriber, which has four topics for each
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    symbols_each: u32,
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
    let (each, all) = (args.symbols_each, args.symbols);
    ensure!(each <= all, "--symbols-each {each} is more than --symbols {all}");
    let (symbols, rate) = (args.symbols.to_string(), args.rate.to_string());
    let mut command = args.broker.command()?;
    command.args(["--feed", "sim", "--symbols", &symbols, "--rate", &rate]);
    let broker = Broker::start(&mut command, interrupt)?;
    let quoted = broker.topics("bbo.*", args.symbols as usize, interrupt)?;
    let symbols = quoted.iter().filter_map(|topic| topic.strip_prefix("bbo."));
    let topics = symbols.flat_map(|symbol| CHANNELS.map(|channel| format!("{channel}.{symbol}")));
    let topics_each = args.symbols_each as usize * CHANNELS.len();
    assert!(topics_each <= SUBSCRIPTIONS_MAX, "the arguments are bounded so");
    let layout = Layout {
        readers: args.subscribers as usize,
        topics: topics.collect(),
        topics_each,
        apart: topics_each,
        snapshot: true,
        thorough: THOROUGH,
        ..Layout::default()
    };
    let readers = Readers::new(layout, Lateness::new()?);
    let mut swarm = Swarm::new(broker.endpoint(), args.subscribers as usize, interrupt, readers)?;
    swarm.connect()?;
    progress!("all subscribers have their acks");
    swarm.turn_for(WARM_UP)?;

    let mut outcome = Outcome::of_broker(broker.description());
    measure(args, &broker, &mut swarm, &mut outcome)?;
    swarm.finish()?;
    outcome.faults.merge(swarm.handler.faults);
    outcome.expect("broker", broker.stop());
    Ok(outcome)
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Sample {
    at_s: f64,
    memory: Memory,
}

fn measure(
    args: &SoakArgs,
    broker: &Broker,
    swarm: &mut Swarm<Readers<Lateness>>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let own = std::process::id();
    let before = broker.scrape()?;
    let sample = |began: Instant| {
        Ok::<_, anyhow::Error>(Sample {
            at_s: began.elapsed().as_secs_f64(),
            memory: broker.memory()?,
        })
    };
    let (cpu, own_cpu) = (broker.sample()?, proc::Sample::take(own)?);
    swarm.handler.counts = Default::default();
    swarm.handler.watch.phase = Phase::Calm;
    let began = Instant::now();
    let mut samples = vec![sample(began)?];
    let until = began + Duration::from_secs(args.seconds);
    let mut next_sample = began + SAMPLE_EVERY;
    while Instant::now() < until {
        swarm.turn_until(next_sample.min(until), |_| false)?;
        if Instant::now() < next_sample {
            continue;
        }
        next_sample += SAMPLE_EVERY;
        swarm.handler.find_silent(conn::now());
        samples.push(sample(began)?);
        if samples.len() % SAMPLES_PER_LINE == 1 {
            tell(&swarm.handler, &samples);
        }
    }
    // Counters and clocks are read together. The page of metrics may take its time.
    let seconds = began.elapsed().as_secs_f64();
    let readers = &swarm.handler;
    let [count, each, all] =
        [args.subscribers, args.symbols_each, args.symbols].map(|count| grouped(u64::from(count)));
    let text = format!("{count} subscribers with {each} of {all} symbols each, {seconds:.1} s");
    outcome.row("load", text);
    outcome.figure("seconds", seconds);
    traffic(readers, seconds, outcome);
    let cpu = [
        broker.sample()?.since(&cpu).cpu,
        proc::Sample::take(own)?.since(&own_cpu).cpu,
    ];
    cost(cpu, readers.counts.updates, outcome);
    outcome.row("RSS of this side", bytes(proc::memory(own)?.rss_bytes));
    let ticks = broker.scrape()?.grown(&before, "tickwire_feed_ticks_total", "");
    outcome.row("feed's ticks/s", grouped((ticks / seconds) as u64));
    memory(&samples, seconds, outcome);
    swarm.handler.find_silent(conn::now());
    Ok(())
}

fn tell(readers: &Readers<Lateness>, samples: &[Sample]) {
    let Some(last) = samples.last() else { return };
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

/// Reports the CPU times of the broker and of this program.
fn cost([broker, own]: [Duration; 2], updates: u64, outcome: &mut Outcome) {
    let each = |time: Duration| format!("{:.3} µs", time.as_secs_f64() * 1e6 / updates.max(1) as f64);
    outcome.row("broker's CPU", format_args!("{:.2} s", broker.as_secs_f64()));
    outcome.row("broker's CPU per delivery", each(broker));
    outcome.row("this side's CPU per delivery", each(own));
    outcome.figure("broker_cpu_s", broker.as_secs_f64());
    outcome.figure("own_cpu_s", own.as_secs_f64());
}

fn memory(samples: &[Sample], seconds: f64, outcome: &mut Outcome) {
    for sample in samples.first().into_iter().chain(samples.last()) {
        let [rss, anonymous] = [sample.memory.rss_bytes, sample.memory.anon_bytes].map(bytes);
        let label = format!("broker's RSS at {:.0} s", sample.at_s);
        outcome.row(label, format_args!("{rss} (anonymous {anonymous})"));
    }
    let growth = growth_percent(samples).map_or("unknown: too few samples".to_owned(), |percent| {
        let word = match percent > STEADY_PERCENT {
            true => "growing",
            false => "steady",
        };
        format!("{percent:+.2} % ({word})")
    });
    outcome.row(format!("RSS growth, last half of {seconds:.0} s"), growth);
    outcome.figure("samples", samples);
}

/// The growth from the first to the last fifth of the last half, in percent of the first.
fn growth_percent(samples: &[Sample]) -> Option<f64> {
    let half = &samples[samples.len() / 2..];
    let fifth = half.len() / 5;
    if fifth == 0 {
        return None;
    }
    let mean = |some: &[Sample]| {
        let sum: u64 = some.iter().map(|sample| sample.memory.rss_bytes).sum();
        sum as f64 / some.len() as f64
    };
    let (from, to) = (mean(&half[..fifth]), mean(&half[half.len() - fifth..]));
    Some((to / from - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(megabytes: impl IntoIterator<Item = u64>) -> Vec<Sample> {
        let sample = |(at, megabytes): (usize, u64)| Sample {
            at_s: at as f64,
            memory: Memory {
                rss_bytes: megabytes * 1_000_000,
                anon_bytes: 0,
            },
        };
        megabytes.into_iter().enumerate().map(sample).collect()
    }

    #[test]
    fn growth_is_that_of_the_last_half() {
        assert_eq!(growth_percent(&samples([1; 4])), None);
        assert_eq!(
            growth_percent(&samples((0..20).map(|at| at.min(5) + 1))),
            Some(0.0)
        );
        let growing = growth_percent(&samples(100..120)).expect("enough samples");
        assert!((growing - 8.0 / 110.5 * 100.0).abs() < 1e-9, "{growing}");
    }
}
