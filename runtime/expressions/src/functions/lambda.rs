//! Functions of arrays with a function for their items: `transform(a, x -> x + 1)`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, RecordBatch, RecordBatchOptions, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::Result;
use datafusion_physical_expr::utils::collect_columns;

use super::Invocation;
use super::collection::{array, item_type, range};
use super::types::{list, list_field};
use crate::ast::{Ast, Node, PlanError, Planned, Span};
use crate::call::{Args, boolean};
use crate::planner::Planner;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "transform",
    "filter",
    "exists",
    "forall",
    "map_filter",
    "transform_keys",
    "transform_values",
    "zip_with",
    "aggregate",
    "reduce",
];

/// A call without a function among its arguments.
pub(super) fn plan(call: Invocation<'_>) -> Planned<Typed> {
    Err(call.error(format!("the second argument of {} has to be a function", call.name)).hint("write it as x -> …"))
}

/// What is made of what the function gives for the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transform,
    Filter,
    /// Whether it holds for any item.
    Exists,
    /// Whether it holds for every item.
    ForAll,
}

/// The items of the lists of a batch, each with its row and its place.
struct Items {
    at: UInt32Array,
    rows: UInt32Array,
    places: Int32Array,
    lengths: Vec<usize>,
}

impl Items {
    fn of(lists: &ListArray) -> Self {
        let (mut at, mut rows, mut places, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in 0..lists.len() {
            let own = if lists.is_valid(row) { range(lists, row) } else { 0..0 };
            lengths.push(own.len());
            for (place, item) in own.enumerate() {
                at.push(item as u32);
                rows.push(row as u32);
                places.push(place as i32);
            }
        }
        Self { at: at.into(), rows: rows.into(), places: places.into(), lengths }
    }
}

/// Plans `name(array, x -> body)` and `name(array, (x, i) -> body)`.
pub(crate) fn apply(planner: &Planner<'_>, name: &str, args: &[Ast], span: Span) -> Planned<Typed> {
    let kind = match name {
        "transform" => Kind::Transform,
        "filter" => Kind::Filter,
        "exists" => Kind::Exists,
        "forall" => Kind::ForAll,
        "aggregate" | "reduce" => return super::fold::apply(planner, name, args, span),
        _ => {
            return match by_entries(name, args, span) {
                Some(ast) => Ok(planner.plan(&ast)?.named(format!("{name}()"))),
                None => Err(unsupported(span)),
            };
        }
    };
    let [value, Ast { node: Node::Lambda { params, body }, .. }] = args else { return Err(unsupported(span)) };
    let indexed = matches!(kind, Kind::Transform | Kind::Filter);
    if params.is_empty() || params.len() > 1 + usize::from(indexed) {
        return Err(PlanError::new(
            span,
            format!("the function of {name} takes an item{}", if indexed { ", and its index" } else { "" }),
        ));
    }
    let invocation = Invocation { planner, name, args: Vec::new(), span };
    let value = array(planner.plan(value)?, &invocation)?;
    let columns = planner.schema.fields().len();
    let schema = inner_schema(planner.schema, params, &item_type(&value.ty));
    let inner = Planner { schema: &schema, ansi: planner.ansi };
    let body = if kind == Kind::Transform { inner.plan(body)? } else { inner.condition(body)? };
    // The columns of the row that the function looks at come along.
    let used: BTreeSet<usize> = collect_columns(&body.expr).iter().map(|column| column.index()).collect();
    let outer: Vec<usize> = used.into_iter().filter(|at| *at < columns).collect();
    let mut typed = vec![value];
    for at in &outer {
        let field = planner.schema.field(*at);
        typed.push(Typed::column(field.name(), *at, field.data_type().clone(), span));
    }
    let ty = match kind {
        Kind::Transform => list(body.ty.clone()),
        Kind::Filter => typed.first().map_or(DataType::Null, |value| value.ty.clone()),
        _ => DataType::Boolean,
    };
    let label = format!("{name}({}, lambdafunction({}))", typed.first().map_or("", |value| &value.name), body.name);
    let (fallible, volatile) = (body.fallible, body.volatile);
    let call = Typed::call(name, &typed, ty, span, move |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        let items = Items::of(lists);
        let values = take(lists.values(), &items.at, None)?;
        let batch = inner_batch(args, &schema, (columns, &outer), &items, &values)?;
        let result = body.expr.evaluate(&batch)?;
        gather(kind, lists, &items, &values, &result.to_array(batch.num_rows())?)
    });
    let call = Typed { volatile: call.volatile || volatile, ..call };
    Ok(if fallible { call.fallible() } else { call }.named(label))
}

fn unsupported(span: Span) -> PlanError {
    let names = NAMES.join(", ");
    PlanError::new(span, format!("a function with -> is the last argument of one of {names}"))
        .hint("explode the array and select from its items")
}

/// A function of the entries of a map, or of two arrays, as one of an array of structs.
fn by_entries(name: &str, args: &[Ast], span: Span) -> Option<Ast> {
    const ENTRY: &str = "\u{1}entry";
    let call = |name: &str, args: Vec<Ast>| Ast::new(Node::Call { name: name.into(), args }, span);
    let field = |name: &str| {
        let entry = Ast::new(Node::Name(ENTRY.into()), span);
        Ast::new(Node::Field(Box::new(entry), name.into()), span)
    };
    let named = |ast: Ast, name: &str| Ast::new(Node::Named(Box::new(ast), name.into()), span);
    let over = |name: &str, array: Ast, body: Ast| {
        let lambda = Node::Lambda { params: vec![ENTRY.into()], body: Box::new(body) };
        call(name, vec![array, Ast::new(lambda, span)])
    };
    let (Ast { node: Node::Lambda { params, body }, .. }, values) = args.split_last()? else { return None };
    let [first, second] = params.as_slice() else { return None };
    let places = if name == "zip_with" { ["0", "1"] } else { ["key", "value"] };
    let (key, value) = (field(places[0]), field(places[1]));
    let body = replaced(body, &[(first, &key), (second, &value)])?;
    match (name, values) {
        ("zip_with", [a, b]) => {
            // Without names: the fields of the zipped arrays are called by their numbers.
            let plain = |ast: &Ast| call("slice", vec![ast.clone(), number(1, span), number(i32::MAX, span)]);
            Some(over("transform", call("arrays_zip", vec![plain(a), plain(b)]), body))
        }
        (_, [map]) => {
            let entries = call("map_entries", vec![map.clone()]);
            let pair = |key: Ast, value: Ast| call("struct", vec![named(key, "key"), named(value, "value")]);
            let made = match name {
                "map_filter" => over("filter", entries, body),
                "transform_keys" => over("transform", entries, pair(body, value)),
                "transform_values" => over("transform", entries, pair(key, body)),
                _ => return None,
            };
            Some(call("map_from_entries", vec![made]))
        }
        _ => None,
    }
}

fn number(value: i32, span: Span) -> Ast {
    Ast::new(Node::Literal(datafusion_common::ScalarValue::Int32(Some(value))), span)
}

/// An expression with others in the place of names.
fn replaced(ast: &Ast, names: &[(&String, &Ast)]) -> Option<Ast> {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    match &ast.node {
        Node::Name(name) => {
            let found = names.iter().find(|(known, _)| same(known, name));
            Some(found.map_or_else(|| ast.clone(), |(_, meant)| (*meant).clone()))
        }
        Node::Lambda { params, .. } if names.iter().any(|(name, _)| params.iter().any(|param| same(param, name))) => {
            Some(ast.clone())
        }
        node => {
            let missing = || PlanError::new(ast.span, "");
            let node = node.clone().map(&mut |child| replaced(&child, names).ok_or_else(missing)).ok()?;
            Some(Ast::new(node, ast.span))
        }
    }
}

/// The row's columns, and the function's parameters, which hide columns of their names.
fn inner_schema(outer: &SchemaRef, params: &[String], item: &DataType) -> SchemaRef {
    let hidden = |field: &FieldRef| params.iter().any(|param| param.to_lowercase() == field.name().to_lowercase());
    let column = |field: &FieldRef| {
        let name = if hidden(field) { "\0" } else { field.name().as_str() };
        Field::new(name, field.data_type().clone(), true)
    };
    let mut fields: Vec<Field> = outer.fields().iter().map(column).collect();
    for (param, ty) in params.iter().zip([item, &DataType::Int32]) {
        fields.push(Field::new(param, ty.clone(), true));
    }
    Arc::new(Schema::new(fields))
}

/// A row for each item: what the function sees.
fn inner_batch(
    args: &Args<'_>,
    schema: &SchemaRef,
    (columns, outer): (usize, &[usize]),
    items: &Items,
    values: &ArrayRef,
) -> Result<RecordBatch> {
    let rows = items.at.len();
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for (at, field) in schema.fields().iter().enumerate() {
        arrays.push(match (outer.iter().position(|used| *used == at), at.checked_sub(columns)) {
            (Some(argument), _) => take(&args.array(argument + 1)?, &items.rows, None)?,
            (None, Some(0)) => Arc::clone(values),
            (None, Some(_)) => Arc::new(items.places.clone()),
            (None, None) => new_null_array(field.data_type(), rows),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

fn gather(kind: Kind, lists: &ListArray, items: &Items, values: &ArrayRef, result: &ArrayRef) -> Result<ArrayRef> {
    let made = |values: ArrayRef, lengths: Vec<usize>| -> Result<ArrayRef> {
        let field = list_field(values.data_type().clone());
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(field, offsets, values, lists.nulls().cloned())?))
    };
    if kind == Kind::Transform {
        return made(Arc::clone(result), items.lengths.clone());
    }
    let holds = boolean(&datafusion_expr::ColumnarValue::Array(Arc::clone(result)), result.len())?;
    let mut start = 0;
    let mut each = items.lengths.iter().map(|length| {
        start += length;
        holds.slice(start - length, *length)
    });
    if kind == Kind::Filter {
        let lengths = each.map(|own| own.true_count()).collect();
        return made(arrow::compute::filter(values, &holds)?, lengths);
    }
    let nulls = lists.nulls().cloned().unwrap_or_else(|| NullBuffer::new_valid(lists.len()));
    let decided = nulls.iter().map(|valid| {
        let own = each.next().filter(|_| valid)?;
        match kind {
            Kind::Exists if own.true_count() > 0 => Some(true),
            Kind::ForAll if own.false_count() > 0 => Some(false),
            _ if own.null_count() > 0 => None,
            kind => Some(kind == Kind::ForAll),
        }
    });
    Ok(Arc::new(decided.collect::<BooleanArray>()))
}
