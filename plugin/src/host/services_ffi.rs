//! What the host offers to plugins.
#![allow(unsafe_code, reason = "the functions of the C interface, as a host offers them")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use levada_connector_api::{Clock as _, SystemClock, TaskContext};
use serde::{Deserialize, Serialize};

use crate::abi::{Host, MINOR, Str, op};

/// How patient the host is.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an operation may take. Past it, it is cancelled.
    pub operation: Duration,
    /// How long an operation may take to end after it was cancelled. Past it, the instance is put under quarantine: never
    /// called again and never freed.
    pub cancel: Duration,
    /// Whether every value of a batch is checked, and not only the shape of its columns.
    pub validate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { operation: Duration::from_secs(600), cancel: Duration::from_secs(10), validate: false }
    }
}

static SETTINGS: RwLock<Option<Settings>> = RwLock::new(None);

/// Sets how patient the host is with all plugins of the process.
pub fn settings(new: Settings) {
    *SETTINGS.write().unwrap_or_else(PoisonError::into_inner) = Some(new);
    crate::columns_ffi::validate_everything(new.validate);
}

/// How patient the host is.
pub fn patience() -> Settings {
    SETTINGS.read().unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
}

type Metrics = BTreeMap<(String, String), f64>;

static METRICS: Mutex<Metrics> = Mutex::new(BTreeMap::new());
/// A plugin that makes up names must not fill the memory.
const MOST_METRICS: usize = 10_000;

/// What plugins have counted and measured: values by name and labels.
pub fn metrics() -> BTreeMap<(String, String), f64> {
    METRICS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Counts something that the host has to say of plugins.
pub(super) fn count(name: &str, labels: String) {
    said(Said::Metric { kind: op::METRIC_COUNTER, name: name.to_owned(), labels, value: 1.0 });
}

fn record(kind: u32, name: String, labels: String, value: f64) {
    let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    if metrics.len() >= MOST_METRICS && !metrics.contains_key(&(name.clone(), labels.clone())) {
        return;
    }
    let entry = metrics.entry((name, labels)).or_default();
    if kind == op::METRIC_COUNTER { *entry += value } else { *entry = value }
}

/// What a handle's `task` points at. It lives until the handle is destroyed; of one under quarantine, for ever.
#[derive(Default)]
pub(super) struct TaskLink(pub(super) OnceLock<TaskContext>);

/// What a plugin says through the host's functions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Said {
    /// A line of its log.
    Log {
        /// A `LOG` number of the interface.
        level: u32,
        /// The module that says it.
        target: String,
        /// What it says.
        message: String,
        /// A JSON object, or empty.
        fields: String,
    },
    /// Something that it counts or measures.
    Metric {
        /// A `METRIC` number of the interface.
        kind: u32,
        /// Its name.
        name: String,
        /// A JSON object, or empty.
        labels: String,
        /// What is added, or the new value.
        value: f64,
    },
}

impl Said {
    /// Logs it, or counts it, in this process.
    pub fn tell(self) {
        match self {
            Self::Metric { kind, name, labels, value } => record(kind, name, labels, value),
            Self::Log { level, target, message, fields } => match level {
                op::LOG_ERROR => tracing::error!(plugin = target, fields, "{message}"),
                op::LOG_WARN => tracing::warn!(plugin = target, fields, "{message}"),
                op::LOG_INFO => tracing::info!(plugin = target, fields, "{message}"),
                op::LOG_DEBUG => tracing::debug!(plugin = target, fields, "{message}"),
                _ => tracing::trace!(plugin = target, fields, "{message}"),
            },
        }
    }
}

/// Where else than to this process what plugins say goes, and the least level that is wanted there.
struct Diverted {
    level: u32,
    to: Box<dyn Fn(Said) + Send + Sync>,
}

static DIVERTED: OnceLock<Diverted> = OnceLock::new();

/// Sends what plugins of this process say to `to`, from `level` on: for a process that only serves another. The first call
/// counts, and it comes before any library is opened.
pub fn divert(level: u32, to: impl Fn(Said) + Send + Sync + 'static) {
    let _ = DIVERTED.set(Diverted { level, to: Box::new(to) });
}

fn said(said: Said) {
    match DIVERTED.get() {
        Some(diverted) => (diverted.to)(said),
        None => said.tell(),
    }
}

/// The least level that is logged, as a number of the interface.
pub fn log_level() -> u32 {
    use tracing::level_filters::LevelFilter;
    match (DIVERTED.get(), LevelFilter::current()) {
        (Some(diverted), _) => diverted.level,
        (None, LevelFilter::OFF) => 0,
        (None, LevelFilter::ERROR) => op::LOG_ERROR,
        (None, LevelFilter::WARN) => op::LOG_WARN,
        (None, LevelFilter::INFO) => op::LOG_INFO,
        (None, LevelFilter::DEBUG) => op::LOG_DEBUG,
        (None, _) => op::LOG_TRACE,
    }
}

unsafe extern "C" fn log(_: *mut c_void, level: u32, target: Str, message: Str, fields: Str) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: texts that are borrowed for the call.
        let (target, message, fields) = unsafe { (target.text(), message.text(), fields.text()) };
        said(Said::Log { level, target, message, fields });
    }));
}

unsafe extern "C" fn metric(_: *mut c_void, kind: u32, name: Str, labels: Str, value: f64) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: texts that are borrowed for the call.
        let (name, labels) = unsafe { (name.text(), labels.text()) };
        said(Said::Metric { kind, name, labels, value });
    }));
}

/// The context of a task, when it is known.
unsafe fn context<'a>(task: *mut c_void) -> Option<&'a TaskContext> {
    // SAFETY: null, or what `create` was given, which lives as long as the handle.
    unsafe { task.cast_const().cast::<TaskLink>().as_ref() }.and_then(|link| link.0.get())
}

unsafe extern "C" fn now_ms(_: *mut c_void, task: *mut c_void) -> i64 {
    // SAFETY: the task that the plugin was given.
    let now = catch_unwind(AssertUnwindSafe(|| unsafe { context(task) }.map(|context| context.clock.now_ms())));
    now.ok().flatten().unwrap_or_else(|| SystemClock.now_ms())
}

unsafe extern "C" fn fault(_: *mut c_void, task: *mut c_void, point: Str) -> i32 {
    let passed = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the task that the plugin was given, and a text that is borrowed for the call.
        let (context, point) = unsafe { (context(task), point.text()) };
        context.is_none_or(|context| context.faults.at(&point).is_ok())
    }));
    if passed.unwrap_or(false) { op::OK } else { op::RETRIABLE }
}

/// The table that libraries are given. It is the same for all of them.
pub fn host_table() -> &'static Host {
    static TABLE: OnceLock<Host> = OnceLock::new();
    TABLE.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4)) as u32;
        Host {
            struct_size: size_of::<Host>() as u32,
            abi_minor: MINOR,
            features: 0,
            ctx: std::ptr::null_mut(),
            runtime_threads: threads,
            log_level: log_level(),
            log: Some(log),
            metric: Some(metric),
            now_ms: Some(now_ms),
            fault: Some(fault),
        }
    })
}
