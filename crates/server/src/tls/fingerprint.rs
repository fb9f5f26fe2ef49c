//! What tells files from those that were there before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Tls;

/// Of the files that `[tls]` names: where they lie, how long they are and when they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([Option<(u64, u64, u64, i64, i64)>; 3]);

impl Fingerprint {
    /// That of the files as they are now. One that cannot be looked at is as good as none: what is wrong with it shows
    /// when it is read.
    pub(super) fn of(settings: &Tls) -> Self {
        let look = |path: &Path| {
            let data = fs::metadata(path).ok()?;
            Some((
                data.dev(),
                data.ino(),
                data.len(),
                data.mtime(),
                data.mtime_nsec(),
            ))
        };
        let clients = settings.clients.ca_file();
        Self([
            look(&settings.cert_file),
            look(&settings.key_file),
            clients.and_then(|path| look(path)),
        ])
    }
}
