//! Checks again and again whether the files of the identity have changed, and reloads them if so.
//!
//! Certificate and key are two files that may be replaced one after the other. So a change counts only once nothing has
//! changed for one turn. An unusable change is reported once; the next change is tried again. A check is three `stat`
//! calls on the calling thread. The task never ends by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::fingerprint::Fingerprint;
use super::store::TlsStore;

/// The time between two checks. A change takes effect after two of them, within three.
const EVERY: Duration = Duration::from_millis(250);

/// Keeps `store` up to date with its files until the future is dropped.
pub(crate) async fn watch(store: Arc<TlsStore>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (_, mut loaded) = store.files();
    let (mut tried, mut before) = (loaded, loaded);
    loop {
        tick.tick().await;
        let (settings, shown) = store.files();
        if shown != loaded {
            // Something else has reloaded the files.
            (loaded, tried) = (shown, shown);
        }
        let now = Fingerprint::of(&settings);
        if now == before && now != tried {
            // If another identity was installed meanwhile, the files are compared with that one from now on.
            tried = if reload(&store) { now } else { store.files().1 };
        }
        before = now;
    }
}

/// Reloads the files and logs the result. Returns `false` if another identity was installed meanwhile.
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
