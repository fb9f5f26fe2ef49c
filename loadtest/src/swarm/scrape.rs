//! The broker's metrics, fetched over HTTP and read from Prometheus' text format.
//!
//! One short-lived blocking connection per page, with a deadline on each of its reads and writes. A page is a list of
//! series and is searched from end to end: it has some hundred lines and is looked at a few times per run.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::swarm::tls::TlsClient;

/// Time that connecting, and each read or write, may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest response that is read.
const RESPONSE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Fetches a page over HTTP.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    get_by(address, path, None)
}

/// Fetches a page, by TLS if there is a `client` for it.
pub(crate) fn get_by(address: SocketAddr, path: &str, client: Option<&TlsClient>) -> anyhow::Result<String> {
    let fetch = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        match client {
            None => exchange(&mut stream, &request),
            Some(client) => {
                let mut session = client.session(address.ip())?;
                exchange(&mut rustls::Stream::new(&mut session, &mut stream), &request)
            }
        }
    };
    let response = fetch().with_context(|| format!("cannot fetch {path} from {address}"))?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => bail!("{address} answered {path} with {:?}", response.lines().next()),
    }
}

/// Sends a request, and reads the answer to its end.
fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut response)?;
    Ok(response)
}

/// A page of metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Name with labels as they stand there, and value.
    series: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads a page; lines that are no series are passed over.
    pub(crate) fn parse(page: &str) -> Self {
        let series = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Self { series }
    }

    /// The sum of all series of metric `name`, or of those with the label `label`, like `op="update"`. 0 if there are none.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        self.of(name)
            .filter(|(labels, _)| labels.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// The series whose names begin with `prefix`, labels and all.
    pub(crate) fn beginning_with(&self, prefix: &str) -> BTreeMap<String, f64> {
        let matching = self.series.iter().filter(|(name, _)| name.starts_with(prefix));
        matching.cloned().collect()
    }

    /// By how much the sum grew since `earlier`.
    pub(crate) fn grown(&self, earlier: &Self, name: &str, label: &str) -> f64 {
        self.sum(name, label) - earlier.sum(name, label)
    }

    /// What histogram `name` observed since `earlier`.
    pub(crate) fn observed(&self, earlier: &Self, name: &str) -> Observed {
        let bucket = format!("{name}_bucket");
        let at_most = |page: &Self| -> Vec<(f64, f64)> { page.of(&bucket).filter_map(bound).collect() };
        let before = at_most(earlier);
        let buckets = at_most(self)
            .into_iter()
            .map(|(bound, count)| {
                let already = before.iter().find(|(other, _)| *other == bound);
                (bound, count - already.map_or(0.0, |(_, count)| *count))
            })
            .collect();
        Observed {
            buckets,
            count: self.grown(earlier, &format!("{name}_count"), ""),
            sum: self.grown(earlier, &format!("{name}_sum"), ""),
        }
    }

    /// Labels and value of each series of one metric.
    fn of<'m>(&'m self, name: &str) -> impl Iterator<Item = (&'m str, f64)> {
        self.series.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

/// The bound of a bucket with its count.
fn bound((labels, count): (&str, f64)) -> Option<(f64, f64)> {
    let bound = labels.split_once("le=\"")?.1.split_once('"')?.0;
    Some((bound.parse().ok()?, count))
}

/// What a histogram observed in some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// Upper bounds, ascending, with the number of observations at most as large.
    buckets: Vec<(f64, f64)>,
    count: f64,
    sum: f64,
}

impl Observed {
    /// The mean; none if nothing was observed.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// The bound that a share of `quantile` (0 to 1) of the observations does not exceed; infinite beyond the last.
    pub(crate) fn at_most(&self, quantile: f64) -> Option<f64> {
        let wanted = self.count * quantile;
        let bucket = self.buckets.iter().find(|(_, count)| *count >= wanted);
        bucket.filter(|_| self.count > 0.0).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{op=\"x\"} 3\na_total{op=\"y\"} 4\n\
        a_total_more 100\nb 2.5\nh_bucket{le=\"0.001\"} 5\nh_bucket{le=\"0.01\"} 9\nh_bucket{le=\"+Inf\"} 10\n\
        h_sum 0.5\nh_count 10\n";

    #[test]
    fn series_are_summed_by_name_and_label() {
        let page = Metrics::parse(PAGE);
        for (name, label, sum) in [
            ("a_total", "", 7.0),
            ("a_total", "op=\"y\"", 4.0),
            ("b", "", 2.5),
            ("c", "", 0.0),
        ] {
            assert_eq!(page.sum(name, label), sum, "{name} {label}");
        }
    }

    #[test]
    fn histograms_tell_what_came_since() {
        let (nothing, page) = (Metrics::default(), Metrics::parse(PAGE));
        let all = page.observed(&nothing, "h");
        assert_eq!(
            (all.mean(), all.at_most(0.5), all.at_most(0.9)),
            (Some(0.05), Some(0.001), Some(0.01))
        );
        assert_eq!(all.at_most(0.99), Some(f64::INFINITY));
        let none = page.observed(&page, "h");
        assert_eq!((none.mean(), none.at_most(0.5)), (None, None));
    }
}
