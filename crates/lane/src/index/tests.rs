//! Indexes of random segments, whole and damaged.

use proptest::prelude::*;
use tickwire_wire::Kind;

use super::*;
use crate::{
    Declaration, EntryFlags, EntryItems, Item, Part, Place, SegmentHead, SegmentReader, TopicKey, Writer,
};

/// A message of a random segment: its topic, how many numbers are left out before it, and its bytes.
type Published = (u8, u8, u16);

/// The lives of a segment, by their numbers: every third is a later life of the name before it.
fn life(topic: u8) -> (String, Epoch) {
    let (name, life) = (topic / 3, topic % 3);
    (format!("trade.{name}"), Epoch::from(format!("e{life}").as_str()))
}

fn items(topic: u8, seq: u64, ts: u64, data: &[u8]) -> (TopicKey, Declaration, Item<'_>) {
    let (name, epoch) = life(topic);
    let declaration = Declaration {
        topic: name.parse().expect("a topic"),
        kind: Kind::Event,
        history: 10,
        epoch,
        life: u32::from(topic % 3),
        head: Seq(u64::from(topic)),
    };
    let item = Item {
        topic: TopicNumber(0),
        after: Seq(seq - 1),
        seq: Seq(seq),
        ts: Micros(ts),
        doubt: None,
        key: None,
        mark: None,
        content: Content::Data(data),
    };
    (TopicKey(u32::from(topic)), declaration, item)
}

/// A segment of these entries, and where each message is: topic, number, time.
fn segment(entries: &[Vec<Published>]) -> (Vec<u8>, Vec<(u8, u64, u64)>) {
    let mut bytes = Vec::new();
    let head = SegmentHead {
        place: Place::default(),
        epoch: Epoch::from("e0"),
        begins_epoch: true,
        synced: false,
        boot: [1; 16],
        made: Micros(9),
    };
    head.put(&mut bytes);
    let mut writer = Writer::new(Place::default(), Epoch::from("e0"));
    let (mut heads, mut all) = (std::collections::BTreeMap::<u8, u64>::new(), Vec::new());
    let data = vec![b'1'; 70_000];
    for entry in entries {
        for (topic, skips, length) in entry {
            let head = heads.entry(*topic).or_insert(u64::from(*topic));
            *head += 1 + u64::from(*skips);
            let ts = 1_000 + all.len() as u64 / 3;
            let (key, declaration, item) = items(*topic, *head, ts, &data[..usize::from(*length)]);
            writer.gather(key, || declaration, item);
            all.push((*topic, *head, ts));
        }
        bytes.extend_from_slice(writer.seal(EntryFlags::default()));
        writer.stored();
    }
    (bytes, all)
}

fn index(bytes: &[u8]) -> IndexBuilder {
    let (head, reader) = SegmentReader::new(bytes).expect("a segment").expect("a head");
    let frame = frame::first(bytes).expect("a head");
    let mut builder = IndexBuilder::new(&head, frame);
    for part in reader {
        let Part::Entry { offset, frame } = part else {
            panic!("{part:?}");
        };
        builder.entry(offset as u64, frame).expect("an entry");
    }
    builder
}

/// What an index says of a topic.
fn look_up(index: &[u8], topic: &str, epoch: &Epoch) -> Result<Option<TopicIndex>, Malformed> {
    let head = IndexHead::read(index)?;
    let part = |part: IndexPart| {
        let from = usize::try_from(part.offset).unwrap_or(usize::MAX);
        let rest = index.get(from..).unwrap_or_default();
        rest.get(..part.bytes).ok_or(Malformed("bytes"))
    };
    let Some(page) = head.page_of(topic, epoch) else {
        return Ok(None);
    };
    for place in head.places_of(part(page)?, topic, epoch)? {
        if let Some(found) = read_topic(part(place)?, topic, epoch)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The messages of a topic that the blocks have.
fn read(bytes: &[u8], topic: &TopicIndex) -> Vec<(u64, u64)> {
    let mut messages = Vec::new();
    for block in &topic.blocks {
        let mut at = usize::try_from(block.offset).expect("an offset");
        let begin = messages.len();
        while at < bytes.len() && (at as u64) < block.offset + BLOCK_BYTES {
            let frame = frame::first(&bytes[at..]).expect("an entry");
            let items = EntryItems::read(frame).expect("an entry");
            for item in items.map(|item| item.expect("an item")) {
                if item.topic == topic.number {
                    messages.push((item.seq.0, item.ts.0));
                }
            }
            at += frame.len();
        }
        assert_eq!(messages.get(begin), Some(&(block.first.0, block.ts.0)));
    }
    messages
}

fn entries() -> impl Strategy<Value = Vec<Vec<Published>>> {
    let length = prop_oneof![9 => 1_u16..200, 1 => 1_u16..=u16::MAX];
    let message = (0_u8..12, prop_oneof![9 => Just(0_u8), 1 => 1_u8..5], length);
    proptest::collection::vec(proptest::collection::vec(message, 0..20), 0..40)
}

proptest! {
    #[test]
    fn an_index_leads_to_each_message_of_a_topic_and_to_no_other(entries in entries()) {
        let (bytes, all) = segment(&entries);
        let builder = index(&bytes);
        let sealed = builder.seal(bytes.len() as u64);
        let head = IndexHead::read(&sealed).expect("a head");
        prop_assert_eq!(head.segment.length, bytes.len() as u64);
        for topic in 0..15 {
            let (name, epoch) = life(topic);
            let expected: Vec<_> = all.iter().filter(|(of, ..)| *of == topic).map(|(_, seq, ts)| (*seq, *ts)).collect();
            let found = look_up(&sealed, &name, &epoch).expect("a whole index");
            prop_assert_eq!(&found, &builder.find(&name, &epoch).expect("one segment"));
            let Some(found) = found else {
                prop_assert!(expected.is_empty());
                continue;
            };
            prop_assert_eq!(found.before, Seq(u64::from(topic)));
            prop_assert_eq!(read(&bytes, &found), expected.clone());
            prop_assert_eq!((found.seqs.0.0, found.times.0.0), expected[0]);
            prop_assert_eq!((found.seqs.1.0, found.times.1.0), *expected.last().expect("a message"));
            for (seq, ts) in &expected {
                let block = found.blocks[found.block_of(Seq(*seq))];
                prop_assert!(block.first.0 <= *seq);
                let from = found.blocks[found.block_from(Micros(*ts))];
                prop_assert!(from.ts.0 < *ts || from == found.blocks[0]);
            }
        }
    }

    #[test]
    fn a_damaged_index_says_so_or_the_truth(
        entries in entries(),
        at in any::<proptest::sample::Index>(),
        change in 1_u8..,
        cut in any::<bool>(),
    ) {
        let (bytes, _) = segment(&entries);
        let builder = index(&bytes);
        let mut sealed = builder.seal(bytes.len() as u64);
        let at = at.index(sealed.len());
        if cut {
            sealed.truncate(at);
        } else {
            sealed[at] ^= change;
        }
        for topic in 0..15 {
            let (name, epoch) = life(topic);
            if let Ok(found) = look_up(&sealed, &name, &epoch) {
                prop_assert_eq!(found, builder.find(&name, &epoch).expect("one segment"));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let epoch = Epoch::from("e0");
        let mut summed = bytes.clone();
        put_sum(&mut summed, 0);
        let _head = look_up(&bytes, "trade.0", &epoch);
        let _topic = read_topic(&summed, "trade.0", &epoch);
    }
}
