//! The text formats of records: schemas in Spark's DDL, JSON and CSV decoders into Arrow, line splitting, schema
//! inference, and the scalar parsing and formatting that they share with SQL casts.
//!
//! The rules are Spark's: [`json`] follows its JSON source and `from_json`, [`csv`] its CSV source, [`scalar`] its casts.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod column;
pub mod converter;
pub mod csv;
pub mod ddl;
pub mod infer;
pub mod json;
mod malformed;
mod rows;
pub mod scalar;
pub mod text;

pub use malformed::{MalformedFields, MalformedRows, Rejected};
