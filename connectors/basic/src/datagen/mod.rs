//! A source that generates rows from a seed.
//!
//! Row `i` depends on the seed and on `i` alone: it is hashed from them, never drawn from a running generator. So any
//! row can be generated without the rows before it, and a range gives the same rows however it is cut.

mod cars;
mod columns;
mod config;
mod orders;
mod source;
mod words;

pub use config::{Datagen, Kind, Options};
pub use source::DatagenSource;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use levada_connector_api::Result;

/// What makes the rows of one kind.
trait Generate: Send {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// Rows from number `first` on: `rows` of them, or fewer if they are more than `bytes` together, but at least one.
    /// Answers with their bytes, too.
    fn generate(&self, first: u64, rows: usize, bytes: usize) -> Result<(RecordBatch, usize)>;
}

/// The finalizer of splitmix64: numbers that are near each other become numbers that are not.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The numbers that make one row: as many as are asked for, none depending on another.
#[derive(Clone, Copy)]
struct Draw(u64);

impl Draw {
    /// The numbers of row `row` under `seed`.
    fn row(seed: u64, row: u64) -> Self {
        Self(mix(mix(seed) ^ row))
    }

    /// Number `i` of the row.
    fn get(self, i: u64) -> u64 {
        mix(self.0.wrapping_add(i.wrapping_mul(GOLDEN)))
    }

    /// A number below `bound`, from number `i` of the row.
    fn below(self, i: u64, bound: u64) -> u64 {
        // The high half of the product: no division, and no bias that anybody could see.
        ((u128::from(self.get(i)) * u128::from(bound)) >> 64) as u64
    }
}
