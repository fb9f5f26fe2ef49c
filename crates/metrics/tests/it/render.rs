//! The content of a scrape after something was counted.

use std::sync::Arc;

use tickwire_metrics::{
    BUCKETS_MICROS, Catalogue, CatalogueError, DeliveryOp, EncodeOp, FAMILIES, LabelSets, LocalMetrics,
    Metric, MetricType, PROCESS_TABLE, StatusClass, TABLE, TransportLabel,
};

use crate::exposition::Scrape;

/// A catalogue in which each series has a value to export.
fn catalogue(shards: usize) -> Arc<Catalogue> {
    let catalogue = Catalogue::new(shards, "1.2.3", &LabelSets::EXAMPLE).unwrap();
    catalogue.set(Metric::TlsNotAfter, &[], 0);
    catalogue.set(Metric::Accounts, &[], 0);
    let families = (0..FAMILIES).map(|family| format!("f{family}").into());
    catalogue.name_families(families.collect());
    catalogue
}

fn scrape(catalogue: &Catalogue) -> Scrape {
    Scrape::read(&catalogue.render().unwrap())
}

/// Counts `n` of everything that a thread can count, for label values within their sets and beyond.
fn load(local: &mut LocalMetrics, n: u64) {
    for (metric, definition) in Metric::ALL.iter().zip(TABLE) {
        match definition.kind {
            MetricType::Histogram => local.observe(*metric, n),
            _ => (0..40).for_each(|index| local.add(*metric, &[index, index], n)),
        }
    }
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

/// The gauge was 0 without TLS, so that an alert on a certificate that ends soon always fired.
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
    catalogue.set(Metric::TlsNotAfter, &[], 67_000_000);
    assert_eq!(is_there(), Some(67.0));
    catalogue.set_nothing(Metric::TlsNotAfter, &[]);
    assert_eq!(is_there(), None);
}

/// The series of gaps never moved: a gap is encoded for one subscriber and does not count among what is encoded for
/// all.
#[test]
fn every_series_of_what_is_encoded_moves() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.local();
    for codec in 0..LabelSets::EXAMPLE.codecs.len() {
        shard.add(Metric::Encodes, &[codec, EncodeOp::Update as usize], 1);
        shard.add(Metric::Encodes, &[codec, EncodeOp::Snapshot as usize], 1);
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
    let mut shard = catalogue.local();
    shard.add(Metric::Publications, &[2], 7);
    shard.set(Metric::PublishedBytes, &[], 1_000);
    shard.add(Metric::Deliveries, &[DeliveryOp::Gap as usize], 3);
    shard.add(Metric::Encodes, &[1, EncodeOp::Update as usize], 4);
    shard.add(Metric::Requests, &[99], 5);
    shard.add(Metric::SocketWrites, &[], u64::from(u32::MAX));
    assert_eq!(shard.unflushed(Metric::Requests, &[99]), 5);
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
    let mut shard = catalogue.local();
    let mut sum_micros = 0;
    for bound in BUCKETS_MICROS {
        shard.observe(Metric::DeliveryLatency, bound);
        shard.observe(Metric::DeliveryLatency, bound + 1);
        shard.observe(Metric::DeliveryLatency, bound + 1);
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
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let mut shard = catalogue.local();
            std::thread::spawn(move || {
                for _ in 0..1_000 {
                    shard.add(Metric::Deliveries, &[DeliveryOp::Update as usize], 3);
                    shard.observe(Metric::DeliveryLatency, 1_000_000);
                    shard.observe(Metric::DeliveryLatency, 1_000_000);
                    shard.add(Metric::ShardOverflows, &[number], 1 + number as u64);
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
fn gauges_follow_and_leave_with_their_thread() {
    const WEBSOCKET: &[usize] = &[TransportLabel::WebSocket as usize];
    const SSE: &[usize] = &[TransportLabel::Sse as usize];
    let catalogue = catalogue(2);
    let mut shards = [catalogue.local(), catalogue.local()];
    shards[1].set(Metric::Sessions, &[1], 5);
    shards[1].set(Metric::OutboxBytes, &[1], 4_096);
    shards[0].add(Metric::Connections, WEBSOCKET, 1);
    shards[1].add(Metric::Connections, WEBSOCKET, 2);
    shards[1].add(Metric::ConnectionsOpened, WEBSOCKET, 2);
    catalogue.add(Metric::Connections, SSE, 1);
    shards.iter_mut().for_each(LocalMetrics::flush);
    let open = r#"tickwire_connections{transport="websocket"}"#;
    let opened = r#"tickwire_connections_opened_total{transport="websocket"}"#;
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (3.0, 2.0));
    assert_eq!(now.value(r#"tickwire_connections{transport="sse"}"#), 1.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="0"}"#), 0.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 5.0);
    assert_eq!(now.value(r#"tickwire_outbox_bytes{shard="1"}"#), 4_096.0);

    shards[1].sub(Metric::Connections, WEBSOCKET, 1);
    catalogue.sub(Metric::Connections, SSE, 1);
    shards[1].set(Metric::Sessions, &[1], 4);
    shards[1].flush();
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (2.0, 2.0));
    assert_eq!(now.value(r#"tickwire_connections{transport="sse"}"#), 0.0);
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 4.0);

    shards[0].add(Metric::Deliveries, &[DeliveryOp::Update as usize], 9);
    drop(shards);
    let now = scrape(&catalogue);
    assert_eq!((now.value(open), now.value(opened)), (0.0, 2.0));
    assert_eq!(now.value(r#"tickwire_sessions{shard="1"}"#), 0.0);
    assert_eq!(
        now.value(r#"tickwire_deliveries_total{op="update"}"#),
        9.0,
        "the last counts are kept"
    );
}

#[test]
fn what_one_thread_adds_another_takes_off() {
    let catalogue = catalogue(1);
    let mut shard = catalogue.local();
    catalogue.add(Metric::Connections, &[0], 1);
    shard.sub(Metric::Connections, &[0], 1);
    shard.flush();
    assert_eq!(
        scrape(&catalogue).value(r#"tickwire_connections{transport="websocket"}"#),
        0.0
    );
}

#[test]
fn labels_and_units_are_the_definitions() {
    let catalogue = catalogue(1);
    for (route, status) in [(1, 304), (1, 200), (77, 503)] {
        let labels = [route, StatusClass::of(status) as usize];
        catalogue.add(Metric::HttpRequests, &labels, 1);
    }
    catalogue.add(Metric::HandshakesRefused, &[1], 1);
    catalogue.add(Metric::Refusals, &[2], 1);
    catalogue.set(Metric::Topics, &[], 12);
    catalogue.set(Metric::ClockOffset, &[], (-1_500_000_i64).cast_unsigned());
    let mut feed = catalogue.local();
    feed.add(Metric::FeedAnomalies, &[1], 3);
    feed.add(Metric::Publications, &[0], 10);
    catalogue.add(Metric::Publications, &[0], 1);
    feed.observe(Metric::FeedLateness, 15);
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
        (r#"tickwire_publications_total{kind="state"}"#, 11.0),
        ("tickwire_topics", 12.0),
        ("tickwire_clock_offset_seconds", -1.5),
        (r#"tickwire_feed_anomalies_total{kind="depth_hole"}"#, 3.0),
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
    let mut shard = catalogue.local();
    for round in 1..50 {
        load(&mut shard, round);
        for index in 0..40 {
            catalogue.add(Metric::HttpRequests, &[index, index], round);
        }
    }
    shard.flush();
    let after = scrape(&catalogue);
    assert_eq!(before.own_series(), after.own_series());
    assert!(
        after.samples.values().filter(|&&value| value > 0.0).count() > 50,
        "the load left no trace"
    );
    // A histogram is one series here. In a scrape it has series for its buckets, its sum and its count.
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
fn families_have_series_once_they_have_names() {
    let catalogue = Catalogue::new(1, "1.2.3", &LabelSets::EXAMPLE).unwrap();
    catalogue.set(Metric::AccountedMessages, &[1], 7);
    let series = |catalogue: &Catalogue| {
        let page = catalogue.render().unwrap();
        let lines = page
            .lines()
            .filter(|line| line.starts_with("tickwire_accounted_messages_total"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&catalogue), [""; 0]);
    catalogue.name_families(vec!["(other)".into(), "trade".into()]);
    let expected = [
        r#"tickwire_accounted_messages_total{family="(other)"} 0"#,
        r#"tickwire_accounted_messages_total{family="trade"} 7"#,
    ];
    assert_eq!(series(&catalogue), expected);
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
