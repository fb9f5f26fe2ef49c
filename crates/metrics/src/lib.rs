//! The metric catalogue of the Tickwire broker and its Prometheus exporter.
//!
//! Every metric is declared once, in [`TABLE`] and [`Metric`]. Apart from the process's own figures nothing else is
//! exported. The values of labels come from closed sets that are known when the [`Catalogue`] is created, and every
//! series exists from then on. So the number of series depends neither on topics nor on clients, and a series at 0 is
//! visible.
//!
//! Counting has two parts, so that the hot path never touches shared memory: a thread counts into its own
//! [`LocalMetrics`] and, between two cycles, moves its counts into the shared cells with `flush`. The catalogue's own
//! methods count directly, for paths where the cost of an atomic addition does not matter. A figure is as old as the
//! last flush.
//!
//! Nothing here grows, waits or locks while counting; numbers wrap at 2⁶⁴.
//!
//! ```
//! use tickwire_metrics::{Catalogue, DeliveryOp, LabelSets, Metric};
//!
//! let catalogue = Catalogue::new(2, "0.1.0", &LabelSets::EXAMPLE)?;
//! let mut shard = catalogue.local();
//! shard.add(Metric::Deliveries, &[DeliveryOp::Update as usize], 1_000);
//! shard.flush();
//! assert!(catalogue.render()?.contains("tickwire_deliveries_total{op=\"update\"} 1000\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod definition;
mod family;
mod histogram;
mod labels;
mod local;
mod page;
mod process;
mod table;

pub use catalogue::{CONTENT_TYPE, Catalogue, CatalogueError, RenderError};
pub use definition::{Definition, MetricType, Unit};
pub use histogram::{BUCKETS, BUCKETS_MICROS};
pub use labels::{
    AuthFailure, DeliveryOp, EncodeOp, FAMILIES, Label, LabelSets, Reload, StatusClass, TransportLabel,
    TurnedAwayLabel,
};
pub use local::LocalMetrics;
pub use page::markdown;
pub use process::{PROCESS_TABLE, resident_bytes};
pub use table::{Metric, TABLE};
