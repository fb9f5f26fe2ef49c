//! What the archive has of a topic's history: where it begins, and its parts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tickwire_router::{
    Archive, ArchiveFailed, ArchiveReply, ArchivedPart, ArchivedStart, Bookmark, TopicCell, WantedPart,
    WantedStart,
};
use tickwire_wire::{ErrorCode, Micros, Refusal, Seq};
use tokio::sync::oneshot;

use super::{ErrorResponse, Wanted};

/// The time between two attempts while too much was read by others and is not sent yet.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Where the history of a topic begins, and where its messages are read that are wanted.
pub(super) struct Reach {
    /// The number before the first message that is wanted.
    pub(super) after: Seq,
    /// The oldest message that is stored, if there is one.
    pub(super) oldest: Option<Seq>,
    /// What has the messages before those in memory, if any of these are wanted.
    pub(super) archive: Option<Arc<dyn Archive>>,
}

impl Reach {
    /// Finds what `wanted` reaches in `cell`.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub(super) async fn find(
        archive: Option<&Arc<dyn Archive>>,
        cell: &Arc<TopicCell>,
        wanted: &Wanted,
    ) -> Result<Self, ErrorResponse> {
        let in_memory = Self {
            after: wanted.after(cell),
            oldest: cell.history(Seq::ZERO, 0).oldest,
            archive: None,
        };
        let is_whole = in_memory.oldest.is_none_or(|oldest| oldest <= Seq::ZERO.next());
        let Some(archive) = archive.filter(|_| !is_whole) else {
            return Ok(in_memory);
        };
        let start = locate(&**archive, cell, wanted.from.unwrap_or_default()).await;
        let ArchivedStart { first, oldest } = start.map_err(|error| unreadable(&error))?;
        let Some((oldest, _)) = oldest.filter(|(oldest, _)| Some(*oldest) < in_memory.oldest) else {
            return Ok(in_memory);
        };
        // Without a number or a moment, messages come from memory.
        let from = wanted.from.map(|moment| {
            let in_memory = cell.first_at(moment);
            Seq(first.map_or(in_memory, |first| first.min(in_memory)).0 - 1)
        });
        let is_older = wanted.since.is_some() || wanted.from.is_some();
        Ok(Self {
            after: wanted.since.max(from).unwrap_or(Seq::ZERO),
            oldest: Some(oldest),
            archive: is_older.then(|| archive.clone()),
        })
    }
}

/// The answer if the archive cannot be read.
pub(super) fn unreadable(error: &ArchiveFailed) -> ErrorResponse {
    Refusal::new(ErrorCode::Internal, error.to_string()).into()
}

async fn locate(
    archive: &dyn Archive,
    cell: &Arc<TopicCell>,
    moment: Micros,
) -> Result<ArchivedStart, ArchiveFailed> {
    let (told, answer) = oneshot::channel();
    let wanted = WantedStart {
        cell: cell.clone(),
        moment,
    };
    let reply = ArchiveReply::new(move |found| {
        // The client may have gone.
        let _unheard = told.send(found);
    });
    archive.locate(vec![wanted], reply);
    let found: Vec<_> = answer.await.map_err(|_| ArchiveFailed)??;
    found.into_iter().next().ok_or(ArchiveFailed)
}

/// Reads the messages of `cell` behind `after`, up to `last`, a part of them.
async fn read(
    archive: Arc<dyn Archive>,
    cell: Arc<TopicCell>,
    (after, last): (Seq, Seq),
    bookmark: Bookmark,
) -> Result<ArchivedPart, ArchiveFailed> {
    let place = loop {
        match cell.archive_place() {
            Some(place) => break place,
            None => tokio::time::sleep(TRY_AGAIN).await,
        }
    };
    let (told, answer) = oneshot::channel();
    let wanted = WantedPart {
        cell,
        after,
        last,
        bookmark,
        place,
    };
    let reply = ArchiveReply::new(move |part| {
        // The client may have gone. Then the part gives its place back here.
        let _unheard = told.send(part);
    });
    archive.read(wanted, reply);
    answer.await.map_err(|_| ArchiveFailed)?
}

/// A part that is being read.
type ReadingPart = Pin<Box<dyn Future<Output = Result<ArchivedPart, ArchiveFailed>>>>;

/// Reads one part after the other.
pub(super) struct OlderParts {
    archive: Arc<dyn Archive>,
    bookmark: Bookmark,
    reading: Option<ReadingPart>,
}

impl OlderParts {
    pub(super) fn new(archive: Arc<dyn Archive>) -> Self {
        Self {
            archive,
            bookmark: Bookmark::default(),
            reading: None,
        }
    }

    /// The part behind message `after`, up to `last` at most. `None` if the history has the next message.
    pub(super) async fn next(
        &mut self,
        cell: &Arc<TopicCell>,
        (after, last): (Seq, Seq),
    ) -> Option<Result<ArchivedPart, ArchiveFailed>> {
        std::future::poll_fn(|context| self.poll_next(context, Some(cell), (after, last))).await
    }

    /// Does the same as [`Self::next`]. A part that is being read comes even if the topic has ended.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        cell: Option<&Arc<TopicCell>>,
        (after, last): (Seq, Seq),
    ) -> Poll<Option<Result<ArchivedPart, ArchiveFailed>>> {
        if self.reading.is_none() {
            let Some((cell, gone)) = cell.and_then(|cell| Some((cell, cell.gone_after(after)?))) else {
                return Poll::Ready(None);
            };
            let part = (after, gone.min(last));
            self.reading = Some(Box::pin(read(
                self.archive.clone(),
                cell.clone(),
                part,
                self.bookmark,
            )));
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let part = ready!(reading.as_mut().poll(context));
        self.reading = None;
        if let Ok(part) = &part {
            self.bookmark = part.bookmark();
        }
        Poll::Ready(Some(part))
    }
}
