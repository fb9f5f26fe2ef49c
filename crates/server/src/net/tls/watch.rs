//! Looks again and again whether the files of the identity have changed, and has them read when they have.
//!
//! Certificate and key are two files and may be replaced one after the other, so a change counts once nothing has changed
//! for a turn. A change that cannot be used is said once; the next change is tried again. Looking is three `stat` calls, made on the
//! calling thread. Never ends by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::fingerprint::Fingerprint;
use super::store::TlsStore;

/// Time between two looks. What has changed is shown after two of them, within three.
const EVERY: Duration = Duration::from_millis(250);

/// Keeps `store` up to date with its files until it is dropped.
pub(crate) async fn watch(store: Arc<TlsStore>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (_, mut loaded) = store.files();
    let (mut tried, mut before) = (loaded, loaded);
    loop {
        tick.tick().await;
        let (settings, shown) = store.files();
        if shown != loaded {
            // Someone else had the files read.
            (loaded, tried) = (shown, shown);
        }
        let now = Fingerprint::of(&settings);
        if now == before && now != tried {
            // If another identity came meanwhile, it is that one which the files may differ from.
            tried = if reload(&store) { now } else { store.files().1 };
        }
        before = now;
    }
}

/// Returns whether what was read, good or bad, was weighed against what is shown.
fn reload(store: &TlsStore) -> bool {
    match store.reload() {
        Ok(true) => tracing::info!("the TLS certificate was replaced: new connections are shown the new one"),
        Ok(false) => return false,
        Err(error) => tracing::error!(
            %error,
            "the TLS files have changed and cannot be used; new connections are still shown the certificate from before"
        ),
    }
    true
}
