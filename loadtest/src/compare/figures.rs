//! The figures of a measurement: what is compared, how it is shown, and the median of several rounds.
//!
//! A figure that a scenario does not have or a server does not tell is absent. It is never 0 because it is unknown.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::swarm::{bytes, grouped, micros};

macro_rules! figures {
    ($($(#[$about:meta])* $name:ident = ($key:literal, $label:literal, $unit:ident, $better:ident),)+) => {
        /// A figure. The order is that of the tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Figure {
            $($(#[$about])* $name,)+
        }

        impl Figure {
            fn describe(self) -> (&'static str, &'static str, Unit, Better) {
                match self {
                    $(Self::$name => ($key, $label, Unit::$unit, Better::$better),)+
                }
            }
        }
    };
}

figures! {
    ServerCpuPerDelivery = ("server_cpu_us_per_delivery", "server CPU per delivery", MicrosFine, Lower),
    /// CPU time of the load client. It must be less, or the client is what is measured.
    ClientCpuPerDelivery = ("client_cpu_us_per_delivery", "client CPU per delivery", MicrosFine, Neither),
    ClientToServer = ("client_cpu_to_server_cpu", "client CPU / server CPU", Times, Neither),
    ServerCpuPerMessage = ("server_cpu_us_per_message", "server CPU per published message", MicrosFinest, Lower),
    ClientCpuPerMessage = ("client_cpu_us_per_message", "client CPU per published message", MicrosFinest, Neither),
    PerCpuSecond = ("messages_per_cpu_s", "messages per CPU second of the server", Count, Higher),
    PublishedPerSecond = ("published_per_s", "published per second", Count, Neither),
    /// The messages that the server has taken in the measured time, which are all that were sent.
    Taken = ("messages_taken", "messages taken", Count, Neither),
    /// What a connection costs that opens a WebSocket and is dropped.
    PlainConnection = ("server_cpu_us_per_plain_connection", "server CPU per connection, no TLS", MicrosFine, Lower),
    FullConnection = ("server_cpu_us_per_full_connection", "server CPU per connection, full handshake", MicrosFine, Lower),
    ResumedConnection = ("server_cpu_us_per_resumed_connection", "server CPU per connection, resumed", MicrosFine, Lower),
    /// How many handshakes a second of CPU time makes, without what the connection costs otherwise.
    FullPerCpuSecond = ("full_handshakes_per_cpu_s", "full handshakes per CPU second", Count, Higher),
    ResumedPerCpuSecond = ("resumed_handshakes_per_cpu_s", "resumed handshakes per CPU second", Count, Higher),
    Resumed = ("resumed_percent", "resumed, of those that tried", Percent, Neither),
    /// The time until all new connections are open.
    AllIn = ("all_in_us", "new connections all in after", Micros, Lower),
    NotIn = ("not_in", "new connections that failed", Count, Lower),
    /// The time from when a message was due until all subscribers had it.
    FanoutP50 = ("fanout_p50_us", "all have it, p50", Micros, Lower),
    FanoutP99 = ("fanout_p99_us", "all have it, p99", Micros, Lower),
    /// The highest rate that kept within the bound.
    MaxRate = ("max_deliveries_per_s", "most deliveries per second", Count, Higher),
    Offered = ("offered_per_s", "offered per second", Count, Neither),
    Delivered = ("delivered_per_s", "delivered per second", Count, Higher),
    LatencyP50 = ("latency_p50_us", "latency p50", Micros, Lower),
    LatencyP99 = ("latency_p99_us", "latency p99", Micros, Lower),
    LatencyP999 = ("latency_p999_us", "latency p99.9", Micros, Lower),
    LatencyMax = ("latency_max_us", "latency max", Micros, Lower),
    BaseP99 = ("latency_without_stopped_p99_us", "latency p99, undisturbed", Micros, Lower),
    /// How much the stopped readers, or new connections, slow the others.
    P99Growth = ("latency_p99_growth", "p99 disturbed / undisturbed", Times, Lower),
    /// The time from the loss of all connections until all topics are confirmed again.
    ReconnectTime = ("reconnect_us", "all back after", Micros, Lower),
    ReconnectCpu = ("reconnect_cpu_us_per_connection", "server CPU per reconnect", MicrosFine, Lower),
    /// The time from then, or from when stopped readers read again, until every message has come or was named in a gap.
    CaughtUp = ("caught_up_us", "caught up after", Micros, Lower),
    Recovered = ("recovered", "resumed without loss", Count, Higher),
    StartedOver = ("started_over", "resumed with loss", Count, Lower),
    Gapped = ("gapped", "messages named in gaps", Count, Neither),
    LostSilently = ("lost_silently", "lost without a word", Count, Lower),
    /// Messages that a subscriber should have got and never got.
    Missed = ("missed", "messages missed", Count, Lower),
    /// The share of messages that came compressed on connections that negotiated compression.
    Deflated = ("deflated_percent", "came compressed", Percent, Neither),
    WireBytes = ("payload_bytes_per_message", "payload per message, as it came", Bytes, Lower),
    PlainBytes = ("plain_bytes_per_message", "payload per message, inflated", Bytes, Neither),
    RssPerConnection = ("rss_bytes_per_connection", "memory per connection", Bytes, Lower),
    Rss = ("rss_bytes", "server memory (RSS)", Bytes, Lower),
    RssGrowth = ("rss_growth_bytes", "memory taken meanwhile", Bytes, Lower),
    ServerBusy = ("server_busy_percent", "server CPU", Percent, Lower),
    WritesPerDelivery = ("writes_per_delivery", "write calls per delivery", Ratio, Lower),
    VoluntarySwitches = ("voluntary_switches_per_s", "voluntary switches per second", Count, Neither),
    InvoluntarySwitches = ("involuntary_switches_per_s", "involuntary switches per second", Count, Neither),
    Threads = ("threads", "threads", Count, Neither),
    ClientBusy = ("client_busy_percent", "client CPU", Percent, Neither),
    /// The time in which threads of the server were ready, but another thread or program had the core.
    ServerWaited = ("server_waited_percent", "server ready but not running", Percent, Neither),
    /// The time in which another program had the client's core.
    ClientWaited = ("client_waited_percent", "client kept off its core", Percent, Neither),
    /// How late messages were sent, because of the client or of a full socket.
    SentLateP99 = ("sent_late_p99_us", "sent late, p99", Micros, Neither),
}

/// The unit in which a figure is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Micros,
    MicrosFine,
    MicrosFinest,
    Count,
    Bytes,
    Percent,
    Ratio,
    Times,
}

/// Whether lower or higher values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
    Neither,
}

impl Figure {
    pub(crate) fn key(self) -> &'static str {
        self.describe().0
    }

    pub(crate) fn label(self) -> &'static str {
        self.describe().1
    }

    pub(crate) fn better(self) -> Better {
        self.describe().3
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self.describe().2 {
            Unit::Micros => micros(value.round() as u64),
            Unit::MicrosFine => format!("{value:.2} µs"),
            Unit::MicrosFinest => format!("{value:.3} µs"),
            Unit::Count => grouped(value.round() as u64),
            Unit::Bytes => bytes(value.round() as u64),
            Unit::Percent => format!("{value:.0} %"),
            Unit::Ratio => format!("{value:.3}"),
            Unit::Times => format!("{value:.2}×"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<Figure, f64>);

impl Figures {
    /// Adds a figure. A value that is not finite is left out.
    pub(crate) fn set(&mut self, figure: Figure, value: f64) {
        if value.is_finite() {
            self.0.insert(figure, value);
        }
    }

    /// The value of a figure, if it was measured.
    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        self.0.get(&figure).copied()
    }

    pub(crate) fn has(&self, figure: Figure) -> bool {
        self.0.contains_key(&figure)
    }

    /// The figures that were measured, in order.
    pub(crate) fn present(&self) -> impl Iterator<Item = Figure> {
        self.0.keys().copied()
    }

    /// The median of each figure over several measurements. For an even number it is the mean of the middle two.
    pub(crate) fn median<'f>(all: impl IntoIterator<Item = &'f Self>) -> Self {
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        for figures in all {
            for (figure, value) in &figures.0 {
                values.entry(*figure).or_default().push(*value);
            }
        }
        Self(
            values
                .into_iter()
                .filter_map(|(figure, values)| Some((figure, median(values)?)))
                .collect(),
        )
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(figure, value)| (figure.key(), value)))
    }
}

/// The middle value, or the mean of the middle two; `None` without values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len().is_multiple_of(2) {
        Some(f64::midpoint(values[middle - 1], upper))
    } else {
        Some(upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 100.0, 2.0], Some(3.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn medians_are_per_figure_and_absent_ones_stay_absent() {
        let of = |pairs: &[(Figure, f64)]| {
            let mut figures = Figures::default();
            for (figure, value) in pairs {
                figures.set(*figure, *value);
            }
            figures
        };
        let rounds = [
            of(&[(Figure::Threads, 1.0), (Figure::Missed, f64::NAN)]),
            of(&[(Figure::Threads, 4.0), (Figure::Rss, 7.0)]),
            of(&[(Figure::Threads, 2.0)]),
        ];
        let median = Figures::median(&rounds);
        assert_eq!(median, of(&[(Figure::Threads, 2.0), (Figure::Rss, 7.0)]));
        assert_eq!(
            serde_json::to_string(&median).expect("serialises"),
            r#"{"rss_bytes":7.0,"threads":2.0}"#
        );
    }

    #[test]
    fn values_have_units() {
        for (figure, value, text) in [
            (Figure::ServerCpuPerDelivery, 3.704, "3.70 µs"),
            (Figure::ServerCpuPerMessage, 0.1904, "0.190 µs"),
            (Figure::LatencyP99, 1_234.4, "1.23 ms"),
            (Figure::Delivered, 3_999_999.7, "4,000,000"),
            (Figure::P99Growth, 1.25, "1.25×"),
            (Figure::ClientBusy, 91.4, "91 %"),
        ] {
            assert_eq!(figure.show(value), text);
        }
    }
}
