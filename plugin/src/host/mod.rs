//! The host's side: plugins from tables.
//!
//! A [`Link`] is the way to a class: [`DirectClass`] calls its table; a loader may put a process between. [`add_to`]
//! makes ordinary plugins of it.

mod class_ffi;
mod instance_ffi;
mod link;
mod pending_ffi;
mod plugin;
mod services_ffi;
mod sink;
mod source;
mod transform;
mod watchdog;

pub use crate::columns_ffi::Crossing;
pub use class_ffi::{DirectClass, classes_of};
pub use link::{Answer, Instance, Link};
pub use plugin::{ClassInfo, add_to};
pub use services_ffi::{Said, Settings, divert, host_table, log_level, metrics, patience, settings};
pub use transform::wait;

use levada_connector_api::{Error, TaskContext};

use crate::wire::{ContextWire, ErrorWire};

/// An error from its parts, as another process has told them.
pub fn error_from_parts(kind: &str, retry: &str, message: String, hint: Option<String>, places: Vec<String>) -> Error {
    let wire = ErrorWire { kind: kind.to_owned(), retry: retry.to_owned(), hint, context: places };
    crate::wire::from_wire(crate::abi::op::FATAL, &message, wire)
}

fn context_wire(context: &TaskContext) -> ContextWire {
    ContextWire {
        pipeline: context.pipeline.clone(),
        checkpoint: context.checkpoint.clone(),
        task: context.task,
        tasks: context.tasks,
        epoch: context.epoch,
        tolerant: context.tolerant,
        pending: context.pending,
    }
}
