//! Finds the known name that is most similar to a misspelt one.

/// The name in `known` that is most similar to `name`; empty if `known` is empty.
///
/// Similarity is measured by Jaro-Winkler, which tolerates a missing end (`outbox` for `outbox_bytes`). A name in the
/// wrong table or in no table is found by its last part.
pub(super) fn nearest(name: &str, known: impl IntoIterator<Item = String>) -> String {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |other: &str| {
        let by_last = strsim::jaro_winkler(&last(name), &last(other));
        strsim::jaro_winkler(name, other).max(0.95 * by_last)
    };
    known
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key;

    #[test]
    fn finds_what_was_meant() {
        for (misspelt, meant) in [
            ("limits.outbox", "limits.outbox_bytes"),
            ("limit.outbox_bytes", "limits.outbox_bytes"),
            ("outbox_bytes", "limits.outbox_bytes"),
            ("rate", "feed.rate"),
            ("lisen", "listen"),
            ("log.fromat", "log.format"),
            ("heartbeat.ping_ms", "heartbeat.ping_after_ms"),
            ("kind", "kinds"),
        ] {
            let found = nearest(misspelt, key::all().map(|key| key.path.to_owned()));
            assert_eq!(found, meant, "{misspelt}");
        }
    }
}
