//! Decision trees in the stream: models of Spark ML, ONNX-ML, XGBoost and LightGBM, scored exactly.
//!
//! [`load`] reads a model, [`Scorer`] scores columns with it, and the transform [`DecisionTree`] does that to every
//! batch that passes.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod draw;
pub mod forest;
mod head;
mod import;
mod model;
mod plugin;
mod prepare;
mod score;
pub mod train;
mod walk;

pub use draw::{describe, draw, svg};
pub use head::{Binary, Head, Lightgbm, Link, Post, Scores};
pub use import::{LARGEST, load, parse, version};
pub use model::{Format, Input, Invalid, Model};
pub use plugin::DecisionTree;
pub use prepare::{Indexer, Labels, Op, Row, Stage};
pub use score::{Ask, Scored, Scorer};

use levada_connector_api::{Registry, Result};

/// Adds the transforms of this crate.
///
/// # Errors
/// One of their names is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_transform(DecisionTree)
}
