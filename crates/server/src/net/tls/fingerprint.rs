//! Tells whether files were replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Tls;

/// The identity of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    len: u64,
    written_s: i64,
    written_ns: i64,
}

/// The identities of the files in `[tls]`, as far as they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([Option<File>; 3]);

impl Fingerprint {
    /// The fingerprint of the files as they are now. A file whose metadata cannot be read counts as missing: its fault
    /// shows when it is read.
    pub(super) fn of(settings: &Tls) -> Self {
        let clients = settings.clients.ca_file();
        Self([
            look(&settings.cert_file),
            look(&settings.key_file),
            clients.and_then(|path| look(path)),
        ])
    }
}

fn look(path: &Path) -> Option<File> {
    let data = fs::metadata(path).ok()?;
    Some(File {
        device: data.dev(),
        inode: data.ino(),
        len: data.len(),
        written_s: data.mtime(),
        written_ns: data.mtime_nsec(),
    })
}
