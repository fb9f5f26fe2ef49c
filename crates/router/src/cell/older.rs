//! The messages of a topic that an archive has.

use std::sync::Arc;

use tickwire_wire::{Micros, Seq};

use super::{Numbered, TopicCell};
use crate::archive::ArchivePlace;
use crate::history::StoredFrom;
use crate::publication::Publication;

impl TopicCell {
    /// Messages of this topic that were kept elsewhere, as its readers get them.
    pub(crate) fn archived(&self, messages: Vec<Numbered>) -> Vec<Arc<Publication>> {
        let lineage = self.lock().lineage.clone();
        let publication = |numbered: Numbered| {
            let Numbered {
                seq,
                ts,
                payload,
                doubt,
                ..
            } = numbered;
            Arc::new(Publication::new(lineage.clone(), seq, ts, payload).doubted(doubt))
        };
        messages.into_iter().map(publication).collect()
    }

    /// If messages after `after` have left the history, the last one of these.
    #[must_use]
    pub fn gone_after(&self, after: Seq) -> Option<Seq> {
        let state = self.lock();
        let oldest = state.history.gone_before(after, state.head())?;
        Some(Seq(oldest.0 - 1))
    }

    /// A place in the account of memory for a part of this topic's older messages, if there is room for one.
    #[must_use]
    pub fn archive_place(&self) -> Option<ArchivePlace> {
        ArchivePlace::take(&self.lock().lineage.memory)
    }

    /// Whether messages from `moment` on have left the history.
    pub(crate) fn lacks_from(&self, moment: Micros) -> bool {
        let state = self.lock();
        let StoredFrom { not_stored, .. } = state.history.stored_from(moment, state.head());
        not_stored.is_some()
    }
}
