//! What the command line says, before it is checked.

use super::layer::Layer;

/// What the command line says, as text, one field a flag; lists with commas between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--ops`
    pub ops: Option<String>,
    /// `--feed`: `none`, `sim`, `replay:FILE,FILE…`, or `replay` with the files of the file.
    pub feed: Option<String>,
    /// `--symbols`
    pub symbols: Option<String>,
    /// `--rate`
    pub rate: Option<String>,
    /// `--seed`
    pub seed: Option<String>,
    /// `--speed`
    pub speed: Option<String>,
    /// `--start`
    pub start: Option<String>,
    /// `--shards`
    pub shards: Option<String>,
    /// `--anonymous-publish`, each time that it was given.
    pub anonymous_publish: Vec<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
}

impl Overrides {
    pub(super) fn layer(&self) -> Layer {
        let publish = (!self.anonymous_publish.is_empty()).then(|| self.anonymous_publish.join(","));
        let given = [
            ("--listen", &self.listen),
            ("--ops", &self.ops),
            ("--feed", &self.feed),
            ("--symbols", &self.symbols),
            ("--rate", &self.rate),
            ("--seed", &self.seed),
            ("--speed", &self.speed),
            ("--start", &self.start),
            ("--shards", &self.shards),
            ("--anonymous-publish", &publish),
            ("--log-format", &self.log_format),
            ("--log-level", &self.log_level),
        ];
        Layer::flags(
            given
                .into_iter()
                .filter_map(|(flag, text)| Some((flag, text.as_deref()?))),
        )
    }
}
