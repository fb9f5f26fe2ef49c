//! Measures the wall time of every case with criterion: `cargo bench --package tickwire-benches --bench wall`.
//!
//! A case is set up only when it is measured. A case that has to be prepared before each run is timed run by run. That
//! adds two readings of the clock, about 50 ns, to each.

use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};
use tickwire_benches::{CASES, Scale, Work};

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .configure_from_args();
    for case in CASES {
        let mut group = criterion.benchmark_group(case.path);
        let mut work = None;
        group.bench_function(case.id, |bencher| {
            measure(
                bencher,
                work.get_or_insert_with(|| case.set_up(Scale::Full)).as_mut(),
            );
        });
        group.finish();
    }
    criterion.final_summary();
}

fn measure(bencher: &mut Bencher<'_>, work: &mut dyn Work) {
    if !work.prepares() {
        bencher.iter(|| work.run());
        return;
    }
    bencher.iter_custom(|runs| {
        let mut spent = Duration::ZERO;
        for _ in 0..runs {
            work.prepare();
            let begun = Instant::now();
            work.run();
            spent += begun.elapsed();
        }
        spent
    });
}
