//! Functions that look into arrays and maps.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray, StructArray, UInt32Array,
    make_comparator,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, concat as concat_arrays, take};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use datafusion_common::{DataFusionError, Result};

use super::Invocation;
use super::cast::{Mode, cast};
use super::field::{Indexing, items, map_value};
use super::types::{list, list_field, map_parts, sql_name};
use crate::ast::{Planned, Span};
use crate::coerce::{Purpose, argument, common, unify};
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "size",
    "cardinality",
    "array_size",
    "element_at",
    "try_element_at",
    "get",
    "map_keys",
    "map_values",
    "map_entries",
    "map_contains_key",
    "array_contains",
    "array_position",
    "array_max",
    "array_min",
    "array_join",
    "slice",
    "flatten",
];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "size" | "cardinality" | "array_size" => size(call),
        "element_at" | "try_element_at" | "get" => {
            let [base, index] = call.exactly()?;
            if map_parts(&base.ty).is_some() && call.name != "get" {
                return map_value(base, index, ansi, span);
            }
            let base = array(base, &call)?;
            let ty = item_type(&base.ty);
            let index = cast(argument(index, &DataType::Int64, ansi, call.name)?, &DataType::Int32, Mode::of(ansi));
            let indexing = match call.name {
                "get" => Indexing::FromZero { ansi: false },
                "element_at" => Indexing::FromOne { ansi },
                _ => Indexing::FromOne { ansi: false },
            };
            let typed = Typed::call(call.name, &[base, index], ty, span, move |args| {
                items(args.array(0)?.as_list::<i32>(), args.array(1)?.as_primitive::<Int32Type>(), indexing)
            });
            Ok(typed.fallible())
        }
        "map_keys" | "map_values" => {
            let [base] = call.exactly()?;
            let Some((key, value)) = map_parts(&base.ty) else { return Err(no_map(&base, &call)) };
            let keys = call.name == "map_keys";
            let field = list_field(if keys { key } else { value }.data_type().clone());
            Ok(Typed::call(call.name, &[base], DataType::List(Arc::clone(&field)), span, move |args| {
                let maps = args.array(0)?;
                let maps = maps.as_map();
                let values = Arc::clone(if keys { maps.keys() } else { maps.values() });
                let nulls = maps.nulls().cloned();
                Ok(Arc::new(ListArray::try_new(Arc::clone(&field), maps.offsets().clone(), values, nulls)?))
            }))
        }
        "map_entries" => {
            let [base] = call.exactly()?;
            let Some((key, value)) = map_parts(&base.ty) else { return Err(no_map(&base, &call)) };
            let fields = Fields::from(vec![
                Field::new("key", key.data_type().clone(), false),
                Field::new("value", value.data_type().clone(), true),
            ]);
            let field = list_field(DataType::Struct(fields.clone()));
            Ok(Typed::call("map_entries", &[base], DataType::List(Arc::clone(&field)), span, move |args| {
                let maps = args.array(0)?;
                let maps = maps.as_map();
                let columns = vec![Arc::clone(maps.keys()), Arc::clone(maps.values())];
                let values = Arc::new(StructArray::try_new(fields.clone(), columns, None)?);
                let nulls = maps.nulls().cloned();
                Ok(Arc::new(ListArray::try_new(Arc::clone(&field), maps.offsets().clone(), values, nulls)?))
            }))
        }
        "map_contains_key" => {
            let [base, key] = call.exactly()?;
            let Some((key_field, _)) = map_parts(&base.ty) else { return Err(no_map(&base, &call)) };
            let key_ty = key_field.data_type().clone();
            let key = argument(key, &key_ty, ansi, call.name)?;
            Ok(Typed::call(call.name, &[base, key], DataType::Boolean, span, |args| {
                let (maps, wanted) = (args.array(0)?, args.array(1)?);
                let maps = maps.as_map();
                let same = make_comparator(maps.keys(), &wanted, SortOptions::default())?;
                let ranges = maps.value_offsets().windows(2).enumerate();
                let contains = |(row, ends): (usize, &[i32])| match ends {
                    [start, end] if maps.is_valid(row) && wanted.is_valid(row) => {
                        Some((*start..*end).any(|at| same(at as usize, row).is_eq()))
                    }
                    _ => None,
                };
                Ok(Arc::new(ranges.map(contains).collect::<BooleanArray>()))
            }))
        }
        "array_contains" | "array_position" => search(call),
        "array_max" | "array_min" => extreme(call),
        "array_join" => join(call),
        "slice" => slice(call),
        _ => flatten(call),
    }
}

fn no_map(value: &Typed, call: &Invocation<'_>) -> crate::ast::PlanError {
    let message =
        format!("[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes a map, not {}", call.name, sql_name(&value.ty));
    crate::ast::PlanError::new(value.span, message)
}

/// An argument that has to be an array.
pub(super) fn array(value: Typed, call: &Invocation<'_>) -> Planned<Typed> {
    match value.ty {
        DataType::List(_) => Ok(value),
        DataType::Null => Ok(cast(value, &list(DataType::Null), Mode::Legacy)),
        _ => {
            let message = format!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes an array, not {}",
                call.name,
                sql_name(&value.ty)
            );
            Err(crate::ast::PlanError::new(value.span, message))
        }
    }
}

/// The type of an array's items.
pub(super) fn item_type(ty: &DataType) -> DataType {
    match ty {
        DataType::List(item) => item.data_type().clone(),
        _ => DataType::Null,
    }
}

fn size(mut call: Invocation<'_>) -> Planned<Typed> {
    let [value] = call.exactly()?;
    let value = if map_parts(&value.ty).is_some() && call.name != "array_size" { value } else { array(value, &call)? };
    // Without ANSI the size of null is -1, as in Hive.
    let missing = if call.ansi() || call.name == "array_size" { None } else { Some(-1) };
    Ok(Typed::call(call.name, &[value], DataType::Int32, call.span, move |args| {
        let array = args.array(0)?;
        let offsets = match array.as_map_opt() {
            Some(maps) => maps.value_offsets(),
            None => array.as_list::<i32>().value_offsets(),
        };
        let size = |(row, ends): (usize, &[i32])| match ends {
            [start, end] if array.is_valid(row) => Some(end - start),
            _ => missing,
        };
        Ok(Arc::new(offsets.windows(2).enumerate().map(size).collect::<Int32Array>()))
    }))
}

/// An array and a value of its items' type.
pub(super) fn array_and_value(call: &mut Invocation<'_>) -> Planned<(Typed, Typed)> {
    let [base, value] = call.exactly()?;
    let base = array(base, call)?;
    let (ansi, span) = (call.ansi(), call.span);
    let Some(ty) = common(&item_type(&base.ty), &value.ty, ansi, Purpose::Unify) else {
        let message = format!(
            "[DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES] {}: an array of {} and a value of {}",
            call.name,
            sql_name(&item_type(&base.ty)),
            sql_name(&value.ty)
        );
        return Err(crate::ast::PlanError::new(span, message).hint("cast the value"));
    };
    Ok((cast(base, &list(ty.clone()), Mode::of(ansi)), cast(value, &ty, Mode::of(ansi))))
}

fn search(mut call: Invocation<'_>) -> Planned<Typed> {
    if call.args.get(1).is_some_and(|value| value.ty == DataType::Null) {
        return Err(call.error(format!("[DATATYPE_MISMATCH.NULL_TYPE] {} cannot look for NULL", call.name)));
    }
    let (base, value) = array_and_value(&mut call)?;
    let contains = call.name == "array_contains";
    let ty = if contains { DataType::Boolean } else { DataType::Int64 };
    Ok(Typed::call(call.name, &[base, value], ty, call.span, move |args| {
        let (lists, wanted) = (args.array(0)?, args.array(1)?);
        let lists = lists.as_list::<i32>();
        let same = make_comparator(lists.values(), &wanted, SortOptions::default())?;
        // The position among the items, 0 if it is not there, and whether there are nulls.
        let find = |(row, ends): (usize, &[i32])| -> Option<(i64, bool)> {
            let [start, end] = ends else { return None };
            if lists.is_null(row) || wanted.is_null(row) {
                return None;
            }
            let found =
                (*start..*end).position(|at| lists.values().is_valid(at as usize) && same(at as usize, row).is_eq());
            let nulls = (*start..*end).any(|at| lists.values().is_null(at as usize));
            Some((found.map_or(0, |at| at as i64 + 1), nulls))
        };
        let found = lists.value_offsets().windows(2).enumerate().map(find);
        Ok(if contains {
            let answer = |found: Option<(i64, bool)>| match found? {
                (0, true) => None,
                (at, _) => Some(at > 0),
            };
            Arc::new(found.map(answer).collect::<BooleanArray>()) as ArrayRef
        } else {
            Arc::new(found.map(|found| found.map(|(at, _)| at)).collect::<Int64Array>())
        })
    }))
}

fn extreme(mut call: Invocation<'_>) -> Planned<Typed> {
    let [base] = call.exactly()?;
    let base = array(base, &call)?;
    let ty = item_type(&base.ty);
    let max = call.name == "array_max";
    Ok(Typed::call(call.name, &[base], ty, call.span, move |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        let values = lists.values();
        let order = make_comparator(values, values, SortOptions::default())?;
        let best = |(row, ends): (usize, &[i32])| -> Option<u32> {
            let [start, end] = ends else { return None };
            let valid = (*start..*end).map(|at| at as usize).filter(|at| lists.is_valid(row) && values.is_valid(*at));
            let best = if max { valid.max_by(|a, b| order(*a, *b)) } else { valid.min_by(|a, b| order(*a, *b)) };
            best.and_then(|at| u32::try_from(at).ok())
        };
        let indices: UInt32Array = lists.value_offsets().windows(2).enumerate().map(best).collect();
        Ok(take(values, &indices, None)?)
    }))
}

fn join(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, 3)?.into_iter();
    let (ansi, text) = (call.ansi(), list(DataType::Utf8));
    let mut typed = Vec::with_capacity(3);
    if let Some(base) = args.next() {
        typed.push(cast(array(base, &call)?, &text, Mode::of(ansi)));
    }
    for arg in args {
        typed.push(argument(arg, &DataType::Utf8, ansi, call.name)?);
    }
    let replaces = typed.len() == 3;
    Ok(Typed::call("array_join", &typed, DataType::Utf8, call.span, move |args| {
        let (lists, separators) = (args.array(0)?, args.array(1)?);
        let (lists, separators) = (lists.as_list::<i32>(), separators.as_string::<i32>());
        let replacements = if replaces { Some(args.array(2)?) } else { None };
        let joined = |row: usize| -> Option<String> {
            let replacement = match replacements.as_ref().map(|array| array.as_string::<i32>()) {
                Some(replacements) if replacements.is_null(row) => return None,
                Some(replacements) => Some(replacements.value(row)),
                None => None,
            };
            if lists.is_null(row) || separators.is_null(row) {
                return None;
            }
            let items = lists.value(row);
            let items: Vec<&str> = items.as_string::<i32>().iter().filter_map(|item| item.or(replacement)).collect();
            Some(items.join(separators.value(row)))
        };
        Ok(Arc::new((0..args.rows).map(joined).collect::<StringArray>()))
    }))
}

/// A list array of the items that `select` picks for each row; `None` is a null row.
pub(super) fn picked(
    values: &ArrayRef,
    rows: usize,
    mut select: impl FnMut(usize, &mut Vec<Option<u32>>) -> Result<bool>,
) -> Result<ArrayRef> {
    let mut indices = Vec::new();
    let mut lengths = Vec::with_capacity(rows);
    let mut valid = Vec::with_capacity(rows);
    for row in 0..rows {
        let before = indices.len();
        valid.push(select(row, &mut indices)?);
        lengths.push(indices.len() - before);
    }
    let values = take(values, &UInt32Array::from(indices), None)?;
    let field = list_field(values.data_type().clone());
    let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

/// The indices of a row's items.
pub(super) fn range(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = lists.value_offsets();
    match (offsets.get(row), offsets.get(row + 1)) {
        (Some(start), Some(end)) => *start as usize..*end as usize,
        _ => 0..0,
    }
}

/// The array, last item first.
pub(super) fn reverse(value: Typed, span: Span) -> Planned<Typed> {
    let ty = list(item_type(&value.ty));
    Ok(Typed::call("reverse", &[value], ty, span, |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        picked(lists.values(), lists.len(), |row, out| {
            out.extend(range(lists, row).rev().map(|at| u32::try_from(at).ok()));
            Ok(lists.is_valid(row))
        })
    }))
}

/// Arrays one after the other.
pub(super) fn concat(call: Invocation<'_>, args: Vec<Typed>) -> Planned<Typed> {
    let (args, ty) = unify(args, call.ansi(), Purpose::Unify, call.span)?;
    let DataType::List(_) = ty else { return Err(call.error("arrays and other values cannot be concatenated")) };
    let ty = list(item_type(&ty));
    Ok(Typed::call("concat", &args, ty, call.span, |args| {
        let arrays = args.arrays()?;
        let lists: Vec<&ListArray> = arrays.iter().map(|array| array.as_list::<i32>()).collect();
        let parts: Vec<&dyn Array> = lists.iter().map(|list| list.values().as_ref()).collect();
        let values = concat_arrays(&parts)?;
        picked(&values, args.rows, |row, out| {
            let mut base = 0;
            for lists in &lists {
                out.extend(range(lists, row).map(|at| u32::try_from(base + at).ok()));
                base += lists.values().len();
            }
            Ok(lists.iter().all(|lists| lists.is_valid(row)))
        })
    }))
}

fn slice(mut call: Invocation<'_>) -> Planned<Typed> {
    let [base, start, length] = call.exactly()?;
    let base = array(base, &call)?;
    let ansi = call.ansi();
    let ty = list(item_type(&base.ty));
    let args =
        [base, argument(start, &DataType::Int32, ansi, "slice")?, argument(length, &DataType::Int32, ansi, "slice")?];
    let typed = Typed::call("slice", &args, ty, call.span, |args| {
        let (lists, start, length) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let (lists, start, length) =
            (lists.as_list::<i32>(), start.as_primitive::<Int32Type>(), length.as_primitive::<Int32Type>());
        picked(lists.values(), lists.len(), |row, out| {
            if lists.is_null(row) || start.is_null(row) || length.is_null(row) {
                return Ok(false);
            }
            let all = range(lists, row);
            let (from, count) = (start.value(row), length.value(row));
            if from == 0 || count < 0 {
                let (what, condition) = if from == 0 { ("start 0", "START") } else { ("negative length", "LENGTH") };
                let message = format!("[INVALID_PARAMETER_VALUE.{condition}] slice: the {what} is invalid");
                return Err(DataFusionError::Execution(message));
            }
            let skip =
                if from > 0 { Some(from as usize - 1) } else { all.len().checked_sub(from.unsigned_abs() as usize) };
            if let Some(skip) = skip {
                out.extend(all.skip(skip).take(count as usize).map(|at| u32::try_from(at).ok()));
            }
            Ok(true)
        })
    });
    Ok(typed.fallible())
}

fn flatten(mut call: Invocation<'_>) -> Planned<Typed> {
    let [base] = call.exactly()?;
    let inner = item_type(&base.ty);
    let DataType::List(_) = inner else {
        let message = format!("[DATATYPE_MISMATCH] flatten takes an array of arrays, not {}", sql_name(&base.ty));
        return Err(call.error(message));
    };
    Ok(Typed::call("flatten", &[base], list(item_type(&inner)), call.span, |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        let inner = lists.values().as_list::<i32>();
        picked(inner.values(), lists.len(), |row, out| {
            let mut valid = lists.is_valid(row);
            for at in range(lists, row) {
                valid &= inner.is_valid(at);
                out.extend(range(inner, at).map(|at| u32::try_from(at).ok()));
            }
            Ok(valid)
        })
    }))
}
