//! A strict parser for the part of the text exposition format that the catalogue writes.

use std::collections::BTreeMap;

/// A parsed scrape: the value of each series, and the type and help of each metric.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) samples: BTreeMap<String, f64>,
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) helps: BTreeMap<String, String>,
}

impl Scrape {
    /// Parses `text`. Panics at what is not in the format, at a series that comes twice and at one without a type.
    pub(crate) fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(scrape.helps.insert(name.into(), help.into()).is_none(), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert!(scrape.types.insert(name.into(), kind.into()).is_none(), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect(line);
                let value = value.parse().expect(line);
                assert!(scrape.samples.insert(series.into(), value).is_none(), "{line}");
                assert!(
                    scrape.types.contains_key(scrape.metric_of(series)),
                    "no type before {line}"
                );
            }
        }
        scrape
    }

    /// The name of the metric that a series belongs to.
    pub(crate) fn metric_of<'a>(&self, series: &'a str) -> &'a str {
        let name = series.split('{').next().unwrap_or(series);
        ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|name| self.types.get(*name).is_some_and(|kind| kind == "histogram"))
            .unwrap_or(name)
    }

    /// The value of a series. Panics if the scrape has no such series.
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self
            .samples
            .get(series)
            .unwrap_or_else(|| panic!("no series {series}"))
    }

    /// The broker's own series, without those of the process.
    pub(crate) fn own_series(&self) -> Vec<&str> {
        self.samples
            .keys()
            .map(String::as_str)
            .filter(|series| series.starts_with("tickwire_"))
            .collect()
    }
}
