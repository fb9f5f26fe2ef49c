//! Puts publications that were pulled from the directory into an outbox.

use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Control, Seq};

use super::Subscriber;
use super::session_mut::SessionMut;
use super::status::StatusBytes;
use crate::cell::TopicCell;
use crate::outbox::{Delivery, Gap, Item, Sort};
use crate::planted::{Fault, is_planted};
use crate::publication::Publication;

impl SessionMut<'_> {
    /// Pulls a publication in for a subscription. If the client does not know the topic's lineage and this is not a
    /// snapshot, it is told the lineage first. It is also told whether the book is in doubt: before an update, or
    /// behind a snapshot.
    pub(super) fn push_told(
        &mut self,
        subscriber: &mut Subscriber,
        publication: Arc<Publication>,
        sort: Sort,
        skips: u64,
    ) {
        let is_snapshot = matches!(sort, Sort::Newer | Sort::Repeat | Sort::Recovery);
        let introduces = is_snapshot && !subscriber.prelude.introduced();
        if is_snapshot {
            subscriber.prelude.introduce();
        } else {
            let before = Seq(publication.seq.0 - skips - 1);
            self.introduce(publication.lineage.id, subscriber, before);
        }
        if subscriber.told.doubt() == publication.doubt {
            self.push_pulled(publication, sort, skips, introduces);
            return;
        }
        let behind = publication.doubt.is_some() && is_snapshot;
        if behind {
            self.push_pulled(publication.clone(), sort, skips, introduces);
        }
        StatusBytes::default().push(self.session, subscriber, &publication);
        if !behind {
            self.push_pulled(publication, sort, skips, introduces);
        }
    }

    /// Pulls a publication in for a session.
    pub(super) fn push_pulled(
        &mut self,
        publication: Arc<Publication>,
        sort: Sort,
        skips: u64,
        introduces: bool,
    ) {
        let (dialect, op) = (self.session.dialect, sort.op());
        let len = publication.encode(dialect, op, self.deflater, self.counts);
        match op {
            DataOp::Update => self.counts.updates += 1,
            DataOp::Snapshot => self.counts.snapshots += 1,
        }
        let mut delivery = Delivery::new(publication.into(), len, sort, skips);
        delivery.introduces = introduces;
        self.session.outbox.push(Item::Delivery(delivery));
    }

    /// Tells a subscription that messages `from` to `to` will not come. The subscription continues after them.
    pub(super) fn push_gap(
        &mut self,
        cell: &TopicCell,
        subscriber: &mut Subscriber,
        (from, to): (Seq, Seq),
        reason: GapReason,
        goes_on: bool,
    ) {
        self.counts.gaps += 1;
        let gap = Control::Gap {
            topic: cell.topic().to_string(),
            epoch: cell.position().epoch,
            from,
            to,
            reason,
        };
        let gap = Gap {
            topic: cell.id(),
            kind: cell.kind(),
            from,
            to,
            reason,
            introduces: !subscriber.prelude.introduced(),
            goes_on,
            bytes: self.session.dialect.control(&gap),
        };
        if !(is_planted(Fault::GapNotSent) && from.0 % 8 == 3) {
            self.session.outbox.push(Item::Gap(Box::new(gap)));
        }
        subscriber.after = to;
        subscriber.prelude.introduce();
    }
}
