//! The transform `DecisionTree`.

mod config;
mod counters;
mod output;
mod transform;
mod watch;

pub use config::DecisionTree;
