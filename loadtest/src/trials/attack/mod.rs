//! Scenario: a thousand clients that mean harm beside a thousand that do not, for each row of `docs/ATTACKS.md`.
//!
//! Each row has a broker of its own, with its defaults, and a simulated market. What is measured: the answers that the
//! attackers get, the broker's memory, and whether the honest notice: what they miss, and how late they are compared with the
//! time before the attack. Fails on an answer that is not the row's, a number that an honest subscriber misses, more than
//! [`outcome::GROWTH_BYTES_MAX`] of growth, and a broker that serves nobody new afterwards. That the honest are later
//! than they may be is told, and does not fail the run: it is a figure of the machine too.
//!
//! The broker has a core for itself; attackers and honest share another, and the attackers give way.

mod attackers;
mod heard;
mod honest;
mod outcome;
mod row;
mod rows;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::swarm::broker::{Broker, BrokerArgs};
use crate::swarm::certificates::Certificates;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::latency::Latency;
use crate::swarm::report::{byte_change, micros, progress};
use crate::swarm::scrape::Metrics;
use crate::swarm::tls::TlsClient;
use crate::trials::soak::symbols;

use attackers::Attackers;
use honest::{Found, Honest, Phase};
pub(crate) use outcome::AttackOutcome;
use outcome::{GROWTH_BYTES_MAX, RowOutcome, VariantOutcome};
use row::{Judge, Row};

/// Time between two looks at the broker's memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Time for everything to settle before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time for a newcomer to be served.
const NEWCOMER_WITHIN: Duration = Duration::from_secs(10);
/// Files that the process has open besides its connections.
const OTHER_FILES: usize = 64;
/// How much less than others the attackers get of their core.
const NICE: i32 = 19;

/// Clients that mean harm beside clients that do not: each gets its answer, the others notice nothing
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AttackArgs {
    /// Only this row; may be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(rows::LAST)))]
    row: Vec<u8>,
    /// Attackers, each with an address of its own
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    attackers: u32,
    /// Honest subscribers
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// How long a row attacks, and how long it is quiet before; rows about times take what these take
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Symbols of the simulated market
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    symbols: u32,
    /// Its ticks per second
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Its seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also write a table to this file, in Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &AttackArgs, interrupt: &Interrupt) -> anyhow::Result<AttackOutcome> {
    let rows = chosen(args);
    for wanted in &args.row {
        let known = rows.iter().any(|row| row.number == *wanted);
        ensure!(known, "row {wanted} cannot be run: {}", rows::why_not(*wanted));
    }
    let connections = (args.attackers + args.subscribers) as usize;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        (connections + OTHER_FILES) as u64 <= limit,
        "{connections} connections need {} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer",
        connections + OTHER_FILES
    );
    let cores = Cores::find()?;
    let mut outcome = AttackOutcome {
        scenario: "attack",
        attackers: args.attackers as usize,
        subscribers: args.subscribers as usize,
        seconds: args.seconds,
        ..AttackOutcome::default()
    };
    for at in 0..rows.len() {
        // Made anew: tokens expire.
        let row = &chosen(args)[at];
        progress(format_args!("row {}: {}", row.number, row.name));
        let found = Run {
            args,
            row,
            interrupt,
            cores,
        }
        .run(&mut outcome.broker)?;
        progress(format_args!(
            "  {} attempts, memory {}, missed {}, p99 {} → {}, {} faults",
            found.attempts,
            byte_change(found.rss_before_bytes, found.rss_most_bytes),
            found.honest_missed,
            micros(found.quiet_us.p99),
            micros(found.attacked_us.p99),
            found.faults.count()
        ));
        if found.faults.count() > 0 {
            outcome.faults.add(
                "row failed",
                format_args!("{} {}: {}", row.number, row.name, found.faults),
            );
        }
        outcome.rows.push(found);
    }
    if let Some(path) = &args.markdown {
        std::fs::write(path, outcome.markdown())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(outcome)
}

/// The rows that are asked for.
fn chosen(args: &AttackArgs) -> Vec<Row> {
    let asked = |row: &Row| args.row.is_empty() || args.row.contains(&row.number);
    rows::all(args.seconds).into_iter().filter(asked).collect()
}

/// Which cores the broker and its clients run on; none if there is only one.
#[derive(Debug, Clone, Copy)]
struct Cores(Option<[usize; 2]>);

impl Cores {
    fn find() -> anyhow::Result<Self> {
        let mine = sched_getaffinity(None).context("cannot ask for this thread's cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| mine.is_set(*core));
        let two = cores.next().zip(cores.next()).map(|(one, other)| [one, other]);
        if two.is_none() {
            progress(format_args!("there is only one core: latencies say little"));
        }
        Ok(Self(two))
    }

    /// Moves this thread, and what it starts, to the broker's core (0) or the clients' (1).
    fn enter(self, side: usize) -> anyhow::Result<()> {
        let Some(cores) = self.0 else { return Ok(()) };
        let mut set = CpuSet::new();
        set.set(cores[side]);
        sched_setaffinity(None, &set).context("cannot choose a core")
    }
}

/// One row at work.
struct Run<'a> {
    args: &'a AttackArgs,
    row: &'a Row,
    interrupt: &'a Interrupt,
    cores: Cores,
}

impl Run<'_> {
    /// Starts the broker; what the row has it read is in `folder`. It speaks TLS if there are `certificates`.
    fn start_broker(&self, folder: &Path, certificates: Option<&Certificates>) -> anyhow::Result<Broker> {
        let mut flags = vec![
            ("--feed", "sim".to_owned()),
            ("--symbols", self.args.symbols.to_string()),
            ("--rate", self.args.rate.to_string()),
            ("--seed", self.args.seed.to_string()),
            ("--anonymous-publish", "storm.>".to_owned()),
        ];
        for (name, bytes) in &self.row.files {
            std::fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
        }
        if let Some(config) = &self.row.config {
            let path = folder.join("tickwire.toml");
            let shown = folder.display().to_string();
            std::fs::write(&path, config.replace("{folder}", &shown))
                .context("cannot write a configuration")?;
            flags.push(("--config", path.display().to_string()));
        }
        let mut settings: Vec<(&str, String)> = self
            .row
            .settings
            .iter()
            .map(|(name, value)| {
                let half = self.args.subscribers + self.args.attackers / 2 + 1;
                let value = value
                    .replace("{half}", &half.to_string())
                    .replace("{half-attackers}", &(self.args.attackers / 2).max(1).to_string());
                (*name, value)
            })
            .collect();
        settings.extend(certificates.into_iter().flat_map(Certificates::settings));
        // What a thread starts runs where it runs.
        self.cores.enter(0)?;
        let broker = Broker::open(&self.args.broker, &flags, &settings, self.interrupt);
        self.cores.enter(1)?;
        Ok(match certificates {
            Some(certificates) => broker?.with_tls(TlsClient(certificates.client()?)),
            None => broker?,
        })
    }

    fn run(&self, description: &mut String) -> anyhow::Result<RowOutcome> {
        let folder = tempfile::tempdir().context("no folder for the broker's files")?;
        let certificates = self.row.secured.then(Certificates::new).transpose()?;
        let broker = self.start_broker(folder.path(), certificates.as_ref())?;
        if description.is_empty() {
            broker.description().clone_into(description);
        }
        let mut found = RowOutcome {
            row: self.row.number,
            name: self.row.name,
            settings: self
                .row
                .settings
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            ..RowOutcome::default()
        };
        if self.row.secured && !broker.is_ours() {
            let text = "must be started here, with certificates that are trusted here: leave --url out";
            found.faults.add("broker", text);
            return Ok(found);
        }
        let expected = broker.is_ours().then_some(self.args.symbols as usize);
        let symbols = symbols::find(broker.endpoint(), expected, self.interrupt)?;
        let subscribers = self.args.subscribers as usize;
        let honest = Honest::arrive(broker.endpoint(), subscribers, symbols, self.interrupt)?;
        self.pause(WARM_UP)?;
        honest.measure(Phase::Quiet);
        self.pause(Duration::from_secs(self.args.seconds))?;
        honest.measure(Phase::Attacked);
        self.attack(&broker, &mut found)?;
        honest.measure(Phase::Unmeasured);
        if let Err(error) = honest.catch_up() {
            self.interrupt.check()?;
            found.faults.add("honest", format_args!("{error:#}"));
        }
        self.newcomer(&broker, &mut found);
        self.judge_honest(honest.leave()?, &mut found);
        if found.growth_bytes() >= GROWTH_BYTES_MAX {
            let grown = byte_change(found.rss_before_bytes, found.rss_most_bytes);
            found.faults.add("broker grew", grown);
        }
        if let Err(error) = broker.stop() {
            found.faults.add("broker", format_args!("{error:#}"));
        }
        Ok(found)
    }

    fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.interrupt.check()?;
            std::thread::sleep(SAMPLE_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Attacks on a thread of its own, which gives way to the honest.
    fn attack(&self, broker: &Broker, found: &mut RowOutcome) -> anyhow::Result<()> {
        let before = broker.scrape()?;
        let (memory, cpu) = (broker.memory()?, broker.cpu_time()?);
        (found.rss_before_bytes, found.rss_most_bytes) = (memory.rss_bytes, memory.rss_bytes);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                rustix::process::nice(NICE).context("cannot give way")?;
                self.attack_here(broker, &before, found)
            });
            attacking.join().expect("attackers do not panic")
        })?;
        let took = began.elapsed();
        let used = broker.cpu_time()?.since(&cpu).total();
        found.broker_cpu = used.as_secs_f64() / took.as_secs_f64().max(f64::MIN_POSITIVE);
        self.judge_broker(broker, &before, took, found)
    }

    /// Attacks, and watches the broker meanwhile.
    fn attack_here(&self, broker: &Broker, before: &Metrics, found: &mut RowOutcome) -> anyhow::Result<()> {
        let (row, count) = (self.row, self.args.attackers as usize);
        let mut attackers = Attackers::new(row, broker.endpoint().address, count)?;
        let time = match row.is_once() {
            // All of them are there after the first of these times.
            true => row.every + row.within,
            false => Duration::from_secs(self.args.seconds).max(row.every),
        };
        let (began, mut sampled) = (Instant::now(), Instant::now());
        let most = &mut found.rss_most_bytes;
        attackers.attack(time, self.interrupt, || {
            if sampled.elapsed() < SAMPLE_EVERY {
                return Ok(false);
            }
            sampled = Instant::now();
            *most = broker.memory()?.rss_bytes.max(*most);
            Ok(row.is_once() && began.elapsed() > row.every && self.has_answered(broker, before)?)
        })?;
        found.attempts = attackers.attempts;
        for (variant, tally) in row.variants.iter().zip(attackers.tallies) {
            let expected: Vec<String> = variant.expected.iter().map(ToString::to_string).collect();
            let missing = expected.iter().any(|answer| !tally.answers.contains_key(answer));
            if row.judge == Judge::Answers && (tally.wrong > 0 || missing) {
                let text = format_args!("{}: {:?} instead of {expected:?}", variant.what, tally.answers);
                found.faults.add("answers", text);
            }
            found.variants.push(VariantOutcome {
                what: variant.what.clone(),
                expected,
                longest_ms: tally.longest_ms,
                answers: tally.answers,
            });
        }
        Ok(())
    }

    /// Whether the broker has done to all attackers what it must, where only it can tell.
    fn has_answered(&self, broker: &Broker, before: &Metrics) -> anyhow::Result<bool> {
        let now = broker.scrape()?;
        Ok(match self.row.judge {
            Judge::Answers => false,
            Judge::Closes(code) => closes(&now, before, code) >= f64::from(self.args.attackers),
            Judge::Gone => now.sum("tickwire_connections", "") <= f64::from(self.args.subscribers),
        })
    }

    /// Judges what only the broker can tell, `took` after the attack began.
    fn judge_broker(
        &self,
        broker: &Broker,
        before: &Metrics,
        took: Duration,
        found: &mut RowOutcome,
    ) -> anyhow::Result<()> {
        let after = broker.scrape()?;
        let took = took.saturating_sub(self.row.every).as_secs_f64();
        let (told, wanted) = match self.row.judge {
            Judge::Answers => return Ok(()),
            Judge::Closes(code) => {
                let closed = closes(&after, before, code);
                (
                    format!("{code} × {closed}"),
                    closed == f64::from(self.args.attackers),
                )
            }
            Judge::Gone => {
                let left = after.sum("tickwire_connections", "") - f64::from(self.args.subscribers);
                (format!("all but {left} gone after {took:.0} s"), left <= 0.0)
            }
        };
        if !wanted {
            found.faults.add("answers", &told);
        }
        found.by_the_broker = Some(told);
        Ok(())
    }

    /// Checks that somebody new is served.
    fn newcomer(&self, broker: &Broker, found: &mut RowOutcome) {
        let asked = symbols::find(
            broker.endpoint(),
            Some(self.args.symbols as usize),
            self.interrupt,
        );
        if let Err(error) = asked {
            let text = format_args!("within {NEWCOMER_WITHIN:?}: {error:#}");
            found.faults.add("newcomer not served", text);
        }
    }

    fn judge_honest(&self, honest: Found, found: &mut RowOutcome) {
        found.quiet_us = Latency::of(&honest.quiet_us);
        found.attacked_us = Latency::of(&honest.attacked_us);
        (found.honest_messages, found.honest_missed) = (honest.messages, honest.missed);
        found.faults.merge(honest.faults);
        for (when, latency) in [("before", found.quiet_us), ("during", found.attacked_us)] {
            if latency.count == 0 {
                let text = format_args!("no message {when} the attack");
                found.faults.add("honest", text);
            }
        }
    }
}

/// Connections that the broker closed with `code` since `before`.
fn closes(now: &Metrics, before: &Metrics, code: u16) -> f64 {
    now.grown(before, "tickwire_closes_total", &format!("code=\"{code}\""))
}
