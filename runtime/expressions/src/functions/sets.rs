//! Functions that make arrays of arrays: without duplicates, sorted, with items added and removed.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, Int64Array, ListArray, make_comparator};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{DataFusionError, exec_err};

use super::Invocation;
use super::cast::{Mode, cast, cast_array};
use super::collection::{array, array_and_value, item_type, picked, range};
use super::room::Room;
use super::time::is_time;
use super::types::list;
use crate::ast::Planned;
use crate::coerce::{Purpose, argument, common, unify};
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "array_distinct",
    "array_compact",
    "array_sort",
    "sort_array",
    "array_remove",
    "array_append",
    "array_prepend",
    "array_insert",
    "array_union",
    "array_intersect",
    "array_except",
    "arrays_overlap",
    "array_repeat",
    "sequence",
];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "array_distinct" | "array_compact" => {
            let [base] = call.exactly()?;
            let base = array(base, &call)?;
            let ty = list(item_type(&base.ty));
            let distinct = call.name == "array_distinct";
            Ok(Typed::call(call.name, &[base], ty, call.span, move |args| {
                let lists = args.array(0)?;
                let lists = lists.as_list::<i32>();
                let values = lists.values();
                let order = make_comparator(values, values, SortOptions::default())?;
                picked(values, lists.len(), |row, out| {
                    let mut own: Vec<usize> = Vec::new();
                    for at in range(lists, row) {
                        let new = || !own.iter().any(|other| order(*other, at).is_eq());
                        if if distinct { new() } else { values.is_valid(at) } {
                            own.push(at);
                        }
                    }
                    out.extend(own.into_iter().map(|at| u32::try_from(at).ok()));
                    Ok(lists.is_valid(row))
                })
            }))
        }
        "array_sort" | "sort_array" => sort(call),
        "array_remove" | "array_append" | "array_prepend" => change(call),
        "array_insert" => insert(call),
        "array_repeat" => repeat(call),
        "sequence" => sequence(call),
        _ => combine(call),
    }
}

fn sort(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(1, 2)?.into_iter();
    let Some(base) = args.next() else { return Err(call.error("arguments are missing")) };
    let base = array(base, &call)?;
    let nulls_last = call.name == "array_sort";
    let ascending = match args.next() {
        None => true,
        Some(_) if nulls_last => return Err(call.error("array_sort with a comparison is not supported")),
        Some(order) => match order.literal {
            Some(datafusion_common::ScalarValue::Boolean(Some(ascending))) => ascending,
            _ => return Err(call.error("the order of sort_array has to be true or false")),
        },
    };
    let ty = list(item_type(&base.ty));
    let name = format!("sort_array({}, {ascending})", base.name);
    let typed = Typed::call(call.name, &[base], ty, call.span, move |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        // Ascending order has nulls first, descending last.
        let options = SortOptions { descending: !ascending, nulls_first: ascending && !nulls_last };
        let order = make_comparator(lists.values(), lists.values(), options)?;
        picked(lists.values(), lists.len(), |row, out| {
            let mut items: Vec<usize> = range(lists, row).collect();
            items.sort_by(|a, b| order(*a, *b));
            out.extend(items.into_iter().map(|at| u32::try_from(at).ok()));
            Ok(lists.is_valid(row))
        })
    });
    Ok(typed.named(name))
}

fn change(mut call: Invocation<'_>) -> Planned<Typed> {
    let (base, value) = array_and_value(&mut call)?;
    let ty = list(item_type(&base.ty));
    let (remove, append) = (call.name == "array_remove", call.name == "array_append");
    Ok(Typed::call(call.name, &[base, value], ty, call.span, move |args| {
        let (lists, added) = (args.array(0)?, args.array(1)?);
        let lists = lists.as_list::<i32>();
        let same = make_comparator(lists.values(), &added, SortOptions::default())?;
        let values = concat(&[lists.values().as_ref(), added.as_ref()])?;
        let base = lists.values().len();
        picked(&values, lists.len(), |row, out| {
            let new = u32::try_from(base + row).ok();
            if !remove && !append {
                out.push(new);
            }
            let keep = |at: &usize| !remove || lists.values().is_null(*at) || same(*at, row) != Ordering::Equal;
            out.extend(range(lists, row).filter(keep).map(|at| u32::try_from(at).ok()));
            if append {
                out.push(new);
            }
            Ok(lists.is_valid(row) && !(remove && added.is_null(row)))
        })
    }))
}

/// An array with an item more. Places count from 1, or from the end; nulls fill what is between the end and the place.
fn insert(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    let [base, place, value] = call.exactly()?;
    let label = crate::typed::call_name(call.name, &[base.clone(), place.clone(), value.clone()]);
    let base = array(base, &call)?;
    let place = argument(place, &DataType::Int32, ansi, call.name)?;
    let one = Typed { ty: list(value.ty.clone()), ..value.clone() };
    let Some(ty) = common(&base.ty, &one.ty, ansi, Purpose::Unify) else {
        let message = format!(
            "[DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES] {} and {} do not go together",
            super::types::sql_name(&base.ty),
            super::types::sql_name(&value.ty)
        );
        return Err(crate::ast::PlanError::new(value.span, message));
    };
    let mode = Mode::of(ansi);
    let args = [cast(base, &ty, mode), place, cast(value, &item_type(&ty), mode)];
    let typed = Typed::call(call.name, &args, ty, span, |args| {
        let (lists, places, added) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let lists = lists.as_list::<i32>();
        let places = places.as_primitive::<arrow::datatypes::Int32Type>();
        let values = concat(&[lists.values().as_ref(), added.as_ref()])?;
        let base = lists.values().len();
        let mut room = Room::default();
        picked(&values, lists.len(), |row, out| {
            if lists.is_null(row) || places.is_null(row) {
                return Ok(false);
            }
            let items = range(lists, row);
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let place = i64::from(places.value(row));
            // How many items stand before the new one; less than none: nulls stand between it and the first.
            let before = match place {
                0 => return exec_err!("[INVALID_INDEX_OF_ZERO] array_insert: places begin with 1"),
                place if place > 0 => place - 1,
                place => count + place + 1,
            };
            room.take(usize::try_from(before.abs().max(count)).unwrap_or(usize::MAX).saturating_mul(8))?;
            let item = |at: usize| u32::try_from(at).ok();
            let new = item(base + row);
            if before < 0 {
                out.push(new);
                out.extend((before..0).map(|_| None));
                out.extend(items.map(item));
                return Ok(true);
            }
            let here = usize::try_from(before.min(count)).unwrap_or(0);
            out.extend(items.clone().take(here).map(item));
            out.extend((count..before).map(|_| None));
            out.push(new);
            out.extend(items.skip(here).map(item));
            Ok(true)
        })
    });
    Ok(typed.fallible().named(label))
}

/// Two arrays as sets.
fn combine(mut call: Invocation<'_>) -> Planned<Typed> {
    let [left, right] = call.exactly()?;
    let (left, right) = (array(left, &call)?, array(right, &call)?);
    let (args, ty) = unify(vec![left, right], call.ansi(), Purpose::Unify, call.span)?;
    let ty = list(item_type(&ty));
    let name = call.name.to_owned();
    let overlap = name == "arrays_overlap";
    let result = if overlap { DataType::Boolean } else { ty };
    Ok(Typed::call(call.name, &args, result, call.span, move |args| {
        let (left, right) = (args.array(0)?, args.array(1)?);
        let (left, right) = (left.as_list::<i32>(), right.as_list::<i32>());
        let values = concat(&[left.values().as_ref(), right.values().as_ref()])?;
        let order = make_comparator(&values, &values, SortOptions::default())?;
        let base = left.values().len();
        let sides = |row: usize| (range(left, row), range(right, row).start + base..range(right, row).end + base);
        let there = |row: usize| left.is_valid(row) && right.is_valid(row);
        if overlap {
            return Ok(overlaps(args.rows, &values, &order, there, sides));
        }
        picked(&values, args.rows, |row, out| {
            let (first, second) = sides(row);
            let mut own: Vec<usize> = Vec::new();
            let candidates: Vec<usize> =
                if name == "array_union" { first.chain(second.clone()).collect() } else { first.collect() };
            for at in candidates {
                let shared = second.clone().any(|other| order(other, at).is_eq());
                let wanted = match name.as_str() {
                    "array_intersect" => shared,
                    "array_except" => !shared,
                    _ => true,
                };
                if wanted && !own.iter().any(|other| order(*other, at).is_eq()) {
                    own.push(at);
                }
            }
            out.extend(own.into_iter().map(|at| u32::try_from(at).ok()));
            Ok(there(row))
        })
    }))
}

fn overlaps(
    rows: usize,
    values: &ArrayRef,
    order: &DynComparator,
    there: impl Fn(usize) -> bool,
    sides: impl Fn(usize) -> (std::ops::Range<usize>, std::ops::Range<usize>),
) -> ArrayRef {
    let overlap = |row: usize| -> Option<bool> {
        if !there(row) {
            return None;
        }
        let (first, second) = sides(row);
        let valid = |at: &usize| values.is_valid(*at);
        if first.clone().filter(valid).any(|a| second.clone().filter(valid).any(|b| order(a, b).is_eq())) {
            return Some(true);
        }
        // With a null on either side nobody knows, unless one side is empty.
        let nulls = first.clone().chain(second.clone()).any(|at| values.is_null(at));
        if nulls && !first.is_empty() && !second.is_empty() { None } else { Some(false) }
    };
    std::sync::Arc::new((0..rows).map(overlap).collect::<arrow::array::BooleanArray>())
}

fn repeat(mut call: Invocation<'_>) -> Planned<Typed> {
    let [value, times] = call.exactly()?;
    let times = argument(times, &DataType::Int32, call.ansi(), call.name)?;
    let ty = list(value.ty.clone());
    let typed = Typed::call("array_repeat", &[value, times], ty, call.span, |args| {
        let (values, times) = (args.array(0)?, args.array(1)?);
        let times = times.as_primitive::<Int32Type>();
        let texts = values.as_string_opt::<i32>();
        let mut room = Room::default();
        picked(&values, args.rows, |row, out| {
            let count = if times.is_valid(row) { usize::try_from(times.value(row)).unwrap_or(0) } else { 0 };
            let length = texts.map_or(8, |texts| texts.value(row).len().max(8));
            room.take(count.saturating_mul(length))?;
            out.extend(std::iter::repeat_n(u32::try_from(row).ok(), count));
            Ok(times.is_valid(row))
        })
    });
    Ok(typed.fallible())
}

/// More items than this are refused, as in Spark.
const MAX_SEQUENCE: i128 = 2_147_483_632;

fn sequence(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(2, 3)?;
    if args.iter().any(|arg| is_time(&arg.ty)) {
        return Err(call.error("sequence is supported for whole numbers only: not for dates and timestamps"));
    }
    let (args, ty) = unify(args, call.ansi(), Purpose::Unify, call.span)?;
    if !ty.is_integer() {
        return Err(call.error("sequence is supported for whole numbers only"));
    }
    let args: Vec<_> = args.into_iter().map(|arg| cast(arg, &DataType::Int64, Mode::Legacy)).collect();
    let result = list(ty.clone());
    let typed = Typed::call("sequence", &args, result.clone(), call.span, move |args| {
        let arrays = args.arrays()?;
        let columns: Vec<&Int64Array> = arrays.iter().map(|array| array.as_primitive()).collect();
        let mut out: Vec<Option<Vec<Option<i64>>>> = Vec::with_capacity(args.rows);
        let mut room = Room::default();
        for row in 0..args.rows {
            if columns.iter().any(|column| column.is_null(row)) {
                out.push(None);
                continue;
            }
            let values: Vec<i64> = columns.iter().map(|column| column.value(row)).collect();
            let (start, stop) = match values.as_slice() {
                [start, stop, ..] => (*start, *stop),
                _ => (0, 0),
            };
            let step = values.get(2).copied().unwrap_or(if stop >= start { 1 } else { -1 });
            let length = (i128::from(stop) - i128::from(start)).checked_div(step.into());
            let Some(length) =
                length.filter(|length| *length >= 0 && *length < MAX_SEQUENCE).or((start == stop).then_some(0))
            else {
                let message = format!("Illegal sequence boundaries: {start} to {stop} by {step}");
                return Err(DataFusionError::Execution(message));
            };
            room.take(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1).saturating_mul(8))?;
            out.push(Some((0..=length as i64).map(|at| Some(start + at * step)).collect()));
        }
        let long: ArrayRef =
            std::sync::Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>(out));
        cast_array(&long, &result, Mode::Legacy)
    });
    Ok(typed.fallible())
}
