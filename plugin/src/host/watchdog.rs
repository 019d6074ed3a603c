//! Sees to it that operations end: those that take too long are cancelled, and instances that do not even end then are put
//! under quarantine.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind};

use super::instance_ffi::Shared;
use super::pending_ffi::Pending;
use super::services_ffi::{count, patience};

struct Watchdog {
    watched: Mutex<Vec<Arc<Shared>>>,
    look: Condvar,
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let started = std::thread::Builder::new().name("levada-plugin-watch".to_owned()).spawn(watching);
        if let Err(error) = started {
            tracing::error!(%error, "no thread can be started: plugins have no deadline");
        }
        Watchdog { watched: Mutex::default(), look: Condvar::new() }
    })
}

/// Watches an instance until it is left, or is gone.
pub(super) fn watch(shared: &Arc<Shared>) {
    watchdog().watched.lock().unwrap_or_else(PoisonError::into_inner).push(shared.clone());
}

/// Leaves an instance to its owner. False: it is no longer watched, so the watchdog has ended it.
pub(super) fn leave(shared: &Arc<Shared>) -> bool {
    let mut watched = watchdog().watched.lock().unwrap_or_else(PoisonError::into_inner);
    let found = watched.iter().position(|other| Arc::ptr_eq(other, shared));
    found.map(|i| watched.swap_remove(i)).is_some()
}

/// Something has changed: look soon.
pub(super) fn look() {
    watchdog().look.notify_one();
}

fn watching() {
    let dog = watchdog();
    loop {
        let settings = patience();
        let tick =
            (settings.cancel.min(settings.operation) / 10).clamp(Duration::from_millis(5), Duration::from_millis(500));
        let mut ended = Vec::new();
        let (mut to_cancel, mut to_give_up) = (Vec::new(), Vec::new());
        {
            let watched = dog.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut watched, _) = match dog.look.wait_timeout(watched, tick) {
                Ok(woken) => woken,
                Err(poisoned) => poisoned.into_inner(),
            };
            watched.retain(|shared| {
                let mut busy = shared.busy();
                let Some(busy) = busy.as_mut() else {
                    if shared.is_orphan() {
                        ended.push(shared.clone());
                    }
                    return !shared.is_orphan();
                };
                let now = Instant::now();
                match busy.cancelled {
                    None if now.duration_since(busy.since) > settings.operation || shared.is_orphan() => {
                        busy.cancelled = Some(now);
                        to_cancel.push((shared.clone(), *busy));
                    }
                    Some(since) if now.duration_since(since) > settings.cancel => {
                        shared.quarantine();
                        to_give_up.push((shared.clone(), *busy));
                        return false;
                    }
                    _ => {}
                }
                true
            });
        }
        // The plugin's functions are called without a lock: they may take their time.
        ended.iter().for_each(|shared| shared.destroy());
        for (shared, busy) in to_cancel {
            tracing::warn!("{}: cancelled after {:?}", shared.place(busy.op), busy.since.elapsed());
            shared.cancel(busy.id);
        }
        for (shared, busy) in to_give_up {
            let message = format!(
                "no answer after {:?}, also not to a cancel; the instance is under quarantine",
                busy.since.elapsed()
            );
            tracing::error!("{}: {message}", shared.place(busy.op));
            let labels = serde_json::json!({"class": shared.class_name()}).to_string();
            count("levada_plugin_quarantined", labels);
            // It is never freed: the plugin may still work on it.
            std::mem::forget(shared);
            Pending::give_up(busy.id, Error::new(ErrorKind::Unavailable, message));
        }
    }
}
