//! What the built-in feed counts.
//!
//! Plain numbers that the feed's thread owns, moved into the catalogue by [`flush`](FeedMetrics::flush) and on drop.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::counts::Counts;
use crate::histogram::LocalHistogram;
use crate::table::Id;

/// The counters of a feed thread since its last flush.
#[derive(Debug)]
pub struct FeedMetrics {
    /// Messages published by the feed, by kind.
    pub publications: Counts,
    /// Ticks published. One tick may mean several messages.
    pub ticks: u64,
    /// Ticks that were refused.
    pub refused_ticks: u64,
    /// Lines of a recording that could not be read.
    pub malformed_lines: u64,
    /// What is wrong with a recording, by kind.
    pub anomalies: Counts,
    /// Time by which a tick came after its scheduled moment.
    pub lateness: LocalHistogram,
    catalogue: Arc<Catalogue>,
}

impl FeedMetrics {
    pub(crate) fn new(catalogue: &Arc<Catalogue>) -> Self {
        Self {
            publications: Counts::new(catalogue.family(Id::Publications).len()),
            ticks: 0,
            refused_ticks: 0,
            malformed_lines: 0,
            anomalies: Counts::new(catalogue.family(Id::FeedAnomalies).len()),
            lateness: LocalHistogram::new(),
            catalogue: Arc::clone(catalogue),
        }
    }

    /// Moves everything counted since the last flush into the catalogue.
    pub fn flush(&mut self) {
        let publications = self.catalogue.family(Id::Publications);
        self.publications
            .take()
            .for_each(|(kind, n)| publications.add(kind, n));
        self.catalogue
            .family(Id::FeedTicks)
            .add(0, std::mem::take(&mut self.ticks));
        self.catalogue
            .family(Id::FeedRefused)
            .add(0, std::mem::take(&mut self.refused_ticks));
        self.catalogue
            .family(Id::FeedMalformed)
            .add(0, std::mem::take(&mut self.malformed_lines));
        let anomalies = self.catalogue.family(Id::FeedAnomalies);
        self.anomalies.take().for_each(|(kind, n)| anomalies.add(kind, n));
        if let Some(observed) = self.lateness.take() {
            self.catalogue.family(Id::FeedLateness).merge(observed);
        }
    }
}

impl Drop for FeedMetrics {
    fn drop(&mut self) {
        self.flush();
    }
}
