//! The parsers of a journal's files: segments with their entries, checkpoints, and the blocks of recordings.

use tickwire_lane::node::{LaneEntry, LaneState, Notice, SubmissionBatch};
use tickwire_lane::{
    BlockPart, BlockReader, Checkpoint, CheckpointPart, Content, Entry, Follower, Part, Place, SegmentReader,
    Start, Writer,
};
use tickwire_lane::{EntryFlags, TopicKey};

/// Reads the input as a segment, as a checkpoint, and as what the nodes of a cluster tell each other.
///
/// # Panics
/// When an entry that was read is not the same after it was written again, or when parts of the input are read twice.
pub fn journal(input: &[u8]) {
    checkpoint(input);
    blocks(input);
    cluster(input);
    let Ok(Some((head, parts))) = SegmentReader::new(input) else {
        return;
    };
    let mut follower = Follower::new(Start::Anywhere, Place::default(), None);
    let follows = follower.begin_segment(&head).is_ok();
    let mut read_to = 0;
    for part in parts {
        let (offset, frame) = match part {
            Part::Entry { offset, frame } => (offset, frame),
            Part::Torn { offset } => (offset, &input[offset..]),
            Part::Damaged { offset, next, .. } => (offset, &input[offset..next]),
        };
        assert!(offset >= read_to && offset < input.len(), "{part:?}");
        read_to = offset + frame.len();
        if let (Part::Entry { .. }, Ok(entry)) = (part, Entry::read(frame)) {
            same_again(&entry);
            if follows && follower.entry(frame, &entry, |_, _| {}).is_ok() {
                for item in &entry.items {
                    let _judged = follower.item(item);
                }
            }
        }
    }
    assert!(read_to <= input.len());
}

/// Writes the items of an entry again, under topics of the same order, and reads them.
fn same_again(entry: &Entry<'_>) {
    let mut writer = Writer::new(Place::default(), entry.epoch.clone());
    let declared = |at: u32| entry.declared.get(at as usize).cloned();
    let Some(first) = declared(0) else { return };
    for item in &entry.items {
        let declare = || declared(item.topic.0).unwrap_or_else(|| first.clone());
        writer.gather(TopicKey(item.topic.0), declare, *item);
    }
    let frame = writer.seal(EntryFlags::default()).to_vec();
    let again = Entry::read(&frame).expect("it was written");
    let bare = |entry: &Entry<'_>| -> Vec<_> {
        let item = |item: &tickwire_lane::Item<'_>| {
            (
                item.seq,
                item.after,
                item.ts,
                item.doubt,
                format!("{:?} {:?} {:?}", item.key, item.mark, item.content),
            )
        };
        entry.items.iter().map(item).collect()
    };
    assert_eq!(bare(&again), bare(entry));
}

fn blocks(input: &[u8]) {
    let (mut blocks, mut read_to) = (BlockReader::new(input), 0);
    while let Some(part) = blocks.next_part().expect("memory can be read") {
        let (offset, next) = match &part {
            BlockPart::Block { offset, .. } => (*offset, *offset + 1),
            BlockPart::Torn { offset } => (*offset, input.len() as u64),
            BlockPart::Damaged { offset, next, .. } => (*offset, *next),
        };
        assert!(
            offset >= read_to && next > offset && next <= input.len() as u64,
            "{part:?}"
        );
        read_to = next;
    }
}

fn checkpoint(input: &[u8]) {
    let whole = Checkpoint::check(input).is_ok();
    let Ok((_, mut topics)) = Checkpoint::new(input) else {
        assert!(!whole);
        return;
    };
    let ended = loop {
        match topics.next_part() {
            Ok(Some(CheckpointPart::Keys(_) | CheckpointPart::Mark(_) | CheckpointPart::Derived(_))) => {}
            Ok(Some(CheckpointPart::Topic(state))) => {
                let newest = state.messages.last().map(|item| item.seq);
                assert_eq!(newest.unwrap_or_default(), state.topic.head, "{state:?}");
                let data = |item: &tickwire_lane::Item<'_>| {
                    !matches!(item.content, Content::End(_) | Content::Gap(_))
                };
                assert!(state.messages.iter().all(data), "{state:?}");
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert_eq!(ended, whole);
}

/// What nodes of a cluster tell each other, and what is in their log.
fn cluster(input: &[u8]) {
    if let Ok(notice) = Notice::read(input) {
        assert_eq!(Notice::read(&notice.bytes()).as_ref(), Ok(&notice));
    }
    if let Ok(batch) = SubmissionBatch::read(input) {
        assert_eq!(SubmissionBatch::read(&batch.bytes()).as_ref(), Ok(&batch));
        assert!(batch.submissions().all(|submission| submission.is_ok()));
    }
    if let Ok((state, rest)) = LaneState::read(input) {
        let mut again = Vec::new();
        state.put(&mut again);
        let (read, nothing) = LaneState::read(&again).expect("it was just written");
        assert!(nothing.is_empty() && rest.len() < input.len());
        assert_eq!(read.standing, state.standing);
    }
    if let Ok(entry) = LaneEntry::read(input) {
        let published: usize = entry
            .head
            .decided
            .iter()
            .map(|decided| decided.count as usize - decided.unpublished.len())
            .sum();
        assert!(published <= entry.entry.items.len());
    }
}
