//! Counts the instructions of one run of every case, with valgrind through gungraun:
//! `cargo bench --package tickwire-benches --bench instructions`.
//!
//! A case is warmed first, so that the counted run is like any later one.

#![allow(missing_docs, reason = "made by the macros of gungraun")]

use gungraun::prelude::*;
use tickwire_benches::{Work, every_case, find};

fn warmed(path: &str, id: &str) -> Box<dyn Work> {
    find(path, id).warmed()
}

macro_rules! benchmarks {
    ($($path:ident { $($id:ident: $set_up:expr,)* })*) => {
        $(
            #[library_benchmark]
            $(#[bench::$id(warmed(stringify!($path), stringify!($id)))])*
            fn $path(mut work: Box<dyn Work>) -> Box<dyn Work> {
                work.run();
                work
            }
        )*

        library_benchmark_group!(name = hot_paths, benchmarks = [$($path),*]);
    };
}
every_case!(benchmarks);

main!(library_benchmark_groups = hot_paths);
