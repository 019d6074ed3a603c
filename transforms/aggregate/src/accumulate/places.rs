//! Where a hash table of Spark's keeps a value: of values that are as frequent, `mode` gives the one met first there.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use levada_expressions::murmur;

/// The places of values in a table with as many entries as `entries`. Values that collide have one place.
pub(super) fn places(values: &ArrayRef, entries: usize) -> Vec<u32> {
    // The table begins with 64 places, and has twice as many when seven tenths are taken.
    let mut size = 64usize;
    while entries as f64 > size as f64 * 0.7 {
        size *= 2;
    }
    let mask = u32::try_from(size - 1).unwrap_or(u32::MAX);
    let place = |row: usize| spread(hash(values, row)) & mask;
    (0..values.len()).map(place).collect()
}

/// The last step of Murmur3 over one word, seed 0: hashes of neighbours are neighbours otherwise.
fn spread(hash: i32) -> u32 {
    murmur(&hash.to_le_bytes(), 0)
}

fn long(value: i64) -> i32 {
    (value ^ (value >> 32)) as i32
}

/// Scala's hash of a decimal: that of the number in the first of int, long, float and double that holds it.
fn decimal(unscaled: i128, scale: i32) -> i32 {
    let divisor = 10i128.checked_pow(scale.unsigned_abs()).unwrap_or(i128::MAX);
    if unscaled % divisor == 0 {
        let whole = unscaled / divisor;
        return match (i32::try_from(whole), i64::try_from(whole)) {
            (Ok(int), _) => int,
            (_, Ok(value)) => long(value),
            _ => 0,
        };
    }
    let value = unscaled as f64 / divisor as f64;
    match value as f32 {
        float if f64::from(float) == value => float.to_bits().cast_signed(),
        _ => long(value.to_bits().cast_signed()),
    }
}

/// Java's hash of a boxed value.
fn hash(values: &ArrayRef, row: usize) -> i32 {
    match values.data_type() {
        DataType::Boolean => {
            if values.as_boolean().value(row) {
                1231
            } else {
                1237
            }
        }
        DataType::Int8 => values.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => values.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => values.as_primitive::<Int32Type>().value(row),
        DataType::Date32 => values.as_primitive::<Date32Type>().value(row),
        DataType::Int64 => long(values.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(_, _) => long(values.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Float32 => values.as_primitive::<Float32Type>().value(row).to_bits().cast_signed(),
        DataType::Float64 => long(values.as_primitive::<Float64Type>().value(row).to_bits().cast_signed()),
        DataType::Utf8 => murmur(values.as_string::<i32>().value(row).as_bytes(), 42).cast_signed(),
        DataType::Decimal128(_, scale) => {
            decimal(values.as_primitive::<Decimal128Type>().value(row), i32::from(*scale))
        }
        // Of other types the smallest value is as good as any.
        _ => 0,
    }
}
