//! Trial: a thousand hostile clients beside a thousand honest ones, for each row of `docs/ATTACKS.md`.
//!
//! Each row has its own broker, with default settings and a simulated market. The trial measures the answers that
//! attackers get, the broker's memory, and what the honest clients notice: what they miss, and how late messages are
//! compared with the time before the attack. It fails on an answer that is not the row's, a number that an honest
//! subscriber misses, a growth of more than [`outcome::GROWTH_BYTES_MAX`], and a broker that serves no new client
//! afterwards. If honest clients get messages later than they should, this is reported and does not fail the run, since
//! it also depends on the machine.
//!
//! The broker has its own core. Attackers and honest clients share another, on which attackers have low priority.

mod attackers;
mod heard;
mod honest;
mod outcome;
mod row;
mod rows;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::swarm::{
    Broker, BrokerArgs, Certificates, Interrupt, Latency, Metrics, Outcome, Phase, Readers, allow_files,
    byte_change, grouped, on_cores, own_cores, progress, run_on, write_file,
};

use attackers::Attackers;
use honest::{Honest, Waiting};
use outcome::{GROWTH_BYTES_MAX, RowOutcome, VariantOutcome};
use row::{Judge, Row};

/// The number of symbols in the simulated market.
const SYMBOLS: usize = 50;
/// The time between two readings of the broker's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// How long everything may settle before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// The nice value of the attackers, which gives them less of their core than others get.
const NICE: i32 = 19;

/// Run hostile clients beside honest ones: each gets its answer, and the others notice nothing
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AttackArgs {
    /// Only this row; may be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(rows::LAST)))]
    row: Vec<u8>,
    /// Attackers, each with its own address
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    attackers: u32,
    /// Honest subscribers
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// How many seconds a row attacks, and how many it is quiet before that; rows about deadlines take as long as these
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write a table to this file, in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &AttackArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    allow_files((args.attackers + args.subscribers) as usize)?;
    // The first core is the broker's, the others are its clients'.
    let cores = own_cores()?;
    let (broker_cores, others) = match cores.len() {
        1 => (&cores[..], &cores[..]),
        _ => (&cores[..1], &cores[1..2]),
    };
    if broker_cores == others {
        progress!("there is only one core: latencies say little");
    }
    run_on(others)?;
    let mut found = Vec::new();
    for at in 0..chosen(args).len() {
        // The rows are made again each time, since tokens expire.
        let row = &chosen(args)[at];
        progress!("row {}: {}", row.number, row.name);
        let run = Run {
            args,
            row,
            interrupt,
            broker_cores,
        };
        found.push(run.run()?);
    }
    let load = format!(
        "{} attackers beside {} honest subscribers, {} s each row",
        grouped(u64::from(args.attackers)),
        grouped(u64::from(args.subscribers)),
        args.seconds
    );
    let mut outcome = Outcome::of_broker(found.first().map_or("", |row| &row.broker));
    outcome.row("load", &load);
    outcome.figure("load", &load);
    outcome::tell(&found, &mut outcome);
    if let Some(path) = &args.markdown {
        write_file(path, outcome::markdown(&load, &found))?;
    }
    Ok(outcome)
}

fn chosen(args: &AttackArgs) -> Vec<Row> {
    let asked = |row: &Row| args.row.is_empty() || args.row.contains(&row.number);
    rows::all(args.seconds).into_iter().filter(asked).collect()
}

struct Run<'a> {
    args: &'a AttackArgs,
    row: &'a Row,
    interrupt: &'a Interrupt,
    broker_cores: &'a [usize],
}

impl Run<'_> {
    /// Starts the broker. `folder` holds the files that the row makes it read. It uses TLS if there are `certificates`.
    fn start_broker(&self, folder: &Path, certificates: Option<&Certificates>) -> anyhow::Result<Broker> {
        let mut command = self.args.broker.command()?;
        command
            .args(["--feed", "sim", "--rate", "500"])
            .args(["--symbols", &SYMBOLS.to_string()])
            .args(["--anonymous-publish", "storm.>"])
            .envs(certificates.into_iter().flat_map(Certificates::settings));
        for (name, bytes) in &self.row.files {
            write_file(&folder.join(name), bytes)?;
        }
        if let Some(config) = &self.row.config {
            let path = folder.join("tickwire.toml");
            write_file(&path, config.replace("{folder}", &folder.display().to_string()))?;
            command.arg("--config").arg(path);
        }
        let half = self.args.subscribers + self.args.attackers / 2 + 1;
        let half_attackers = (self.args.attackers / 2).max(1);
        for (name, value) in &self.row.settings {
            let value = value.replace("{half}", &half.to_string());
            let value = value.replace("{half-attackers}", &half_attackers.to_string());
            command.env(name, value);
        }
        let broker = on_cores(self.broker_cores, || Broker::start(&mut command, self.interrupt));
        Ok(match certificates {
            Some(certificates) => broker?.with_tls(certificates.client()?),
            None => broker?,
        })
    }

    fn run(&self) -> anyhow::Result<RowOutcome> {
        let folder = tempfile::tempdir().context("no folder for the broker's files")?;
        let certificates = self.row.secured.then(Certificates::new).transpose()?;
        let broker = self.start_broker(folder.path(), certificates.as_ref())?;
        let mut found = RowOutcome {
            row: self.row.number,
            name: self.row.name,
            broker: broker.description.clone(),
            ..RowOutcome::default()
        };
        let quoted = broker.topics("bbo.*", SYMBOLS, self.interrupt)?;
        let symbols: Vec<String> = quoted
            .iter()
            .filter_map(|topic| topic.strip_prefix("bbo.").map(str::to_owned))
            .collect();
        let arrive = |count| Honest::arrive(&broker, count, &symbols, self.interrupt);
        let mut honest = arrive(self.args.subscribers as usize)?;
        honest.read(WARM_UP, Phase::Unmeasured)?;
        honest.read(Duration::from_secs(self.args.seconds), Phase::Calm)?;
        self.attack(&broker, &mut honest, &mut found)?;
        let served = honest.catch_up();
        self.fault("honest", served, &mut found)?;
        self.fault("newcomer not served", arrive(1).map(drop), &mut found)?;
        self.judge_honest(honest.leave(), &mut found);
        let growth_max = self.row.growth_each_bytes * u64::from(self.args.attackers);
        if found.growth_bytes() >= growth_max.max(GROWTH_BYTES_MAX) {
            let grown = byte_change(found.rss_before_bytes, found.rss_most_bytes);
            found.faults.add("broker grew", grown);
        }
        self.fault("broker", broker.stop(), &mut found)?;
        progress!("  {}", outcome::line(&found));
        Ok(found)
    }

    /// Records an error as a fault, unless a signal asked for the end.
    fn fault(
        &self,
        kind: &'static str,
        done: anyhow::Result<()>,
        found: &mut RowOutcome,
    ) -> anyhow::Result<()> {
        self.interrupt.check()?;
        if let Err(error) = done {
            found.faults.add(kind, format_args!("{error:#}"));
        }
        Ok(())
    }

    /// Attacks on a separate thread, which has lower priority than the honest clients on this one.
    fn attack(&self, broker: &Broker, honest: &mut Honest, found: &mut RowOutcome) -> anyhow::Result<()> {
        let before = broker.scrape()?;
        let sample = broker.sample()?;
        (found.rss_before_bytes, found.rss_most_bytes) = (sample.rss_bytes, sample.rss_bytes);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                rustix::process::nice(NICE).context("cannot give way")?;
                self.attack_here(broker, &before, found)
            });
            while !attacking.is_finished() {
                honest.read(SAMPLE_EVERY, Phase::Disturbed)?;
            }
            attacking.join().expect("attackers do not panic")
        })?;
        let used = broker.sample()?.since(&sample);
        found.broker_cpu = used.cpu.as_secs_f64() / used.time.as_secs_f64().max(f64::MIN_POSITIVE);
        if let Some((told, is_right)) = self.by_the_broker(broker, &before)? {
            let took = began.elapsed().saturating_sub(self.row.every).as_secs();
            let told = format!("{told} after {took} s");
            if !is_right {
                found.faults.add("answers", &told);
            }
            found.by_the_broker = Some(told);
        }
        Ok(())
    }

    /// Attacks, and watches the broker meanwhile.
    fn attack_here(&self, broker: &Broker, before: &Metrics, found: &mut RowOutcome) -> anyhow::Result<()> {
        let (row, count) = (self.row, self.args.attackers as usize);
        let attackers = Attackers::new(row, broker.endpoint.address, count);
        let time = match row.is_once() {
            // All attackers have connected after the first of these times.
            true => row.every + row.within,
            false => Duration::from_secs(self.args.seconds).max(row.every),
        };
        let (began, mut sampled) = (Instant::now(), Instant::now());
        let most = &mut found.rss_most_bytes;
        let (tallies, attempts) = attackers.attack(time, self.interrupt, || {
            if sampled.elapsed() < SAMPLE_EVERY {
                return Ok(false);
            }
            sampled = Instant::now();
            *most = broker.memory()?.rss_bytes.max(*most);
            if !row.is_once() || began.elapsed() <= row.every {
                return Ok(false);
            }
            Ok(self
                .by_the_broker(broker, before)?
                .is_some_and(|(_, is_done)| is_done))
        })?;
        found.attempts = attempts;
        for (variant, tally) in row.variants.iter().zip(tallies) {
            let expected = variant.expected.clone();
            let missing = expected.iter().any(|answer| !tally.answers.contains_key(answer));
            if row.judge == Judge::Answers && (tally.wrong > 0 || missing) {
                let text = format_args!("{}: {:?} instead of {expected:?}", variant.what, tally.answers);
                found.faults.add("answers", text);
            }
            found.variants.push(VariantOutcome {
                what: variant.what.clone(),
                expected,
                tally,
            });
        }
        Ok(())
    }

    /// What the broker has done to all attackers, and whether it is what it must, if only the broker can tell.
    fn by_the_broker(&self, broker: &Broker, before: &Metrics) -> anyhow::Result<Option<(String, bool)>> {
        let (now, args) = (broker.scrape()?, self.args);
        Ok(match self.row.judge {
            Judge::Answers => None,
            Judge::Closes(code) => {
                let closed = now.grown(before, "tickwire_closes_total", &format!("code=\"{code}\""));
                Some((format!("{code} × {closed}"), closed == f64::from(args.attackers)))
            }
            Judge::Gone => {
                let left = now.sum("tickwire_connections", "") - f64::from(args.subscribers);
                Some((format!("all but {left} gone"), left <= 0.0))
            }
        })
    }

    fn judge_honest(&self, honest: Readers<Waiting>, found: &mut RowOutcome) {
        found.quiet_us = Latency::of(&honest.watch.lateness.calm_us);
        found.attacked_us = Latency::of(&honest.watch.lateness.disturbed_us);
        found.honest_messages = honest.counts.updates;
        found.honest_missed = honest.counts.missing + honest.counts.gapped;
        found.faults.merge(honest.faults);
        for (when, latency) in [("before", found.quiet_us), ("during", found.attacked_us)] {
            if latency.count == 0 {
                let text = format_args!("no message {when} the attack");
                found.faults.add("honest", text);
            }
        }
    }
}
