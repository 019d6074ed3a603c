//! `aggregate(array, start, (acc, x) -> …, acc -> …)`: the items of an array, one after the other, into one value.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::Result;
use datafusion_physical_expr::utils::collect_columns;

use super::Invocation;
use super::collection::{array, item_type, range};
use super::types::sql_name;
use crate::ast::{Ast, Node, PlanError, Planned, Span};
use crate::planner::Planner;
use crate::typed::Typed;

/// A function's parameters, and its body over the row's columns and these.
struct Function {
    body: Typed,
    schema: SchemaRef,
}

impl Function {
    fn new(planner: &Planner<'_>, function: &Ast, parameters: &[&DataType]) -> Planned<Self> {
        let wrong = || {
            let message = format!("a function with {} parameters belongs here", parameters.len());
            PlanError::new(function.span, message).hint("write it as (acc, x) -> acc + x")
        };
        let Node::Lambda { params, body } = &function.node else { return Err(wrong()) };
        if params.len() != parameters.len() {
            return Err(wrong());
        }
        // Parameters hide columns of their names.
        let hidden = |name: &str| params.iter().any(|param| param.to_lowercase() == name.to_lowercase());
        let columns = planner.schema.fields().iter().map(|field| {
            Field::new(if hidden(field.name()) { "\0" } else { field.name() }, field.data_type().clone(), true)
        });
        let own = params.iter().zip(parameters).map(|(name, ty)| Field::new(name, (*ty).clone(), true));
        let schema = Arc::new(Schema::new(columns.chain(own).collect::<Vec<_>>()));
        let body = Planner { schema: &schema, ansi: planner.ansi }.plan(body)?;
        Ok(Self { body, schema })
    }

    /// The columns of the row that it looks at.
    fn outer(&self, columns: usize) -> Vec<usize> {
        let used = collect_columns(&self.body.expr);
        used.iter().map(|column| column.index()).filter(|at| *at < columns).collect()
    }

    /// Its results for rows: of these come the columns `outer`, by their places.
    fn results(&self, outer: &[(usize, ArrayRef)], rows: &UInt32Array, own: Vec<ArrayRef>) -> Result<ArrayRef> {
        let columns = self.schema.fields().len() - own.len();
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (at, field) in self.schema.fields().iter().enumerate().take(columns) {
            arrays.push(match outer.iter().find(|(used, _)| *used == at) {
                Some((_, column)) => take(column, rows, None)?,
                None => new_null_array(field.data_type(), rows.len()),
            });
        }
        arrays.extend(own);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        self.body.expr.evaluate(&batch)?.to_array(rows.len())
    }
}

/// Plans `aggregate(array, start, merge)` and `aggregate(array, start, merge, finish)`.
pub(super) fn apply(planner: &Planner<'_>, name: &str, args: &[Ast], span: Span) -> Planned<Typed> {
    let (value, start, merge, finish) = match args {
        [value, start, merge] => (value, start, merge, None),
        [value, start, merge, finish] => (value, start, merge, Some(finish)),
        _ => {
            let message = format!("{name} takes an array, a start, and a function or two");
            return Err(PlanError::new(span, message).hint(format!("write {name}(array, 0, (acc, x) -> acc + x)")));
        }
    };
    let invocation = Invocation { planner, name, args: Vec::new(), span };
    let (value, start) = (array(planner.plan(value)?, &invocation)?, planner.plan(start)?);
    let merge = Function::new(planner, merge, &[&start.ty, &item_type(&value.ty)])?;
    if merge.body.ty != start.ty {
        let message = format!(
            "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] the function of {name} gives {}, and the start is {}",
            sql_name(&merge.body.ty),
            sql_name(&start.ty)
        );
        return Err(PlanError::new(merge.body.span, message).hint("cast the start to the type of the result"));
    }
    let finish = finish.map(|finish| Function::new(planner, finish, &[&start.ty])).transpose()?;
    let columns = planner.schema.fields().len();
    let functions = || std::iter::once(&merge).chain(&finish);
    let outer: Vec<usize> =
        functions().flat_map(|function| function.outer(columns)).collect::<BTreeSet<_>>().into_iter().collect();
    let bodies: Vec<String> = functions().map(|function| format!("lambdafunction({})", function.body.name)).collect();
    let label = format!("{name}({}, {}, {})", value.name, start.name, bodies.join(", "));
    let fallible = functions().any(|function| function.body.fallible);
    let volatile = functions().any(|function| function.body.volatile);
    let ty = finish.as_ref().map_or(&start.ty, |finish| &finish.body.ty).clone();
    let mut typed = vec![value, start];
    for at in &outer {
        let field = planner.schema.field(*at);
        typed.push(Typed::column(field.name(), *at, field.data_type().clone(), span));
    }
    let result = ty.clone();
    let call = Typed::call(name, &typed, ty, span, move |args| {
        let lists = args.array(0)?;
        let lists = lists.as_list::<i32>();
        let column = |(argument, at): (usize, &usize)| Ok((*at, args.array(argument + 2)?));
        let columns = outer.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        let all: UInt32Array = (0..lists.len()).filter(|row| lists.is_valid(*row)).map(|row| row as u32).collect();
        let folded = folded(&merge, lists, &columns, &all, &args.array(1)?)?;
        let whole = match &finish {
            Some(finish) => finish.results(&columns, &all, vec![folded])?,
            None => folded,
        };
        // An array that is null has no result.
        let none = new_null_array(&result, 1);
        let mut next = 0;
        let place = |row: usize| {
            if lists.is_null(row) {
                return (1, 0);
            }
            next += 1;
            (0, next - 1)
        };
        let places: Vec<(usize, usize)> = (0..lists.len()).map(place).collect();
        Ok(interleave(&[&whole, &none], &places)?)
    });
    let call = Typed { volatile: call.volatile || volatile, ..call };
    Ok(if fallible { call.fallible() } else { call }.named(label))
}

/// What the arrays of the rows `all` come to. The work is that of their items: a row whose array has ended is put aside.
fn folded(
    merge: &Function,
    lists: &ListArray,
    columns: &[(usize, ArrayRef)],
    all: &UInt32Array,
    start: &ArrayRef,
) -> Result<ArrayRef> {
    let mut held = take(start, all, None)?;
    // What goes on: the places of rows in `all`.
    let mut open: Vec<usize> = (0..all.len()).collect();
    let row = |place: usize| all.values().get(place).map_or(0, |row| *row as usize);
    let mut ended: Vec<ArrayRef> = Vec::new();
    let mut from = vec![(0, 0); all.len()];
    for item in 0.. {
        let (on, end): (Vec<u32>, Vec<u32>) = (0..open.len() as u32)
            .partition(|at| open.get(*at as usize).is_some_and(|at| range(lists, row(*at)).len() > item));
        if !end.is_empty() {
            for (at, place) in end.iter().filter_map(|at| open.get(*at as usize)).enumerate() {
                if let Some(from) = from.get_mut(*place) {
                    *from = (ended.len(), at);
                }
            }
            ended.push(take(&held, &UInt32Array::from(end), None)?);
            open = on.iter().filter_map(|at| open.get(*at as usize).copied()).collect();
            held = take(&held, &UInt32Array::from(on), None)?;
        }
        if open.is_empty() {
            break;
        }
        let rows: UInt32Array = open.iter().map(|place| row(*place) as u32).collect();
        let items: UInt32Array =
            rows.values().iter().map(|row| (range(lists, *row as usize).start + item) as u32).collect();
        held = merge.results(columns, &rows, vec![held, take(lists.values(), &items, None)?])?;
    }
    let ended: Vec<&dyn Array> = ended.iter().map(AsRef::as_ref).collect();
    if ended.is_empty() { Ok(held) } else { Ok(interleave(&ended, &from)?) }
}
