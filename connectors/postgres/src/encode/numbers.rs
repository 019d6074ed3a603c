//! Booleans, integers, floats.

use arrow::array::{Array as _, ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};

use super::BadCell;
use super::cells::{Values, converted, shown};
use crate::types::Wire;

pub(super) fn bool(array: &ArrayRef) -> Result<Values, BadCell> {
    Ok(Values::One(array.as_boolean().values().iter().map(|value| [u8::from(value)]).collect()))
}

/// The values of a column that has the type already.
fn native<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<&[T::Native]> {
    array.as_primitive_opt::<T>().map(|values| values.values().as_ref())
}

pub(super) fn int(wire: &Wire, array: &ArrayRef, type_name: &str) -> Result<Values, BadCell> {
    match wire {
        Wire::Int2 => {
            if let Some(values) = native::<Int16Type>(array) {
                return Ok(Values::Two(values.iter().map(|value| value.to_be_bytes()).collect()));
            }
            Ok(Values::Two(narrow::<i16, 2>(array, type_name, i16::to_be_bytes)?))
        }
        Wire::Int4 => {
            if let Some(values) = native::<Int32Type>(array) {
                return Ok(Values::Four(values.iter().map(|value| value.to_be_bytes()).collect()));
            }
            Ok(Values::Four(narrow::<i32, 4>(array, type_name, i32::to_be_bytes)?))
        }
        _ => Ok(Values::Eight(narrow::<i64, 8>(array, type_name, i64::to_be_bytes)?)),
    }
}

fn narrow<T: TryFrom<i64> + Default, const N: usize>(
    array: &ArrayRef,
    type_name: &str,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<[u8; N]>, BadCell> {
    let range = |cell: BadCell| BadCell { reason: format!("{} of {type_name}", cell.reason), ..cell };
    let wide = match array.data_type() {
        DataType::Int64 => array.clone(),
        _ => converted(array, &DataType::Int64).map_err(range)?,
    };
    let wide: &PrimitiveArray<Int64Type> = wide.as_primitive();
    let mut out = Vec::with_capacity(wide.len());
    for (row, value) in wide.values().iter().enumerate() {
        match T::try_from(*value) {
            Ok(value) => out.push(bytes(value)),
            Err(_) if wide.is_null(row) => out.push(bytes(T::default())),
            Err(_) => return Err(range(BadCell { row, reason: format!("{value} is out of range") })),
        }
    }
    Ok(out)
}

pub(super) fn float(wire: &Wire, array: &ArrayRef) -> Result<Values, BadCell> {
    if *wire == Wire::Float8 {
        let wide = converted(array, &DataType::Float64)?;
        let values = wide.as_primitive::<Float64Type>();
        return Ok(Values::Eight(values.values().iter().map(|value| value.to_be_bytes()).collect()));
    }
    let narrow = converted(array, &DataType::Float32)?;
    let values = narrow.as_primitive::<Float32Type>();
    if let Some(wide) = native::<Float64Type>(array) {
        let lost = |(row, (wide, narrow)): &(usize, (&f64, &f32))| {
            wide.is_finite() && !narrow.is_finite() && array.is_valid(*row)
        };
        if let Some((row, _)) = wide.iter().zip(values.values()).enumerate().find(lost) {
            return Err(BadCell { row, reason: format!("{} is out of range of real", shown(array, row)) });
        }
    }
    Ok(Values::Four(values.values().iter().map(|value| value.to_be_bytes()).collect()))
}
