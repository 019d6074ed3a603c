//! Which types meet in which: Spark's implicit casts.

use arrow::datatypes::{DataType, Field, Fields};

use super::ast::{PlanError, Planned, Span};
use super::typed::Typed;
use crate::functions::cast::{Mode, cast, castable};
use crate::functions::decimal::{of_integer, wider};
use crate::functions::types::{list, map, map_parts, sql_name};

/// What the values are brought together for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be compared.
    Compare,
    /// To be values of one column: CASE, COALESCE, ARRAY.
    Unify,
}

/// The type in which values of both types can stand.
pub(crate) fn common(a: &DataType, b: &DataType, ansi: bool, purpose: Purpose) -> Option<DataType> {
    use DataType::{Date32, List, Map, Null, Struct, Timestamp, Utf8};
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (x, y) if x.is_numeric() && y.is_numeric() => numeric(x, y, ansi),
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => Some(Timestamp(*unit, zone.clone())),
        (Timestamp(unit, Some(zone)), Timestamp(_, _)) | (Timestamp(_, _), Timestamp(unit, Some(zone))) => {
            Some(Timestamp(*unit, Some(zone.clone())))
        }
        (Utf8, other) | (other, Utf8) => with_text(other, ansi, purpose),
        // Without ANSI a boolean is compared with a number as 1 or 0.
        (DataType::Boolean, n) | (n, DataType::Boolean) if !ansi && n.is_numeric() && purpose == Purpose::Compare => {
            Some(n.clone())
        }
        (List(x), List(y)) => Some(list(common(x.data_type(), y.data_type(), ansi, purpose)?)),
        (Map(_, _), Map(_, _)) => {
            let ((k1, v1), (k2, v2)) = (map_parts(a)?, map_parts(b)?);
            let key = common(k1.data_type(), k2.data_type(), ansi, purpose)?;
            Some(map(key, common(v1.data_type(), v2.data_type(), ansi, purpose)?))
        }
        (Struct(x), Struct(y)) if x.len() == y.len() => {
            let fields = x.iter().zip(y).map(|(x, y)| {
                let ty = common(x.data_type(), y.data_type(), ansi, purpose)?;
                Some(Field::new(x.name(), ty, true))
            });
            fields.collect::<Option<Vec<_>>>().map(|fields| Struct(Fields::from(fields)))
        }
        _ => None,
    }
}

/// Text meets another type: under ANSI it is read as that type, without it mostly the other becomes text.
fn with_text(other: &DataType, ansi: bool, purpose: Purpose) -> Option<DataType> {
    if ansi {
        return match other {
            ty if ty.is_integer() => Some(DataType::Int64),
            ty if ty.is_numeric() => Some(DataType::Float64),
            DataType::Boolean | DataType::Date32 | DataType::Timestamp(_, _) | DataType::Binary => Some(other.clone()),
            _ => None,
        };
    }
    let atomic = other.is_numeric()
        || matches!(other, DataType::Boolean | DataType::Date32 | DataType::Timestamp(_, _) | DataType::Binary);
    match purpose {
        _ if !atomic => None,
        Purpose::Compare if matches!(other, DataType::Decimal128(_, _)) => Some(DataType::Float64),
        Purpose::Compare => Some(other.clone()),
        Purpose::Unify if matches!(other, DataType::Boolean | DataType::Binary) => None,
        Purpose::Unify => Some(DataType::Utf8),
    }
}

fn rank(ty: &DataType) -> u8 {
    match ty {
        DataType::Int8 => 1,
        DataType::Int16 => 2,
        DataType::Int32 => 3,
        DataType::Int64 => 4,
        DataType::Float32 => 5,
        _ => 6,
    }
}

/// The type of two numbers.
pub(crate) fn numeric(a: &DataType, b: &DataType, ansi: bool) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64};
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (Decimal128(_, _), Float32 | Float64) | (Float32 | Float64, Decimal128(_, _)) => Some(Float64),
        (Decimal128(_, _), _) | (_, Decimal128(_, _)) => {
            let (precision, scale) = wider(of_integer(a)?, of_integer(b)?);
            Some(Decimal128(precision, scale))
        }
        // A float cannot hold every whole number; ANSI minds.
        (Float32, other) | (other, Float32) if ansi && other.is_integer() => Some(Float64),
        _ => Some(if rank(a) >= rank(b) { a.clone() } else { b.clone() }),
    }
}

/// Brings all values to one type.
pub(crate) fn unify(values: Vec<Typed>, ansi: bool, purpose: Purpose, span: Span) -> Planned<(Vec<Typed>, DataType)> {
    let mut ty = DataType::Null;
    for value in &values {
        ty = match common(&ty, &value.ty, ansi, purpose) {
            Some(common) => common,
            None => {
                let message =
                    format!("[DATATYPE_MISMATCH] {} and {} have no common type", sql_name(&ty), sql_name(&value.ty));
                let span = if value.span.end > 0 { value.span } else { span };
                return Err(PlanError::new(span, message).hint("cast one of them"));
            }
        };
    }
    let values = values.into_iter().map(|value| cast(value, &ty, Mode::of(ansi))).collect();
    Ok((values, ty))
}

/// Casts an argument to the type that a function takes, where Spark does so unasked.
pub(crate) fn argument(value: Typed, to: &DataType, ansi: bool, function: &str) -> Planned<Typed> {
    if implicit(&value.ty, to, ansi) {
        return Ok(cast(value, to, Mode::of(ansi)));
    }
    let message = format!(
        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {function} takes a value of type {} here, not {}",
        sql_name(to),
        sql_name(&value.ty)
    );
    Err(PlanError::new(value.span, message).hint("cast it"))
}

/// Whether an argument is cast to the type unasked.
pub(crate) fn implicit(from: &DataType, to: &DataType, ansi: bool) -> bool {
    use DataType::{Binary, Date32, Null, Timestamp, Utf8};
    match (from, to) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Utf8, b) => {
            b.is_numeric()
                || matches!(b, Date32 | Timestamp(_, _) | Binary | DataType::Boolean)
                    && (ansi || *b != DataType::Boolean)
        }
        (a, Utf8) => {
            let atomic = a.is_numeric() || matches!(a, DataType::Boolean | Date32 | Timestamp(_, _) | Binary);
            atomic && castable(a, to, ansi)
        }
        // As a value is assigned to a column: under ANSI one that does not fit is an error of its row.
        (a, b) if a.is_numeric() && b.is_numeric() => true,
        (Date32, Timestamp(_, _)) | (Timestamp(_, _), Date32) | (Timestamp(_, _), Timestamp(_, _)) => true,
        _ => false,
    }
}
