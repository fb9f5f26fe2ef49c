//! Kills the broker now and then, in the middle of everything, and starts it again with its journal.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use super::Shared;
use crate::swarm::{Broker, Interrupt, Outcome, progress};

/// The time between two kills, in milliseconds: the shortest, and what is added to it at most.
const BETWEEN_MS: (u64, u64) = (100, 1_500);
/// The time between two looks at whether it is time.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How often the broker is killed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct KillArgs {
    /// Kill the broker with SIGKILL so many times, at random moments, and start it again with its journal. The run must be long
    /// enough for that: a kill and a start take about a second
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) kills: u32,
    /// When the journal's files are synced, with --kills
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Sync::Never)]
    sync: Sync,
    /// Messages per second that are published beside those that the clients follow, to 1,000 other topics, with --kills
    #[arg(long, value_name = "N", default_value_t = 0, requires = "kills", value_parser = clap::value_parser!(u32).range(0..=2_000_000))]
    pub(super) flood: u32,
}

/// The values of `--sync`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sync {
    Never,
    Interval,
    Each,
}

impl KillArgs {
    /// Gives the broker a journal, if it is to be killed. The folder goes with what is returned.
    pub(super) fn journal(&self, command: &mut Command) -> anyhow::Result<Option<TempDir>> {
        if self.kills == 0 {
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("cannot make a folder for the journal")?;
        let sync = match self.sync {
            Sync::Never => "never",
            Sync::Interval => "interval",
            Sync::Each => "each",
        };
        command
            .arg("--journal")
            .arg(folder.path())
            .env("TICKWIRE_JOURNAL__SYNC", sync)
            // Kills come in the middle of checkpoints and at the ends of files, too.
            .env("TICKWIRE_JOURNAL__CHECKPOINT_S", "1")
            .env("TICKWIRE_JOURNAL__SEGMENT_BYTES", "4194304")
            // The publishers have at most a few hundred messages, and a twentieth of a second's, without an ack.
            .env("TICKWIRE_PUBLISH__DEDUPE_KEYS", (20_000 + self.flood).to_string())
            .env("TICKWIRE_JOURNAL__BYTES_MAX", "268435456");
        Ok(Some(folder))
    }

    /// Says how often the broker was killed, and finds fault if that was too seldom.
    pub(super) fn tell(&self, killed: u32, outcome: &mut Outcome) {
        outcome.count("kills", "times the broker was killed", u64::from(killed));
        if killed < self.kills {
            let wanted = self.kills;
            let text = format_args!("the run ended after {killed} of {wanted} kills: ask for more messages");
            outcome.faults.add("too short", text);
        }
    }
}

/// Kills the broker.
pub(super) struct Killer<'a> {
    pub(super) args: KillArgs,
    pub(super) seed: u64,
    pub(super) shared: &'a Shared,
    pub(super) interrupt: &'a Interrupt,
}

impl Killer<'_> {
    /// Kills the broker and starts it again by `command`, as often as asked for, until the clients have ended. Returns the
    /// broker, and how often it was killed.
    pub(super) fn run(&self, mut broker: Broker, command: &mut Command) -> anyhow::Result<(Broker, u32)> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut killed = 0;
        while killed < self.args.kills {
            let (least, more) = BETWEEN_MS;
            let at = Instant::now() + Duration::from_millis(least + random.next_u64() % more);
            if !self.wait_until(at) {
                break;
            }
            killed += 1;
            let restarted = broker.kill_and_restart(command, self.interrupt);
            if restarted.is_err() {
                self.shared.given_up.store(true, Ordering::Relaxed);
            }
            restarted.with_context(|| format!("after kill {killed}"))?;
            if killed.is_multiple_of(10) {
                progress!("the broker was killed {killed} times");
            }
        }
        Ok((broker, killed))
    }

    /// Waits until it is time, and every topic has a message. Returns false if everything is published, or the clients have
    /// ended, before.
    fn wait_until(&self, at: Instant) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        while Instant::now() < at || !is_set(&self.shared.begun) {
            if is_set(&self.shared.ended) || is_set(&self.shared.published_all) {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }
}
