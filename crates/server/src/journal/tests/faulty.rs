//! A disk in memory that fails, is full, and loses power.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::journal::disk::{Disk, DiskFile, ReadFile};

/// The bytes that a disk writes as one.
const BLOCK: usize = 512;

/// The content of a file.
#[derive(Debug, Clone, Default)]
struct Content {
    /// As programs see it.
    now: Vec<u8>,
    /// As it is after a loss of power, but for blocks that happen to be written.
    synced: Vec<u8>,
}

#[derive(Debug)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    random: ChaCha8Rng,
    /// In how many of 100 calls something fails.
    faults: u32,
    /// The bytes that still fit.
    room: Option<usize>,
    fails_to_sync: bool,
}

/// A directory on such a disk.
#[derive(Debug, Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
}

impl FaultyDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            faults: 0,
            room: None,
            fails_to_sync: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with it")
    }

    /// In how many of 100 calls something fails from now on, and how many bytes still fit.
    pub(super) fn fails(&self, faults: u32, room: Option<usize>) {
        let mut state = self.lock();
        (state.faults, state.room) = (faults, room);
    }

    /// Whether syncs fail from now on.
    pub(super) fn fails_to_sync(&self, fails: bool) {
        self.lock().fails_to_sync = fails;
    }

    /// Loses power: of what is not synced any part may be there, in blocks, and what is not may be zeros.
    pub(super) fn lose_power(&self) {
        let state = &mut *self.lock();
        if state.random.random_bool(0.5) {
            state.names = state.synced_names.clone();
        }
        for content in &mut state.files {
            let (old, new) = (&content.synced, &content.now);
            let length = match state.random.random_range(0..3) {
                0 => old.len(),
                1 => new.len(),
                _ => state
                    .random
                    .random_range(old.len().min(new.len())..=old.len().max(new.len())),
            };
            let mut after = vec![0; length];
            for (at, block) in after.chunks_mut(BLOCK).enumerate() {
                let from = if state.random.random_bool(0.5) { new } else { old };
                let from = from.get(at * BLOCK..).unwrap_or_default();
                let count = from.len().min(block.len());
                block[..count].copy_from_slice(&from[..count]);
            }
            *content = Content {
                synced: after.clone(),
                now: after,
            };
        }
        state.synced_names = state.names.clone();
    }

    /// Changes a byte of a file.
    pub(super) fn damage(&self, name: &str, at: usize) {
        let state = &mut *self.lock();
        let file = state.names[name];
        state.files[file].now[at] ^= 1;
    }
}

impl State {
    fn fault(&mut self) -> io::Result<()> {
        if self.faults > 0 && self.random.next_u32() % 100 < self.faults {
            return Err(io::Error::other("a fault of the disk"));
        }
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        Ok(state.files[state.file(name)?].now.clone())
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn ReadFile>> {
        let file = self.lock().file(name)?;
        let disk = self.clone();
        Ok(Arc::new(FaultyFile { disk, file }))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.read(name)?.len() as u64)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = &mut *self.lock();
        state.fault()?;
        let next = state.files.len();
        let file = *state.names.entry(name.to_owned()).or_insert(next);
        if file == next {
            state.files.push(Content::default());
        }
        let disk = self.clone();
        Ok(Arc::new(FaultyFile { disk, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.fault()?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.fault()?;
        state.file(name)?;
        state.names.remove(name);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let state = &mut *self.lock();
        if state.fails_to_sync {
            return Err(io::Error::other("the names are not synced"));
        }
        state.synced_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.disk.lock();
        let offset = usize::try_from(offset).expect("a short file");
        let mut count = bytes.len();
        if state.fault().is_err() && count > 1 {
            // A fault here writes a part, and the next call may fail.
            count = state.random.random_range(1..count);
        } else {
            state.fault()?;
        }
        if let Some(room) = &mut state.room {
            count = count.min(*room);
            *room -= count;
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
        }
        let content = &mut state.files[self.file].now;
        let end = content.len().max(offset + count);
        content.resize(end, 0);
        content[offset..offset + count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        state.fault()?;
        let length = usize::try_from(length).expect("a short file");
        state.files[self.file].now.resize(length, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        if state.fails_to_sync {
            return Err(io::Error::other("it is not synced"));
        }
        let content = &mut state.files[self.file];
        content.synced = content.now.clone();
        Ok(())
    }
}

impl ReadFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.lock().files[self.file].now.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.lock().files[self.file]
            .now
            .len()
            .try_into()
            .map_err(io::Error::other)
    }
}
