//! The transform `DecisionTree`.

mod config;
mod output;
mod transform;
mod watch;

pub use config::DecisionTree;
