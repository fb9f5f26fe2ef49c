//! Fetches the broker's metrics over HTTP and parses Prometheus' text format.
//!
//! Each page takes one short blocking connection, with a deadline on each read and write. A page is searched from end to
//! end: it has some hundred series and is needed a few times per run.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::swarm::tls::TlsClient;

/// How long connecting, and each read or write, may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const RESPONSE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    get_by(address, path, None)
}

/// Fetches a page over HTTP, with TLS if there is a `client` for it.
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

/// Sends a request and reads the answer to its end.
fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut response)?;
    Ok(response)
}

/// The name of each series with its labels, as in the text, and its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Parses a page. Lines that are not series are skipped.
    pub(crate) fn parse(page: &str) -> Self {
        let series = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(series).collect())
    }

    /// The sum of all series of metric `name`, or of those with the label `label`, such as `op="update"`. 0 if there
    /// are none.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let of_metric = |series: &str| {
            let labels = series.strip_prefix(name)?;
            ((labels.is_empty() || labels.starts_with('{')) && labels.contains(label)).then_some(())
        };
        let found = self.0.iter().filter(|(series, _)| of_metric(series).is_some());
        found.map(|(_, value)| value).sum()
    }

    /// The series whose names with labels begin with `prefix`.
    pub(crate) fn beginning_with(&self, prefix: &str) -> BTreeMap<&str, f64> {
        let series = self.0.iter().map(|(name, value)| (name.as_str(), *value));
        series.filter(|(name, _)| name.starts_with(prefix)).collect()
    }

    pub(crate) fn grown(&self, earlier: &Self, name: &str, label: &str) -> f64 {
        self.sum(name, label) - earlier.sum(name, label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{op=\"x\"} 3\na_total{op=\"y\"} 4\n\
        a_total_more 100\nb 2.5\n";

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
}
