//! What systemd is told about the broker (sd_notify(3)): that it is ready, reads its settings again, stops, and lives.
//!
//! Without systemd, `NOTIFY_SOCKET` is not set, and nothing is sent. A message that cannot be sent is logged and changes nothing: the
//! broker serves its clients all the same.

use std::io;
use std::thread;

use sd_notify::NotifyState;
use tickwire_server::Vitals;

/// Tells systemd that the broker takes clients.
pub(crate) fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells systemd that the settings are being read again. [`is_ready`] ends that.
pub(crate) fn reloads() {
    match NotifyState::monotonic_usec_now() {
        // systemd compares the time with that of the request.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd was not told of a reload"),
    }
}

/// Tells systemd that the broker drains and then ends.
pub(crate) fn stops() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "systemd was not told");
    }
}

/// If systemd asks for signs of life (`WatchdogSec=`), gives them from now on, on a thread of its own. There is none while a shard does
/// not answer; systemd then ends the broker and starts it again.
pub(crate) fn watch(vitals: Vitals) -> io::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    // Two signs within the limit, even if the shards take all their time to answer.
    let quarter = limit / 4;
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            loop {
                match vitals.check(quarter) {
                    Ok(()) => tell(&[NotifyState::Watchdog]),
                    Err(error) => tracing::error!(%error, "systemd gets no sign of life"),
                }
                thread::sleep(quarter);
            }
        })?;
    Ok(())
}
