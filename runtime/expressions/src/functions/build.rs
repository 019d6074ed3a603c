//! Functions that make arrays, maps and structs of values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray, UInt32Array, make_comparator};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{DataFusionError, Result};
use datafusion_physical_expr::expressions::Column;

use super::Invocation;
use super::cast::display;
use super::collection::{array, item_type, picked, range};
use super::types::{list, map, map_parts};
use crate::ast::Planned;
use crate::coerce::{Purpose, argument, unify};
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] =
    &["array", "map", "struct", "named_struct", "map_from_arrays", "map_from_entries", "map_concat", "arrays_zip"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "array" => {
            let args = call.between(0, usize::MAX)?;
            let (args, ty) = unify(args, call.ansi(), Purpose::Unify, call.span)?;
            let ty = list(ty);
            if args.is_empty() {
                return literal(&ty, &call);
            }
            Ok(Typed::call("array", &args, ty, call.span, |args| {
                let arrays = args.arrays()?;
                let parts: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                let values = concat(&parts)?;
                let (rows, columns) = (args.rows, arrays.len());
                picked(&values, rows, |row, out| {
                    out.extend((0..columns).map(|column| u32::try_from(column * rows + row).ok()));
                    Ok(true)
                })
            }))
        }
        "struct" => {
            let args = call.between(1, usize::MAX)?;
            let name = |(index, arg): (usize, &Typed)| match is_name(arg) {
                true => arg.name.clone(),
                false => format!("col{}", index + 1),
            };
            let names: Vec<_> = args.iter().enumerate().map(name).collect();
            structure(call, names, args)
        }
        "named_struct" => {
            let args = call.between(2, usize::MAX)?;
            if args.len() % 2 == 1 {
                return Err(call.error("[WRONG_NUM_ARGS] named_struct takes pairs of a name and a value"));
            }
            let (mut names, mut values) = (Vec::new(), Vec::new());
            for (index, arg) in args.into_iter().enumerate() {
                if index % 2 == 1 {
                    values.push(arg);
                } else {
                    match arg.literal_text() {
                        Some(name) => names.push(name.to_owned()),
                        None => return Err(call.error("the names of named_struct have to be constant text")),
                    }
                }
            }
            structure(call, names, values)
        }
        "map" => pairs(call),
        "map_from_arrays" => {
            let [keys, values] = call.exactly()?;
            let (keys, values) = (array(keys, &call)?, array(values, &call)?);
            let ty = map(item_type(&keys.ty), item_type(&values.ty));
            let result = ty.clone();
            let typed = Typed::call(call.name, &[keys, values], ty, call.span, move |args| {
                let (keys, values) = (args.array(0)?, args.array(1)?);
                let (keys, values) = (keys.as_list::<i32>(), values.as_list::<i32>());
                let mut entries = Entries::new(keys.values(), values.values());
                for row in 0..args.rows {
                    if keys.is_null(row) || values.is_null(row) {
                        entries.null();
                        continue;
                    }
                    let (keys, values) = (range(keys, row), range(values, row));
                    if keys.len() != values.len() {
                        let message = "[INVALID_ARGUMENT] map_from_arrays: the arrays have different lengths";
                        return Err(DataFusionError::Execution(message.into()));
                    }
                    entries.row(keys.zip(values))?;
                }
                entries.finish(&result)
            });
            Ok(typed.fallible())
        }
        "map_from_entries" => {
            let [value] = call.exactly()?;
            let value = array(value, &call)?;
            let (key, item) = match item_type(&value.ty) {
                DataType::Struct(fields) if fields.len() == 2 => match &*fields {
                    [key, item] => (key.data_type().clone(), item.data_type().clone()),
                    _ => return Err(call.error("map_from_entries takes an array of structs of two fields")),
                },
                _ => return Err(call.error("map_from_entries takes an array of structs of two fields")),
            };
            let ty = map(key, item);
            let result = ty.clone();
            let typed = Typed::call(call.name, &[value], ty, call.span, move |args| {
                let lists = args.array(0)?;
                let lists = lists.as_list::<i32>();
                let items = lists.values().as_struct();
                let (keys, values) = (super::field::child(items, 0)?, super::field::child(items, 1)?);
                let mut entries = Entries::new(&keys, &values);
                for row in 0..args.rows {
                    let own = range(lists, row);
                    if lists.is_null(row) || own.clone().any(|at| items.is_null(at)) {
                        entries.null();
                    } else {
                        entries.row(own.clone().zip(own))?;
                    }
                }
                entries.finish(&result)
            });
            Ok(typed.fallible())
        }
        "arrays_zip" => arrays_zip(call),
        _ => map_concat(call),
    }
}

/// The first items of arrays together, then the second ones; shorter arrays are filled with nulls.
fn arrays_zip(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(1, usize::MAX)?;
    let args = args.into_iter().map(|arg| array(arg, &call)).collect::<Planned<Vec<_>>>()?;
    let field = |(index, arg): (usize, &Typed)| -> FieldRef {
        let name = if is_name(arg) { arg.name.clone() } else { index.to_string() };
        Arc::new(Field::new(name, item_type(&arg.ty), true))
    };
    let fields: Fields = args.iter().enumerate().map(field).collect();
    let ty = list(DataType::Struct(fields.clone()));
    Ok(Typed::call("arrays_zip", &args, ty, call.span, move |args| {
        let arrays = args.arrays()?;
        let lists: Vec<_> = arrays.iter().map(|array| array.as_list::<i32>()).collect();
        let mut picks = vec![Vec::new(); lists.len()];
        let mut lengths = Vec::with_capacity(args.rows);
        let mut valid = Vec::with_capacity(args.rows);
        for row in 0..args.rows {
            let whole = lists.iter().all(|list| list.is_valid(row));
            let length = if whole { lists.iter().map(|list| range(list, row).len()).max().unwrap_or(0) } else { 0 };
            for (list, picks) in lists.iter().zip(&mut picks) {
                let own = range(list, row);
                picks.extend((0..length).map(|at| own.clone().nth(at).and_then(|at| u32::try_from(at).ok())));
            }
            lengths.push(length);
            valid.push(whole);
        }
        let columns =
            lists.iter().zip(picks).map(|(list, picks)| Ok(take(list.values(), &UInt32Array::from(picks), None)?));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let items = StructArray::try_new_with_length(fields.clone(), columns, None, lengths.iter().sum())?;
        let field = super::types::list_field(DataType::Struct(fields.clone()));
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(arrow::array::ListArray::try_new(field, offsets, Arc::new(items), nulls)?))
    }))
}

/// `str_to_map`: a text and two constant separators.
pub(super) fn map_of_texts(call: Invocation<'_>, args: Vec<Typed>) -> Planned<Typed> {
    let Ok([text, between, inside]) = <[Typed; 3]>::try_from(args) else {
        return Err(call.error("arguments are missing"));
    };
    let label = format!("str_to_map({}, {}, {})", text.name, between.name, inside.name);
    let special = |c: char| "\\.[]{}()*+?^$|".contains(c);
    let plain = |arg: &Typed| match arg.literal_text() {
        Some(text) if !text.is_empty() && !text.contains(special) => Ok(text.to_owned()),
        _ => Err(call.error("the separators of str_to_map have to be constant text without special characters")),
    };
    let (between, inside) = (plain(&between)?, plain(&inside)?);
    let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
    let ty = map(DataType::Utf8, DataType::Utf8);
    let result = ty.clone();
    let typed = Typed::call("str_to_map", &[text], ty, call.span, move |args| {
        let text = args.array(0)?;
        let text = text.as_string::<i32>();
        let split = |text: &str| -> Vec<(String, Option<String>)> {
            let pair = |pair: &str| match pair.split_once(inside.as_str()) {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (pair.to_owned(), None),
            };
            text.split(between.as_str()).map(pair).collect()
        };
        let rows: Vec<Option<Vec<_>>> = text.iter().map(|text| text.map(split)).collect();
        let pairs = || rows.iter().flatten().flatten();
        let keys: ArrayRef = Arc::new(pairs().map(|(key, _)| Some(key)).collect::<arrow::array::StringArray>());
        let values: ArrayRef =
            Arc::new(pairs().map(|(_, value)| value.as_ref()).collect::<arrow::array::StringArray>());
        let mut entries = Entries::new(&keys, &values);
        let mut start = 0;
        for row in &rows {
            match row {
                Some(pairs) => entries.row((start..start + pairs.len()).zip(start..))?,
                None => entries.null(),
            }
            start += row.as_ref().map_or(0, Vec::len);
        }
        entries.finish(&result)
    });
    Ok(typed.fallible().named(label))
}

/// Whether Spark takes the argument's name for the field: columns, fields and what has an alias.
fn is_name(arg: &Typed) -> bool {
    arg.expr.downcast_ref::<Column>().is_some() || arg.aliased
}

fn literal(ty: &DataType, call: &Invocation<'_>) -> Planned<Typed> {
    let empty = arrow::array::new_null_array(ty, 1);
    let length = |_: usize, _: &mut Vec<Option<u32>>| Ok(true);
    let value = match ty {
        DataType::List(item) => picked(&arrow::array::new_empty_array(item.data_type()), 1, length),
        _ => Ok(empty),
    };
    let value = value.and_then(|array| datafusion_common::ScalarValue::try_from_array(&array, 0));
    match value {
        Ok(value) => Ok(Typed::literal(value, format!("{}()", call.name), call.span)),
        Err(error) => Err(call.error(error.strip_backtrace())),
    }
}

fn structure(call: Invocation<'_>, names: Vec<String>, values: Vec<Typed>) -> Planned<Typed> {
    let fields: Vec<FieldRef> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| Arc::new(Field::new(name, value.ty.clone(), true)) as _)
        .collect();
    let fields = Fields::from(fields);
    let result = fields.clone();
    let name = match call.name {
        "struct" => {
            let label = |arg: &Typed| match &arg.source {
                Some(source) => format!("{source} AS {}", arg.name),
                None => arg.name.clone(),
            };
            let parts: Vec<_> = values.iter().map(label).collect();
            format!("struct({})", parts.join(", "))
        }
        _ => {
            let parts: Vec<_> =
                names.iter().zip(&values).map(|(name, value)| format!("{name}, {}", value.name)).collect();
            format!("named_struct({})", parts.join(", "))
        }
    };
    let typed = Typed::call("struct", &values, DataType::Struct(fields), call.span, move |args| {
        Ok(Arc::new(StructArray::try_new_with_length(result.clone(), args.arrays()?, None, args.rows)?))
    });
    Ok(typed.named(name))
}

fn pairs(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(0, usize::MAX)?;
    if args.len() % 2 == 1 {
        return Err(call.error("[WRONG_NUM_ARGS] map takes pairs of a key and a value"));
    }
    let name = call_name("map", &args);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (index, arg) in args.into_iter().enumerate() {
        if index % 2 == 0 { keys.push(arg) } else { values.push(arg) }
    }
    let (keys, key_ty) = unify(keys, call.ansi(), Purpose::Unify, call.span)?;
    let (values, value_ty) = unify(values, call.ansi(), Purpose::Unify, call.span)?;
    let ty = map(key_ty, value_ty);
    let (count, result) = (keys.len(), ty.clone());
    let all: Vec<_> = keys.into_iter().chain(values).collect();
    let kernel = move |args: &crate::call::Args<'_>| -> Result<ArrayRef> {
        let arrays = args.arrays()?;
        let (keys, values) = arrays.split_at(count);
        let join = |arrays: &[ArrayRef], field: &FieldRef| -> Result<ArrayRef> {
            let parts: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            if parts.is_empty() { Ok(arrow::array::new_empty_array(field.data_type())) } else { Ok(concat(&parts)?) }
        };
        let Some((key, value)) = map_parts(&result) else { return args.array(0) };
        let (keys, values) = (join(keys, key)?, join(values, value)?);
        let mut entries = Entries::new(&keys, &values);
        for row in 0..args.rows {
            let at = (0..count).map(|column| column * args.rows + row);
            entries.row(at.clone().zip(at))?;
        }
        entries.finish(&result)
    };
    Ok(Typed::call("map", &all, ty, call.span, kernel).fallible().named(name))
}

fn map_concat(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(1, usize::MAX)?;
    let (args, ty) = unify(args, call.ansi(), Purpose::Unify, call.span)?;
    let Some((key, value)) = map_parts(&ty) else { return Err(call.error("map_concat takes maps")) };
    let result = map(key.data_type().clone(), value.data_type().clone());
    let ty = result.clone();
    let typed = Typed::call("map_concat", &args, ty, call.span, move |args| {
        let arrays = args.arrays()?;
        let maps: Vec<&MapArray> = arrays.iter().map(|array| array.as_map()).collect();
        let keys = concat(&maps.iter().map(|map| map.keys().as_ref()).collect::<Vec<&dyn Array>>())?;
        let values = concat(&maps.iter().map(|map| map.values().as_ref()).collect::<Vec<&dyn Array>>())?;
        let mut entries = Entries::new(&keys, &values);
        for row in 0..args.rows {
            if maps.iter().any(|map| map.is_null(row)) {
                entries.null();
                continue;
            }
            let mut at = Vec::new();
            let mut base = 0;
            for map in &maps {
                if let (Some(start), Some(end)) = (map.value_offsets().get(row), map.value_offsets().get(row + 1)) {
                    at.extend((*start as usize..*end as usize).map(|at| base + at));
                }
                base += map.keys().len();
            }
            entries.row(at.iter().copied().zip(at.iter().copied()))?;
        }
        entries.finish(&result)
    });
    Ok(typed.fallible())
}

/// Maps while they are built. Keys are neither null nor twice in a map.
struct Entries<'a> {
    keys: &'a ArrayRef,
    values: &'a ArrayRef,
    key_at: Vec<u32>,
    value_at: Vec<u32>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl<'a> Entries<'a> {
    fn new(keys: &'a ArrayRef, values: &'a ArrayRef) -> Self {
        let (key_at, value_at) = (Vec::new(), Vec::new());
        Self { keys, values, key_at, value_at, lengths: Vec::new(), valid: Vec::new() }
    }

    fn null(&mut self) {
        self.lengths.push(0);
        self.valid.push(false);
    }

    fn row(&mut self, pairs: impl Iterator<Item = (usize, usize)>) -> Result<()> {
        let order = make_comparator(self.keys, self.keys, SortOptions::default())?;
        let mut own: Vec<usize> = Vec::new();
        for (key, value) in pairs {
            if self.keys.is_null(key) {
                return Err(DataFusionError::Execution("[NULL_MAP_KEY] a map's key cannot be NULL".into()));
            }
            if own.iter().any(|other| order(*other, key).is_eq()) {
                let key = display(self.keys, key)?;
                return Err(DataFusionError::Execution(format!(
                    "[DUPLICATED_MAP_KEY] the key {key} stands in a map twice"
                )));
            }
            own.push(key);
            self.key_at.push(u32::try_from(key).unwrap_or_default());
            self.value_at.push(u32::try_from(value).unwrap_or_default());
        }
        self.lengths.push(own.len());
        self.valid.push(true);
        Ok(())
    }

    fn finish(self, ty: &DataType) -> Result<ArrayRef> {
        let DataType::Map(field, sorted) = ty else {
            return Err(DataFusionError::Internal("a map was to be built".into()));
        };
        let DataType::Struct(fields) = field.data_type() else {
            return Err(DataFusionError::Internal("a map has no entries".into()));
        };
        let keys = take(self.keys, &UInt32Array::from(self.key_at), None)?;
        let values = take(self.values, &UInt32Array::from(self.value_at), None)?;
        let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        let nulls = Some(NullBuffer::from(self.valid)).filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?))
    }
}
