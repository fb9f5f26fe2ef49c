//! Scenario: the simulated market to many subscribers for as long as is wanted, every message checked.
//!
//! Fails on anything that PROTOCOL.md does not allow: a number that is not the next one, a gap (readers here are fast), a
//! close, a refusal, a message that does not say what its topic promises, a book whose checksum differs, silence. What was
//! sent before the measured time (snapshots, the market's opening) is checked too, but not counted.

mod audience;
mod content;
mod mix;
mod outcome;
pub(crate) mod scan;
pub(crate) mod symbols;
mod track;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tickwire_wire::Pattern;

use crate::swarm::broker::{Broker, BrokerArgs};
use crate::swarm::conn;
use crate::swarm::connections::Swarm;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::latency::Latency;
use crate::swarm::proc;
use crate::swarm::report::{bytes, grouped, micros, progress};

use audience::Audience;
use mix::Mix;
pub(crate) use outcome::SoakOutcome;
use outcome::{Sample, Server};

/// Subscribers that are on their way at a time.
const CONNECTING: usize = 32;
/// Time for all subscriptions to be acked.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Time that all connections get to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// Time between two looks at the broker's memory.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Samples between two lines of progress.
const SAMPLES_PER_LINE: usize = 5;

/// The simulated market to many subscribers: every message checked, memory and CPU time over time.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SoakArgs {
    /// Symbols of the simulated market
    #[arg(long, default_value_t = 10_000)]
    symbols: u32,
    /// Its ticks per second
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// Seed of the market, and of who subscribes to what
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Subscribers, a connection each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Random symbols of each subscriber; symbols times channels are its topics, at most the broker's limit (1,024)
    #[arg(long, default_value_t = 100, value_name = "N")]
    symbols_each: u32,
    /// Channels on which each subscriber has each of its symbols
    #[arg(
        long,
        default_value = "trade,book,bbo,ticker",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    channels: Vec<String>,
    /// Patterns that some subscribers have on top, such as 'trade.*,book.*'; '' for none
    #[arg(long, default_value = "trade.*", value_name = "LIST")]
    patterns: String,
    /// How many subscribers have the patterns
    #[arg(long, default_value_t = 4, value_name = "N")]
    pattern_subscribers: u32,
    /// How long to measure
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    seconds: u64,
    /// Time between the last subscription and the measurement
    #[arg(long, default_value_t = 3, value_name = "S")]
    warmup: u64,
    /// Decode every so many messages in full
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    decode_every: u64,
    /// Subscribers that rebuild one of their books and verify each checksum
    #[arg(long, default_value_t = 16, value_name = "N")]
    books: u32,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl SoakArgs {
    fn mix(&self) -> anyhow::Result<Mix> {
        let patterns: Vec<&str> = self
            .patterns
            .split(',')
            .filter(|pattern| !pattern.is_empty())
            .collect();
        let patterns: Result<Vec<Pattern>, _> = patterns.into_iter().map(str::parse).collect();
        let mix = Mix {
            subscribers: self.subscribers as usize,
            symbols_each: self.symbols_each as usize,
            channels: self.channels.clone(),
            patterns: patterns?,
            pattern_subscribers: self.pattern_subscribers as usize,
            seed: self.seed,
        };
        for pattern in &mix.patterns {
            ensure!(pattern.is_wildcard(), "--patterns: {pattern} has no wildcard");
        }
        let channels = self.channels.iter().map(|channel| format!("{channel}.X"));
        for topic in channels {
            topic.parse::<tickwire_wire::Topic>()?;
        }
        Ok(mix)
    }
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &SoakArgs, interrupt: &Interrupt) -> anyhow::Result<SoakOutcome> {
    let mix = args.mix()?;
    let flags = [
        ("--feed", "sim".to_owned()),
        ("--symbols", args.symbols.to_string()),
        ("--rate", args.rate.to_string()),
        ("--seed", args.seed.to_string()),
    ];
    let broker = Broker::open(&args.broker, &flags, &[], interrupt)?;
    let expected = broker.is_ours().then_some(args.symbols as usize);
    let symbols = symbols::find(broker.endpoint(), expected, interrupt)?;
    progress(format_args!(
        "the broker has {} symbols",
        grouped(symbols.len() as u64)
    ));

    let audience = Audience::new(mix.draw(&symbols), args.decode_every, args.books as usize)?;
    let mut swarm = Swarm::new(
        broker.endpoint(),
        mix.subscribers,
        CONNECTING,
        interrupt.clone(),
        audience,
    )?;
    let began = Instant::now();
    if swarm.turn_until(began + CONNECT_WITHIN, |swarm| swarm.is_settled())? {
        let took_s = began.elapsed().as_secs_f64();
        progress(format_args!(
            "all subscribers have their acks after {took_s:.2} s"
        ));
    } else {
        let (settled, all) = (swarm.settled(), mix.subscribers);
        let text = format_args!("{settled} of {all} subscribers had their acks after {CONNECT_WITHIN:?}");
        swarm.handler.faults.add("connecting is stuck", text);
    }
    swarm.turn_until(Instant::now() + Duration::from_secs(args.warmup), |_| false)?;

    let mut outcome = measure(&broker, &mut swarm, Duration::from_secs(args.seconds))?;
    outcome.symbols = symbols.len();
    outcome.subscribers = mix.subscribers;
    outcome.topics = swarm.handler.topics();
    let left = swarm.finish(CLOSE_WITHIN)?;
    outcome.faults = swarm.handler.faults;
    if left > 0 {
        outcome.faults.add(
            "close not answered",
            format_args!("by {left} subscribers within {CLOSE_WITHIN:?}"),
        );
    }
    outcome.broker = broker.description().to_owned();
    if let Err(error) = broker.stop() {
        outcome.faults.add("broker", format_args!("{error:#}"));
    }
    Ok(outcome)
}

fn measure(broker: &Broker, swarm: &mut Swarm<Audience>, time: Duration) -> anyhow::Result<SoakOutcome> {
    let own = std::process::id();
    let metrics = broker.scrape()?;
    let mut samples = vec![Sample::take(broker, Duration::ZERO)?];
    let (cpu, own_cpu) = (broker.cpu_time()?, proc::cpu_time(own)?);
    swarm.handler.begin();
    let began = Instant::now();
    let until = began + time;
    let (mut next_sample, mut updates_told) = (began + SAMPLE_EVERY, 0);
    while Instant::now() < until {
        swarm.turn_until(next_sample.min(until), |_| false)?;
        if Instant::now() < next_sample {
            continue;
        }
        next_sample += SAMPLE_EVERY;
        swarm.handler.find_silent(conn::now());
        samples.push(Sample::take(broker, began.elapsed())?);
        if (samples.len() - 1).is_multiple_of(SAMPLES_PER_LINE) {
            tell(swarm, &samples, &mut updates_told);
        }
    }
    // The counts and the clocks are read together; the page of metrics may take its time.
    let measured = began.elapsed();
    let counts = swarm.handler.counts;
    let cpu = broker.cpu_time()?.since(&cpu);
    let own_cpu = proc::cpu_time(own)?.since(&own_cpu);
    let (updates_min, updates_max) = swarm.handler.updates_range();
    swarm.handler.find_silent(conn::now());
    let server = Server::between(&metrics, &broker.scrape()?, measured);
    let latency = &swarm.handler.latency_us;
    Ok(SoakOutcome {
        scenario: "soak",
        seconds: measured.as_secs_f64(),
        counts,
        updates_min,
        updates_max,
        latency_us: Latency::of(latency),
        broker_cpu_s: cpu.total().as_secs_f64(),
        broker_cpu_by_thread_s: cpu.seconds(),
        shard_cpu_s: cpu.of("shard").map(|time| time.as_secs_f64()),
        own_cpu_s: own_cpu.total().as_secs_f64(),
        own_rss_bytes: proc::memory(own)?.rss_bytes,
        server,
        samples,
        ..SoakOutcome::default()
    })
}

/// A line of progress.
fn tell(swarm: &Swarm<Audience>, samples: &[Sample], updates_told: &mut u64) {
    let [.., last] = samples else { return };
    let before = samples
        .len()
        .checked_sub(SAMPLES_PER_LINE + 1)
        .map_or(0.0, |at| samples[at].at_s);
    let audience = &swarm.handler;
    let more = audience.counts.updates - std::mem::replace(updates_told, audience.counts.updates);
    progress(format_args!(
        "{:4.0} s  {:>9} deliveries/s  p99 {}  RSS {}  missing {}  gapped {}  closes {}  faults {}",
        last.at_s,
        grouped((more as f64 / (last.at_s - before).max(1e-3)) as u64),
        micros(audience.latency_us.value_at_quantile(0.99)),
        bytes(last.memory.rss_bytes),
        audience.counts.missing,
        audience.counts.gapped,
        audience.counts.closes,
        audience.faults.count(),
    ));
}
