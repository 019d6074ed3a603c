//! The library's logs, forwarded to the host: tracing's dispatcher exists once a library.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::services_ffi::host;
use crate::abi::op;

/// Makes this library's events the host's. A subscriber that is there already (the host's own, where both are one binary)
/// stays.
pub(super) fn forward() {
    let _ = tracing::subscriber::set_global_default(Forward(AtomicU64::new(1)));
}

struct Forward(AtomicU64);

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => op::LOG_ERROR,
        Level::WARN => op::LOG_WARN,
        Level::INFO => op::LOG_INFO,
        Level::DEBUG => op::LOG_DEBUG,
        Level::TRACE => op::LOG_TRACE,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.put(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { self.message.push_str(value) } else { self.put(field, value.into()) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        host().is_some_and(|host| number(*metadata.level()) <= host.table.log_level)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(host) = host() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let others = match fields.others.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(&fields.others).unwrap_or_default(),
        };
        host.log(number(*event.metadata().level()), event.metadata().target(), &fields.message, &others);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
