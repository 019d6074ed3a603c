//! Fields of structs, items of arrays, values of maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, nullif, take};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion_common::{DataFusionError, Result};

use super::cast::{Mode, cast};
use super::types::{map_parts, sql_name};
use crate::ast::{PlanError, Planned, Span};
use crate::coerce::{Purpose, argument, common};
use crate::resolve::find;
use crate::typed::Typed;

/// `base.name`: a field of a struct, the fields of an array of structs, or the value of a map's key.
pub(crate) fn get(base: Typed, name: &str, span: Span) -> Planned<Typed> {
    let label = format!("{}.{name}", base.name);
    let place = format!(" in '{}'", base.name);
    let typed = match base.ty.clone() {
        DataType::Struct(fields) => {
            let at = find(&fields, name, "field", &place, span)?;
            let ty = fields.get(at).map_or(DataType::Null, |field| field.data_type().clone());
            Typed::call("field", &[base], ty, span, move |args| child(args.array(0)?.as_struct(), at))
        }
        DataType::List(item) => {
            let DataType::Struct(fields) = item.data_type() else { return Err(no_fields(&base, span)) };
            let at = find(fields, name, "field", &place, span)?;
            let ty = fields.get(at).map_or(DataType::Null, |field| field.data_type().clone());
            let field = Arc::new(Field::new("item", ty, true));
            let ty = DataType::List(Arc::clone(&field));
            Typed::call("field", &[base], ty, span, move |args| {
                let array = args.array(0)?;
                let list = array.as_list::<i32>();
                let values = child(list.values().as_struct(), at)?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(Arc::clone(&field), offsets, values, nulls)?))
            })
        }
        DataType::Map(_, _) => {
            let key =
                Typed::literal(datafusion_common::ScalarValue::Utf8(Some(name.to_owned())), name.to_owned(), span);
            index(base, key, true, span)?
        }
        _ => return Err(no_fields(&base, span)),
    };
    Ok(typed.named(label))
}

fn no_fields(base: &Typed, span: Span) -> PlanError {
    let message =
        format!("[INVALID_EXTRACT_BASE_FIELD_TYPE] '{}' is {} and has no fields", base.name, sql_name(&base.ty));
    PlanError::new(span, message).hint("a name with a dot in it needs backticks")
}

/// A struct's column, null where the struct is.
pub(crate) fn child(array: &StructArray, at: usize) -> Result<ArrayRef> {
    let column = array.columns().get(at).ok_or_else(|| DataFusionError::Execution(format!("field {at} is missing")))?;
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => Ok(Arc::clone(column)),
        Some(nulls) => Ok(nullif(column, &BooleanArray::new(!nulls.inner(), None))?),
    }
}

/// `base[index]`: an item of an array, from 0, or the value of a map's key.
pub(crate) fn index(base: Typed, index: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let label = format!("{}[{}]", base.name, index.name);
    let typed = match base.ty.clone() {
        DataType::List(item) => {
            if !index.ty.is_integer() && index.ty != DataType::Null {
                let message =
                    format!("[DATATYPE_MISMATCH] an array is indexed by a whole number, not {}", sql_name(&index.ty));
                return Err(PlanError::new(index.span, message).hint("the first item has index 0"));
            }
            let index = cast(index, &DataType::Int32, Mode::of(ansi));
            let ty = item.data_type().clone();
            Typed::call("item", &[base, index], ty, span, move |args| {
                items(
                    args.array(0)?.as_list::<i32>(),
                    args.array(1)?.as_primitive::<Int32Type>(),
                    Indexing::FromZero { ansi },
                )
            })
            .fallible()
        }
        DataType::Map(_, _) => map_value(base, index, ansi, span)?,
        DataType::Struct(_) => match index.literal_text() {
            Some(name) => return get(base, name, span),
            None => return Err(no_items(&base, span)),
        },
        _ => return Err(no_items(&base, span)),
    };
    Ok(typed.named(label))
}

fn no_items(base: &Typed, span: Span) -> PlanError {
    PlanError::new(
        span,
        format!("[INVALID_EXTRACT_BASE_FIELD_TYPE] '{}' is {}, no array or map", base.name, sql_name(&base.ty)),
    )
}

/// The value of a key, or null.
pub(crate) fn map_value(base: Typed, key: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let Some((key_field, value_field)) = map_parts(&base.ty) else { return Err(no_items(&base, span)) };
    let (key_ty, ty) = (key_field.data_type().clone(), value_field.data_type().clone());
    let key = match common(&key.ty, &key_ty, ansi, Purpose::Compare) {
        Some(common) if common == key_ty => cast(key, &key_ty, Mode::of(ansi)),
        _ => argument(key, &key_ty, ansi, "the map")?,
    };
    Ok(Typed::call("map_value", &[base, key], ty, span, |args| {
        let (maps, wanted) = (args.array(0)?, args.array(1)?);
        let maps = maps.as_map();
        let same = make_comparator(maps.keys(), &wanted, SortOptions::default())?;
        let offsets = maps.value_offsets();
        let find = |row: usize| -> Option<u32> {
            if maps.is_null(row) || wanted.is_null(row) {
                return None;
            }
            let (start, end) = (*offsets.get(row)?, *offsets.get(row + 1)?);
            let at = (start..end).find(|at| same(*at as usize, row).is_eq())?;
            u32::try_from(at).ok()
        };
        let indices: UInt32Array = (0..maps.len()).map(find).collect();
        Ok(take(maps.values(), &indices, None)?)
    }))
}

/// How an array is indexed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Indexing {
    /// `a[0]`; outside is an error under ANSI, otherwise null.
    FromZero { ansi: bool },
    /// `element_at(a, 1)`; negative counts from the end.
    FromOne { ansi: bool },
}

/// The items at the indices.
pub(crate) fn items(list: &ListArray, indices: &arrow::array::Int32Array, indexing: Indexing) -> Result<ArrayRef> {
    let offsets = list.value_offsets();
    let find = |row: usize| -> Result<Option<u32>> {
        if list.is_null(row) || indices.is_null(row) {
            return Ok(None);
        }
        let start = offsets.get(row).copied().unwrap_or_default();
        let length = i64::from(list.value_length(row));
        let index = i64::from(indices.value(row));
        let (at, ansi) = match indexing {
            Indexing::FromZero { ansi } => (index, ansi),
            Indexing::FromOne { .. } if index == 0 => {
                let message = "[INVALID_INDEX_OF_ZERO] the index 0 is invalid: the first item has index 1, the last -1";
                return Err(DataFusionError::Execution(message.into()));
            }
            Indexing::FromOne { ansi } => (if index > 0 { index - 1 } else { length + index }, ansi),
        };
        if (0..length).contains(&at) {
            return Ok(u32::try_from(i64::from(start) + at).ok());
        }
        if !ansi {
            return Ok(None);
        }
        let (condition, hint) = match indexing {
            Indexing::FromZero { .. } => ("INVALID_ARRAY_INDEX", "use get() to get NULL instead"),
            Indexing::FromOne { .. } => ("INVALID_ARRAY_INDEX_IN_ELEMENT_AT", "use try_element_at to get NULL instead"),
        };
        let message =
            format!("[{condition}] the index {index} is out of bounds: the array has {length} elements; {hint}");
        Err(DataFusionError::Execution(message))
    };
    let indices = (0..list.len()).map(find).collect::<Result<UInt32Array>>()?;
    Ok(take(list.values(), &indices, None)?)
}
