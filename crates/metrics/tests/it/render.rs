//! What a scrape holds after what was counted.

use std::sync::Arc;

use tickwire_metrics::{
    BUCKETS_MICROS, Catalogue, CatalogueError, DeliveryOp, EncodeOp, LabelSets, PROCESS_TABLE, Settled,
    ShardMetrics, TABLE, Transport,
};

use crate::exposition::Scrape;

/// A catalogue of which every series has something to tell.
fn catalogue(shards: usize) -> Arc<Catalogue> {
    let catalogue = Catalogue::new(shards, "1.2.3", &LabelSets::EXAMPLE).unwrap();
    catalogue.tls_metrics().set_not_after(Some(0));
    catalogue
}

fn scrape(catalogue: &Catalogue) -> Scrape {
    Scrape::read(&catalogue.render().unwrap())
}

/// Counts everything that a shard can count, `n` of each.
fn load(shard: &mut ShardMetrics, n: u64) {
    for index in 0..40 {
        shard.publications.add(index, n);
        shard.requests.add(index, n);
        shard.refusals.add(index, n);
        shard.closes.add(index, n);
        shard.encoded(index, EncodeOp::Snapshot, n);
    }
    for op in [DeliveryOp::Update, DeliveryOp::Snapshot, DeliveryOp::Gap] {
        shard.delivered(op, n);
    }
    shard.connection_opened(Transport::WebSocket);
    shard.delivery_latency.observe_n(n, n);
    shard.cycle_duration.observe(n * 1_000);
    shard.socket_written_bytes += n;
    shard.queue_overflows += n;
    shard.lags += n;
    shard.owed += 10 * n;
    shard.settled = Settled {
        delivered: n,
        conflated: 2 * n,
        gapped: 3 * n,
        dropped: n,
    };
    shard.pending = 3 * n;
    shard.lagging_bytes.observe(n * 100);
    shard.lag.observe(n);
    shard.sessions = n;
}

#[test]
fn every_metric_is_there_before_anything_happened() {
    let scrape = scrape(&catalogue(2));
    let process = PROCESS_TABLE.iter().filter(|_| cfg!(target_os = "linux"));
    for metric in TABLE.iter().chain(process) {
        assert_eq!(
            scrape.types.get(metric.name).map(String::as_str),
            Some(metric.kind.as_str()),
            "{}",
            metric.name
        );
        assert_eq!(
            scrape.helps.get(metric.name).map(String::as_str),
            Some(metric.help)
        );
        assert!(
            scrape
                .samples
                .keys()
                .any(|series| scrape.metric_of(series) == metric.name),
            "{}",
            metric.name
        );
    }
    assert_eq!(scrape.types.len(), TABLE.len() + PROCESS_TABLE.len());
    for series in scrape.own_series() {
        let expected = if series == r#"tickwire_build_info{version="1.2.3"}"# {
            1.0
        } else {
            0.0
        };
        assert_eq!(scrape.value(series), expected, "{series}");
    }
}

/// It was 0 without TLS, and an alert on a certificate that ends soon always fired.
#[test]
fn a_gauge_with_nothing_to_tell_is_not_exported() {
    const NOT_AFTER: &str = "tickwire_tls_certificate_not_after_seconds";
    let catalogue = Catalogue::new(1, "1.2.3", &LabelSets::EXAMPLE).unwrap();
    let is_there = || {
        let scrape = scrape(&catalogue);
        let told = scrape.samples.get(NOT_AFTER).copied();
        assert_eq!(scrape.types.contains_key(NOT_AFTER), told.is_some());
        told
    };
    assert_eq!(is_there(), None);
    let tls = catalogue.tls_metrics();
    tls.set_not_after(Some(67));
    assert_eq!(is_there(), Some(67.0));
    tls.set_not_after(None);
    assert_eq!(is_there(), None);
}

/// Those of gaps never did: a gap is encoded for one subscriber, and is not counted among what is encoded for all.
#[test]
fn every_series_of_what_is_encoded_moves() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.shard_metrics().remove(0);
    for codec in 0..LabelSets::EXAMPLE.codecs.len() {
        shard.encoded(codec, EncodeOp::Update, 1);
        shard.encoded(codec, EncodeOp::Snapshot, 1);
    }
    shard.flush();
    let scrape = scrape(&catalogue);
    let of_encodes = |series: &&str| scrape.metric_of(series) == "tickwire_encodes_total";
    let moved: Vec<f64> = scrape
        .own_series()
        .into_iter()
        .filter(of_encodes)
        .map(|series| scrape.value(series))
        .collect();
    assert_eq!(moved, vec![1.0; 2 * LabelSets::EXAMPLE.codecs.len()]);
}

#[test]
fn flush_moves_exact_sums_once() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.shard_metrics().remove(0);
    shard.publications.add(2, 7);
    shard.published_bytes += 1_000;
    shard.delivered(DeliveryOp::Gap, 3);
    shard.encoded(1, EncodeOp::Update, 4);
    shard.requests.add(99, 5);
    shard.socket_writes += u64::from(u32::MAX);
    let series = r#"tickwire_publications_total{kind="event"}"#;
    assert_eq!(scrape(&catalogue).value(series), 0.0, "visible before the flush");
    for _ in 0..3 {
        shard.flush();
        let scrape = scrape(&catalogue);
        assert_eq!(scrape.value(series), 7.0);
        assert_eq!(scrape.value(r#"tickwire_publications_total{kind="state"}"#), 0.0);
        assert_eq!(scrape.value("tickwire_published_bytes_total"), 1_000.0);
        assert_eq!(scrape.value(r#"tickwire_deliveries_total{op="gap"}"#), 3.0);
        assert_eq!(
            scrape.value(r#"tickwire_encodes_total{codec="msgpack",op="update"}"#),
            4.0
        );
        assert_eq!(scrape.value(r#"tickwire_requests_total{op="other"}"#), 5.0);
        assert_eq!(scrape.value("tickwire_socket_writes_total"), f64::from(u32::MAX));
    }
}

#[test]
fn histogram_buckets_are_cumulative_and_inclusive() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.shard_metrics().remove(0);
    let mut sum_micros = 0;
    for bound in BUCKETS_MICROS {
        shard.delivery_latency.observe(bound);
        shard.delivery_latency.observe_n(bound + 1, 2);
        sum_micros += 3 * bound + 2;
    }
    shard.flush();
    let scrape = scrape(&catalogue);
    for (at, bound) in BUCKETS_MICROS.into_iter().enumerate() {
        let le = bound as f64 / 1e6;
        let below = scrape.value(&format!(
            "tickwire_delivery_latency_seconds_bucket{{le=\"{le}\"}}"
        ));
        assert_eq!(below, (3 * at + 1) as f64, "at most {le} s");
    }
    let all = (3 * BUCKETS_MICROS.len()) as f64;
    assert_eq!(
        scrape.value(r#"tickwire_delivery_latency_seconds_bucket{le="+Inf"}"#),
        all
    );
    assert_eq!(scrape.value("tickwire_delivery_latency_seconds_count"), all);
    assert_eq!(
        scrape.value("tickwire_delivery_latency_seconds_sum"),
        sum_micros as f64 / 1e6
    );
    assert_eq!(scrape.value("tickwire_shard_cycle_duration_seconds_count"), 0.0);
}

#[test]
fn shards_add_up_across_threads() {
    let catalogue = catalogue(2);
    let threads: Vec<_> = catalogue
        .shard_metrics()
        .into_iter()
        .map(|mut shard| {
            std::thread::spawn(move || {
                for _ in 0..1_000 {
                    shard.delivered(DeliveryOp::Update, 3);
                    shard.delivery_latency.observe_n(1_000_000, 2);
                    shard.queue_overflows += 1 + shard.shard() as u64;
                    shard.flush();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let scrape = scrape(&catalogue);
    assert_eq!(scrape.value(r#"tickwire_deliveries_total{op="update"}"#), 6_000.0);
    assert_eq!(scrape.value("tickwire_delivery_latency_seconds_sum"), 4_000.0);
    assert_eq!(
        scrape.value(r#"tickwire_shard_queue_overflows_total{shard="0"}"#),
        1_000.0
    );
    assert_eq!(
        scrape.value(r#"tickwire_shard_queue_overflows_total{shard="1"}"#),
        2_000.0
    );
}

#[test]
fn gauges_follow_and_leave_with_their_shard() {
    let catalogue = catalogue(2);
    let http = catalogue.http_metrics();
    let mut shards = catalogue.shard_metrics();
    shards[1].sessions = 5;
    shards[1].outbox_bytes = 4_096;
    shards[0].connection_opened(Transport::WebSocket);
    shards[1].connection_opened(Transport::WebSocket);
    shards[1].connection_opened(Transport::WebSocket);
    http.connection_opened(Transport::Sse);
    shards.iter_mut().for_each(ShardMetrics::flush);
    let open = r#"tickwire_connections{transport="websocket"}"#;
    let opened = r#"tickwire_connections_opened_total{transport="websocket"}"#;
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (3.0, 3.0));
    assert_eq!(now.value(r#"tickwire_connections{transport="sse"}"#), 1.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="0"}"#), 0.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 5.0);
    assert_eq!(now.value(r#"tickwire_outbox_bytes{shard="1"}"#), 4_096.0);

    shards[1].connection_closed(Transport::WebSocket);
    http.connection_closed(Transport::Sse);
    shards[1].sessions = 4;
    shards[1].flush();
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (2.0, 3.0));
    assert_eq!(now.value(r#"tickwire_connections{transport="sse"}"#), 0.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 4.0);

    shards[0].delivered(DeliveryOp::Update, 9);
    drop(shards);
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (0.0, 3.0));
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 0.0);
    assert_eq!(
        now.value(r#"tickwire_deliveries_total{op="update"}"#),
        9.0,
        "the last counts are kept"
    );
}

#[test]
fn a_connection_handed_to_another_counter_is_open_once() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.shard_metrics().remove(0);
    catalogue.http_metrics().connection_opened(Transport::WebSocket);
    shard.connection_closed(Transport::WebSocket);
    shard.flush();
    assert_eq!(
        scrape(&catalogue).value(r#"tickwire_connections{transport="websocket"}"#),
        0.0
    );
}

#[test]
fn http_and_feed_count() {
    let catalogue = catalogue(1);
    let http = catalogue.http_metrics();
    http.answered(1, 304);
    http.answered(1, 200);
    http.answered(77, 503);
    http.handshake_refused(1);
    http.refused(2);
    http.sse_dropped();
    http.published(0, 21);
    catalogue.set_topics(12);
    catalogue.set_history_bytes(345);
    catalogue.set_value_bytes(346);
    catalogue.set_replay_bytes(347);
    catalogue.set_clock_offset(-1_500_000);
    catalogue.set_stale_topics(3, 8);
    let mut feed = catalogue.feed_metrics();
    feed.ticks += 10;
    feed.malformed_lines += 1;
    feed.anomalies.add(1, 3);
    catalogue.set_crossed_books(2);
    feed.refused_ticks += 2;
    feed.publications.add(0, 10);
    feed.lateness.observe(15);
    drop(feed);
    let scrape = scrape(&catalogue);
    for (series, expected) in [
        (
            r#"tickwire_http_requests_total{route="/v1/topics/{topic}",status="3xx"}"#,
            1.0,
        ),
        (
            r#"tickwire_http_requests_total{route="/v1/topics/{topic}",status="2xx"}"#,
            1.0,
        ),
        (r#"tickwire_http_requests_total{route="other",status="5xx"}"#, 1.0),
        (r#"tickwire_handshakes_refused_total{status="403"}"#, 1.0),
        (r#"tickwire_refusals_total{code="internal"}"#, 1.0),
        ("tickwire_sse_streams_dropped_total", 1.0),
        (r#"tickwire_publications_total{kind="state"}"#, 11.0),
        ("tickwire_published_bytes_total", 21.0),
        ("tickwire_topics", 12.0),
        ("tickwire_history_bytes", 345.0),
        ("tickwire_value_bytes", 346.0),
        ("tickwire_replay_bytes", 347.0),
        ("tickwire_clock_offset_seconds", -1.5),
        ("tickwire_feed_refused_ticks_total", 2.0),
        ("tickwire_feed_ticks_total", 10.0),
        ("tickwire_feed_malformed_lines_total", 1.0),
        (r#"tickwire_feed_anomalies_total{kind="depth_hole"}"#, 3.0),
        ("tickwire_crossed_books_total", 2.0),
        (r#"tickwire_feed_lateness_seconds_bucket{le="0.00002"}"#, 1.0),
        (r#"tickwire_feed_lateness_seconds_bucket{le="0.00001"}"#, 0.0),
    ] {
        assert_eq!(scrape.value(series), expected, "{series}");
    }
}

#[test]
fn the_number_of_series_never_changes() {
    let catalogue = catalogue(4);
    let before = scrape(&catalogue);
    let mut shards = catalogue.shard_metrics();
    let http = catalogue.http_metrics();
    for round in 1..50 {
        shards.iter_mut().for_each(|shard| load(shard, round));
        http.answered(round as usize, round as u16 * 20);
        http.handshake_refused(round as usize);
    }
    shards.iter_mut().for_each(ShardMetrics::flush);
    let after = scrape(&catalogue);
    assert_eq!(before.own_series(), after.own_series());
    assert!(
        after.samples.values().filter(|&&value| value > 0.0).count() > 50,
        "the load left no trace"
    );
    // A histogram is one series here and its buckets, sum and count there.
    let histograms = TABLE
        .iter()
        .filter(|metric| metric.kind.as_str() == "histogram")
        .count();
    assert_eq!(
        after.own_series().len(),
        catalogue.series() + histograms * (BUCKETS_MICROS.len() + 2)
    );
}

#[test]
fn the_process_figures_are_alive() {
    if cfg!(target_os = "linux") {
        let scrape = scrape(&catalogue(1));
        let cpu = scrape.value("process_cpu_seconds_total");
        assert!((0.0..1e6).contains(&cpu));
        assert!(scrape.value("process_resident_memory_bytes") > 100_000.0);
        assert!(scrape.value("process_open_fds") >= 3.0);
        assert!(scrape.value("process_threads") >= 1.0);
        assert!(scrape.value("process_start_time_seconds") > 1_500_000_000.0);
    }
}

#[test]
fn label_sets_that_cannot_be_used() {
    let sets = LabelSets::EXAMPLE;
    let error = |shards, sets: LabelSets| Catalogue::new(shards, "1", &sets).unwrap_err();
    assert!(matches!(
        error(0, sets),
        CatalogueError::NoLabelValue { label: "shard", .. }
    ));
    assert!(matches!(
        error(1, LabelSets { kinds: &[], ..sets }),
        CatalogueError::NoLabelValue { label: "kind", .. }
    ));
    let twice = error(
        1,
        LabelSets {
            close_codes: &["1000", "1001", "1000"],
            ..sets
        },
    );
    assert_eq!(
        twice.to_string(),
        r#"tickwire_closes_total has the value "1000" twice for its label "code"; remove one"#
    );
}
