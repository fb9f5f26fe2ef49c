//! The page that documents every metric. It is made from the table, so that the two cannot differ.

use crate::definition::Definition;
use crate::process::PROCESS_TABLE;
use crate::table::TABLE;

/// The page that documents every metric, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         What `GET /metrics` on the ops listener exports. This page is made from the table in\n\
         [`crates/metrics/src/table.rs`](../crates/metrics/src/table.rs); after a change there,\n\
         `UPDATE_EXPECT=1 cargo test -p tickwire-metrics` writes it anew.\n\n\
         Labels range over fixed sets, never over topics, clients or paths, so the number of series is fixed when the\n\
         broker starts; only the values of `family` get their names while it runs. All other series exist from the start. Histograms have buckets from 10 µs to 10 s, or from\n\
         10 B to 10 MB, three to a decade. Counters of a shard become visible when it flushes them, between two cycles.\n\n\
         ## The broker\n\n",
    );
    write_table(&mut page, TABLE);
    page.push_str("\n## The process\n\nRead from `/proc` at each scrape; Linux only.\n\n");
    write_table(&mut page, PROCESS_TABLE);
    page
}

fn write_table(page: &mut String, table: &[Definition]) {
    page.push_str("| metric | type | labels | tells |\n|---|---|---|---|\n");
    for metric in table {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{}`: {}", label.name(), label.values()))
            .collect();
        let Definition { name, help, .. } = metric;
        let (kind, labels) = (metric.kind.as_str(), labels.join("; "));
        page.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
}
