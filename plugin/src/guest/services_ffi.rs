//! The host's services, as a plugin uses them.
#![allow(unsafe_code, reason = "the host's functions are called here")]

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use levada_connector_api::{Clock, Error, ErrorKind, Faults, SystemClock, TaskContext};

use super::logging;
use crate::abi::{Host, Str, op};
use crate::wire::ContextWire;

pub(super) struct HostRef {
    pub(super) table: Host,
}

static HOST: OnceLock<HostRef> = OnceLock::new();

/// Keeps the host's table, and sends this library's logs to it. The first host stays.
pub(super) fn set_host(table: Host) {
    if HOST.set(HostRef { table }).is_ok() {
        logging::forward();
    }
}

pub(super) fn host() -> Option<&'static HostRef> {
    HOST.get()
}

impl HostRef {
    pub(super) fn log(&self, level: u32, target: &str, message: &str, fields: &[u8]) {
        if let Some(log) = self.table.log {
            let (target, message) = (Str::of(target.as_bytes()), Str::of(message.as_bytes()));
            // SAFETY: the host's function with the host's context; the texts are borrowed for the call.
            unsafe { log(self.table.ctx, level, target, message, Str::of(fields)) };
        }
    }

    fn metric(&self, kind: u32, name: &str, labels: &[(&str, &str)], value: f64) {
        if let Some(metric) = self.table.metric {
            let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
            let labels = if labels.is_empty() { Vec::new() } else { serde_json::to_vec(&labels).unwrap_or_default() };
            // SAFETY: the host's function with the host's context; the texts are borrowed for the call.
            unsafe { metric(self.table.ctx, kind, Str::of(name.as_bytes()), Str::of(&labels), value) };
        }
    }
}

/// Adds to a counter of the host.
pub fn counter(name: &str, labels: &[(&str, &str)], added: f64) {
    if let Some(host) = host() {
        host.metric(op::METRIC_COUNTER, name, labels, added);
    }
}

/// Sets a gauge of the host.
pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) {
    if let Some(host) = host() {
        host.metric(op::METRIC_GAUGE, name, labels, value);
    }
}

/// The host's task, for the host's functions. It lives at least as long as the handle.
#[derive(Clone, Copy)]
pub(super) struct Task(pub(super) *mut c_void);

// SAFETY: the host's functions take the task on any thread.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

struct HostClock(Task);

impl Clock for HostClock {
    fn now_ms(&self) -> i64 {
        match host().and_then(|host| Some((host.table.ctx, host.table.now_ms?))) {
            // SAFETY: the host's function with its context and the handle's task.
            Some((ctx, now)) => unsafe { now(ctx, self.0.0) },
            None => SystemClock.now_ms(),
        }
    }
}

pub(super) fn context(wire: ContextWire, task: Task) -> TaskContext {
    let fault = host().and_then(|host| Some((Task(host.table.ctx), host.table.fault?)));
    let faults = match fault {
        None => Faults::none(),
        Some((ctx, fault)) => Faults::hook(move |point| {
            // The whole of both, not their pointers alone, must be taken along.
            let (ctx, task): (&Task, &Task) = (&ctx, &task);
            // SAFETY: the host's function with its context and the handle's task.
            match unsafe { fault(ctx.0, task.0, Str::of(point.as_bytes())) } {
                op::OK => Ok(()),
                _ => Err(Error::new(ErrorKind::Unavailable, format!("the fault point {point} failed"))),
            }
        }),
    };
    TaskContext {
        pipeline: wire.pipeline,
        checkpoint: wire.checkpoint,
        task: wire.task,
        tasks: wire.tasks,
        epoch: wire.epoch,
        tolerant: wire.tolerant,
        pending: wire.pending,
        clock: Arc::new(HostClock(task)),
        faults,
    }
}
