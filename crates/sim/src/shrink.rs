//! Makes a failing plan shorter: leaves out what it does not need to fail in the same way.
//!
//! The method is delta debugging (Zeller, Hildebrandt 2002) on the list of operations; then numbers are made smaller.
//! The number of runs is bounded.

use crate::broken::Rule;
use crate::op::Op;
use crate::plan::Plan;
use crate::run::run;

/// Most runs that shrinking may take.
const RUNS_MAX: usize = 4_000;

/// A shorter plan that breaks the same rule, as far as one is found.
#[must_use]
pub fn shrink(plan: &Plan, rule: Rule) -> Plan {
    let mut shrinker = Shrinker {
        best: plan.clone(),
        rule,
        runs: 0,
    };
    shrinker.leave_out();
    shrinker.calm_down();
    shrinker.leave_out();
    shrinker.best
}

struct Shrinker {
    best: Plan,
    rule: Rule,
    runs: usize,
}

impl Shrinker {
    /// Replaces the operations with `ops` if these fail in the same way.
    fn take(&mut self, ops: Vec<Op>) -> bool {
        if self.runs == RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let plan = Plan {
            setup: self.best.setup.clone(),
            ops,
        };
        let fails = run(&plan, false)
            .broken
            .is_some_and(|broken| broken.rule == self.rule);
        if fails {
            self.best = plan;
        }
        fails
    }

    fn leave_out(&mut self) {
        let mut size = self.best.ops.len().div_ceil(2);
        loop {
            let mut begin = 0;
            let mut left_out = false;
            while begin < self.best.ops.len() {
                let mut ops = self.best.ops.clone();
                ops.drain(begin..(begin + size).min(self.best.ops.len()));
                if self.take(ops) {
                    left_out = true;
                } else {
                    begin += size;
                }
            }
            if size == 1 && !left_out {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// Makes single operations simpler.
    fn calm_down(&mut self) {
        let mut index = 0;
        while index < self.best.ops.len() {
            for simpler in simpler(&self.best.ops[index]) {
                let mut ops = self.best.ops.clone();
                ops[index] = simpler;
                self.take(ops);
            }
            index += 1;
        }
    }
}

/// Simpler operations to try in place of `op`.
fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Publish {
            topic,
            times,
            level,
            size,
        } => {
            let with = |times, size| Op::Publish {
                topic: *topic,
                times,
                level: *level,
                size,
            };
            let mut simpler = Vec::new();
            if *size > 0 {
                simpler.push(with(*times, 0));
            }
            if *times > 1 {
                simpler.extend([with(times / 2, *size), with(1, *size), with(1, 0)]);
            }
            simpler
        }
        Op::Subscribe {
            client,
            topics,
            mode,
            conflate_ms,
            snapshot,
        } if topics.len() > 1 => topics
            .iter()
            .map(|topic| Op::Subscribe {
                client: *client,
                topics: vec![*topic],
                mode: *mode,
                conflate_ms: *conflate_ms,
                snapshot: *snapshot,
            })
            .collect(),
        Op::Unsubscribe { client, patterns } if patterns.len() > 1 => patterns
            .iter()
            .map(|pattern| Op::Unsubscribe {
                client: *client,
                patterns: vec![*pattern],
            })
            .collect(),
        Op::Wait { ms } if *ms > 1 => vec![Op::Wait { ms: ms / 10 }, Op::Wait { ms: ms / 2 }],
        Op::Cycle { shard, budget, read } if *budget < 65_536 || *read < 65_536 => vec![Op::Cycle {
            shard: *shard,
            budget: 65_536,
            read: 65_536,
        }],
        _ => Vec::new(),
    }
}
