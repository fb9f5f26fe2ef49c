//! The simulator on a few thousand seeds. `cargo xtask sim` runs any number.

use tickwire_sim::{Op, Plan, Rule, Tally, run, shrink};

/// How many seeds the tests run: about ten seconds, unoptimised.
const SEEDS: u64 = 3_000;

#[test]
fn every_promise_is_kept() {
    let threads = 4;
    let part = |first: u64| {
        let mut tally = Tally::default();
        let mut failures = Vec::new();
        for seed in (first..SEEDS).step_by(threads) {
            let outcome = run(&Plan::from_seed(seed), false);
            tally.add(&outcome.tally);
            failures.extend(outcome.broken.map(|broken| format!("seed {seed}: {broken}")));
        }
        (tally, failures)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads as u64)
            .map(|first| scope.spawn(move || part(first)))
            .collect();
        running
            .into_iter()
            .map(|part| part.join().expect("it does not panic"))
            .collect()
    });
    let mut sum = Tally::default();
    for (tally, failures) in &parts {
        sum.add(tally);
        assert_eq!(failures, &[""; 0], "replay with: cargo xtask sim --replay SEED");
    }
    // What the promises are about must happen often enough.
    for (name, count) in sum.named() {
        assert!(count > 20, "{name}: {count}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in (0..2_000).step_by(40) {
        let plan = Plan::from_seed(seed);
        assert_eq!(plan, Plan::from_seed(seed));
        let (first, second) = (run(&plan, false), run(&plan, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let hashes: std::collections::BTreeSet<u64> = (0..50)
        .map(|seed| run(&Plan::from_seed(seed), false).hash)
        .collect();
    assert_eq!(hashes.len(), 50);
}

/// Whatever is left out, the remaining operations still run and break no promise.
#[test]
fn operations_can_be_left_out() {
    for seed in 0..40 {
        let mut plan = Plan::from_seed(seed);
        let mut number = seed;
        plan.ops.retain(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            number >> 62 != 0
        });
        plan.ops.push(Op::Settle);
        assert_eq!(run(&plan, false).broken, None, "seed {seed}");
    }
}

/// A plan that breaks no promise cannot be made shorter.
#[test]
fn what_does_not_fail_is_not_shortened() {
    let mut plan = Plan::from_seed(3);
    plan.ops.truncate(20);
    assert_eq!(shrink(&plan, Rule::Order), plan);
}
