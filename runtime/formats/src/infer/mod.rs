//! Schemas from data, as Spark infers them.

mod csv;
mod json;

pub use csv::infer_csv_schema;
pub use json::infer_json_schema;

#[cfg(test)]
mod tests;
