//! The plugin's side: classes as tables of C functions.

mod class_ffi;
mod instance_ffi;
mod logging;
mod operate;
mod services_ffi;

use std::sync::{Arc, OnceLock};

use levada_connector_api::{Sink, SinkPlugin, Source, SourcePlugin, Transform, TransformPlugin};

pub use class_ffi::{Exported, enter, export};
pub(crate) use operate::{state_from_wire, state_to_wire};
pub use services_ffi::{counter, gauge};

/// The plugin's own runtime: its threads have the plugin's thread-locals, and its futures never run on a thread of the
/// host, except for transforms' first step.
fn runtime() -> std::io::Result<&'static tokio::runtime::Runtime> {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let threads = services_ffi::host().map_or(2, |host| host.table.runtime_threads).clamp(1, 64) as usize;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let new = builder.worker_threads(threads).thread_name("levada-plugin").enable_all().build()?;
    // Of two that were made at once, one is used. The other has no work and may go.
    if let Err(other) = RUNTIME.set(new) {
        other.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| std::io::Error::other("the runtime is gone"))
}

#[derive(Clone)]
enum AnyPlugin {
    Source(Arc<dyn SourcePlugin>),
    Transform(Arc<dyn TransformPlugin>),
    Sink(Arc<dyn SinkPlugin>),
}

enum Object {
    Source(Box<dyn Source>),
    Transform(Box<dyn Transform>),
    Sink(Box<dyn Sink>),
}
