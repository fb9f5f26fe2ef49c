//! The metric catalogue of the Tickwire broker and its Prometheus exporter.
//!
//! Every metric is a row of [`TABLE`]; nothing else is exported but the process's own figures. Labels range over closed
//! sets that are known when the [`Catalogue`] is made, and every series exists from then on, so the number of series
//! depends neither on topics nor on clients, and a series that is 0 is there to be seen.
//!
//! Counting is split in two so that the hot path never touches shared memory: a thread counts into a plain struct of
//! its own ([`ShardMetrics`], [`FeedMetrics`]) and moves what it counted into the shared cells with `flush`, between
//! two cycles. [`HttpMetrics`] counts directly, for paths where one atomic addition is nothing. A figure is as old as
//! the last flush.
//!
//! Nothing here grows, waits or locks while counting; numbers wrap at 2⁶⁴.
//!
//! ```
//! use tickwire_metrics::{Catalogue, DeliveryOp, LabelSets};
//!
//! let catalogue = Catalogue::new(2, "0.1.0", &LabelSets::EXAMPLE)?;
//! let mut shards = catalogue.shard_metrics();
//! shards[0].delivered(DeliveryOp::Update, 1_000);
//! shards[0].flush();
//! assert!(catalogue.render()?.contains("tickwire_deliveries_total{op=\"update\"} 1000\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod counts;
mod family;
mod feed;
mod histogram;
mod http;
mod labels;
mod metric;
mod page;
mod process;
mod process_table;
mod shard;
mod table;
mod tls;

pub use catalogue::{CONTENT_TYPE, Catalogue, CatalogueError, RenderError};
pub use counts::Counts;
pub use feed::FeedMetrics;
pub use histogram::{BUCKETS_MICROS, LocalHistogram};
pub use http::HttpMetrics;
pub use labels::{
    AuthFailure, DeliveryOp, EncodeOp, Label, LabelSets, Reload, StatusClass, Transport, TurnedAway,
};
pub use metric::{Metric, MetricType, Unit};
pub use page::markdown;
pub use process_table::PROCESS_TABLE;
pub use shard::{Settled, ShardMetrics};
pub use table::TABLE;
pub use tls::TlsMetrics;
