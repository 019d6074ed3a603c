//! The interface between Levada's runtime and its plugins: sources, transforms and sinks.
//!
//! A pipeline is `source → transform → … → sink`. Data flows in *micro-batches*: sequences of Arrow record batches of
//! one schema, each with the half-open [ranges](OffsetRanges) of source offsets that it covers. The runtime drives all
//! plugins of a task from one loop and commits a micro-batch as a whole; the traits here state what it may call when:
//!
//! - [`Source`]: opens at offsets, polls batches, learns of commits;
//! - [`Transform`]: batches in, batches out, with state that the runtime checkpoints;
//! - [`Sink`]: stages rows and makes a micro-batch durable at once.
//!
//! Plugins describe themselves ([`Plugin`], [`SourcePlugin`], [`TransformPlugin`], [`SinkPlugin`]) with a
//! [configuration definition](config::ConfigDef), from which validation and documentation are made.
//! They are found by name in a [`Registry`].
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod batch;
mod capability;
pub mod config;
mod context;
mod dead_letters;
mod error;
pub mod json;
mod lookup;
mod offsets;
mod origin;
mod plugin;
mod registry;
mod sink;
mod source;
mod transform;

#[cfg(feature = "testkit")]
pub mod testkit;

pub use batch::{BadRow, Batch, columns};
pub use capability::{Guarantee, OutputMode, SinkCapabilities, SourceCapabilities};
pub use context::{Clock, FaultHook, Faults, SystemClock, TaskContext};
pub use dead_letters::{DeadLetter, DeadLetterQueue, Stage};
pub use error::{Error, ErrorKind, Result, Retry};
pub use lookup::find_column;
pub use offsets::{Offset, OffsetRange, OffsetRanges, Offsets, Partition, Position};
pub use origin::{Origin, Record, Records};
pub use plugin::{DeadLetterPlugin, Plugin, PluginKind, SinkPlugin, SourcePlugin, TransformPlugin};
pub use registry::Registry;
pub use sink::{Commit, Sink};
pub use source::{PollLimit, PollStatus, Polled, Source};
pub use transform::{
    BatchInfo, BindContext, Bound, Emitted, EventTime, StateImage, StateKind, StateSection, StateStats, Transform,
    WATERMARK, watermark_delay,
};

pub use async_trait::async_trait;
