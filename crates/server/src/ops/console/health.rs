//! The record of the broker's health over the last minutes, for the console.
//!
//! A row is taken from the metrics every [`HEALTH_EVERY_MS`], and the oldest of [`HEALTH_ROWS_MAX`] rows is dropped. The
//! shards are not asked: they have flushed their counters between two cycles. So a row may hold part of a flush.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde::Serialize;
use tickwire_metrics::{BUCKETS_MICROS, Catalogue, Metric, resident_bytes};
use tickwire_router::Directory;
use tickwire_wire::limits::{HEALTH_EVERY_MS, HEALTH_ROWS_MAX};
use tokio::time::MissedTickBehavior;

use crate::http::{ErrorResponse, UnreadQuery};
use crate::ops::debug_pages;
use crate::run::clock::Clock;

/// The columns that are metrics. Counters are sums since the start.
const METRICS: &[(&str, Metric)] = &[
    ("publications", Metric::Publications),
    ("deliveries", Metric::Deliveries),
    ("connections", Metric::Connections),
    ("subscriptions", Metric::Subscriptions),
    ("lagging", Metric::LaggingSessions),
    ("lags", Metric::Lags),
    ("outbox_bytes", Metric::OutboxBytes),
    ("queue", Metric::ShardQueue),
    ("queue_overflows", Metric::ShardOverflows),
    ("written_bytes", Metric::SocketWrittenBytes),
    ("refusals", Metric::Refusals),
    ("turned_away", Metric::TurnedAway),
    ("sessions_failed", Metric::SessionsFailed),
    ("owed", Metric::LedgerOwed),
    ("delivered", Metric::LedgerDelivered),
    ("conflated", Metric::LedgerConflated),
    ("gapped", Metric::LedgerGapped),
    ("dropped", Metric::LedgerDropped),
    ("pending", Metric::LedgerPending),
];
/// The columns of the directory and of the process.
const SIZES: [&str; 4] = ["topics", "history_bytes", "value_bytes", "resident_bytes"];

/// The record.
#[derive(Debug)]
pub(crate) struct HealthLog {
    catalogue: Arc<Catalogue>,
    directory: Arc<Directory>,
    clock: Clock,
    rows: Mutex<VecDeque<Box<[i64]>>>,
}

#[derive(Serialize)]
struct HealthPage<'a> {
    every_ms: u64,
    /// The names of the columns. The first is the time in microseconds since 1970. The last ones count the deliveries
    /// by their latency: each up to as many microseconds as its name says, and the last one all that took longer.
    columns: Vec<String>,
    rows: Vec<&'a [i64]>,
}

impl HealthLog {
    /// An empty record.
    pub(crate) fn new(catalogue: Arc<Catalogue>, directory: Arc<Directory>, clock: Clock) -> Self {
        Self {
            catalogue,
            directory,
            clock,
            rows: Mutex::default(),
        }
    }

    /// Takes rows until the future is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(HEALTH_EVERY_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.take();
        }
    }

    /// `GET /console/health`: the rows after the time `after` in the query, or all.
    ///
    /// # Errors
    /// 400 if the query is wrong.
    pub(in crate::ops) fn page(
        &self,
        query: UnreadQuery<'_>,
    ) -> Result<Response<Full<Bytes>>, ErrorResponse> {
        let query = query.read()?;
        let after = query.one_as("after", "a time in microseconds since 1970")?;
        let after: u64 = after.unwrap_or_default();
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(debug_pages::json(&HealthPage {
            every_ms: HEALTH_EVERY_MS,
            columns: columns(),
            rows: rows
                .iter()
                .filter(|row| row[0].cast_unsigned() > after)
                .map(|row| &**row)
                .collect(),
        }))
    }

    fn take(&self) {
        let row = self.row();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() == HEALTH_ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    fn row(&self) -> Box<[i64]> {
        let sizes = [
            self.directory.topic_count() as u64,
            self.directory.history_bytes() as u64,
            self.directory.value_bytes() as u64,
            resident_bytes().unwrap_or_default(),
        ];
        let metrics = METRICS.iter().map(|(_, metric)| self.catalogue.total(*metric));
        let latencies = self.catalogue.buckets(Metric::DeliveryLatency);
        let values = [self.clock.now().0]
            .into_iter()
            .chain(metrics)
            .chain(sizes)
            .chain(latencies);
        values.map(u64::cast_signed).collect()
    }
}

fn columns() -> Vec<String> {
    let named = ["at"]
        .into_iter()
        .chain(METRICS.iter().map(|(name, _)| *name))
        .chain(SIZES);
    let bounds = BUCKETS_MICROS.iter().map(|bound| format!("latency_{bound}"));
    let bounds = bounds.chain(["latency_more".to_owned()]);
    named.map(str::to_owned).chain(bounds).collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tickwire_metrics::DeliveryOp;
    use tickwire_router::{DirectoryLimits, Kinds};

    use super::*;
    use crate::ops::labels::LABELS;

    fn record() -> HealthLog {
        let catalogue = Catalogue::new(2, "test", &LABELS).expect("a catalogue");
        let limits = DirectoryLimits::default();
        let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
        HealthLog::new(catalogue, Arc::new(directory), Clock::start())
    }

    fn query(text: Option<&str>) -> UnreadQuery<'_> {
        let names = &["after"];
        UnreadQuery { text, names }
    }

    async fn page(record: &HealthLog, text: Option<&str>) -> serde_json::Value {
        let body = record.page(query(text)).expect("a page").into_body();
        let body = body.collect().await.expect("memory").to_bytes();
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn rows_have_a_number_for_each_column() {
        let record = record();
        record
            .catalogue
            .add(Metric::Deliveries, &[DeliveryOp::Update as usize], 5);
        record
            .catalogue
            .add(Metric::Deliveries, &[DeliveryOp::Gap as usize], 2);
        record.catalogue.add(Metric::LedgerOwed, &[0], 3);
        record.catalogue.add(Metric::LedgerOwed, &[1], 4);
        let mut shard = record.catalogue.local();
        shard.observe(Metric::DeliveryLatency, 15);
        shard.observe(Metric::DeliveryLatency, 99_000_000);
        shard.flush();
        record.take();
        let page = page(&record, None).await;
        let of = |name: &str| {
            let columns = page["columns"].as_array().expect("columns");
            let at = columns.iter().position(|column| column == name).expect(name);
            assert_eq!(columns.len(), page["rows"][0].as_array().expect("a row").len());
            page["rows"][0][at].as_i64().expect(name)
        };
        assert_eq!((of("deliveries"), of("owed"), of("connections")), (7, 7, 0));
        assert_eq!(
            (of("latency_10"), of("latency_20"), of("latency_more")),
            (0, 1, 1)
        );
        assert!(of("resident_bytes") > 0 && of("at") > 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_record_never_grows_beyond_its_rows() {
        let record = record();
        (0..HEALTH_ROWS_MAX + 10).for_each(|_| record.take());
        let all = page(&record, None).await;
        let rows = all["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), HEALTH_ROWS_MAX);
        let at = rows[HEALTH_ROWS_MAX - 3][0].as_i64().expect("a time");
        let later = rows.iter().filter(|row| row[0].as_i64() > Some(at)).count();
        let rest = page(&record, Some(&format!("after={at}"))).await;
        assert_eq!(rest["rows"].as_array().expect("rows").len(), later);
        assert!(record.page(query(Some("after=x"))).is_err());
    }
}
