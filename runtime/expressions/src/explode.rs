//! `explode` and its kin: one row for each item of an array or entry of a map.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use levada_connector_api::{Error, Result};

use super::Expression;
use super::ast::{Ast, Node, PlanError, Planned, Span};
use super::typed::Typed;
use crate::functions::types::{map_parts, sql_name};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    position: bool,
    outer: bool,
}

impl Kind {
    pub(crate) const EXPLODE: Self = Self { position: false, outer: false };
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}explode{}", if self.position { "pos" } else { "" }, if self.outer { "_outer" } else { "" })
    }
}

/// The generator that an expression is, and its arguments.
pub(crate) fn generator(ast: &Ast) -> Option<(Kind, &[Ast])> {
    let Node::Call { name, args } = &ast.node else { return None };
    let (position, outer) = match name.as_str() {
        "explode" | "unnest" => (false, false),
        "explode_outer" => (false, true),
        "posexplode" => (true, false),
        "posexplode_outer" => (true, true),
        _ => return None,
    };
    Some((Kind { position, outer }, args))
}

/// A generator that was compiled for a schema.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    kind: Kind,
    value: Expression,
    /// The text of what is exploded, where rows without items may be dropped before.
    pub(crate) source: Option<String>,
}

/// What a generator yields for a batch.
pub(crate) struct Generated {
    /// For each output row the input row that it came from.
    pub(crate) rows: UInt32Array,
    pub(crate) columns: Vec<ArrayRef>,
}

impl Generator {
    /// The generator and the columns that it yields, called as the user wants or as Spark does.
    pub(crate) fn new(
        text: &str,
        kind: Kind,
        value: Typed,
        names: &[String],
        span: Span,
    ) -> Planned<(Self, Vec<FieldRef>)> {
        let mut columns = Vec::new();
        if kind.position {
            columns.push(("pos", DataType::Int32));
        }
        match &value.ty {
            DataType::List(item) => columns.push(("col", item.data_type().clone())),
            ty => match map_parts(ty) {
                Some((key, value)) => {
                    columns.push(("key", key.data_type().clone()));
                    columns.push(("value", value.data_type().clone()));
                }
                None => {
                    let message = format!(
                        "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {kind} takes an array or a map, and '{}' is {}",
                        value.name,
                        sql_name(ty)
                    );
                    return Err(PlanError::new(value.span, message).hint("split() makes an array of a text"));
                }
            },
        }
        if !names.is_empty() && names.len() != columns.len() {
            let message = format!("{kind} yields {} columns here, and {} names are given", columns.len(), names.len());
            return Err(PlanError::new(span, message).hint("write AS (first, second)"));
        }
        let field = |(index, (name, ty)): (usize, (&str, DataType))| -> FieldRef {
            Arc::new(Field::new(names.get(index).map_or(name, String::as_str), ty, true))
        };
        let fields = columns.into_iter().enumerate().map(field).collect();
        Ok((Self { kind, value: Expression::new(text, String::new(), value), source: None }, fields))
    }

    /// Whether a row without items gives no row.
    pub(crate) fn drops(&self) -> bool {
        !self.kind.outer
    }

    /// What is exploded.
    pub(crate) fn value(&self) -> &Expression {
        &self.value
    }

    /// Explodes the rows of `batch`. A null or empty collection gives no row, or with `outer` one row of nulls.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> Result<Generated> {
        let array = self.value.evaluate(batch)?;
        let (offsets, items): (&[i32], Vec<ArrayRef>) = match array.data_type() {
            DataType::Map(_, _) => {
                let map = array.as_map();
                (map.value_offsets(), vec![Arc::clone(map.keys()), Arc::clone(map.values())])
            }
            _ => {
                let list = array.as_list_opt::<i32>().ok_or_else(|| Error::internal("explode got no array"))?;
                (list.value_offsets(), vec![Arc::clone(list.values())])
            }
        };
        let total = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (last - first).max(0)) as usize;
        let mut rows = Vec::with_capacity(total);
        let mut indices = Vec::with_capacity(total);
        let mut positions = Vec::with_capacity(if self.kind.position { total } else { 0 });
        for (row, ends) in offsets.windows(2).enumerate() {
            let [start, end] = *ends else { continue };
            let row_number = u32::try_from(row).map_err(|_| Error::internal("the batch is too large"))?;
            if array.is_null(row) || start == end {
                if self.kind.outer {
                    rows.push(row_number);
                    indices.push(None);
                    positions.push(None);
                }
                continue;
            }
            for at in start..end {
                rows.push(row_number);
                indices.push(Some(at as u32));
                if self.kind.position {
                    positions.push(Some(at - start));
                }
            }
        }
        let indices = UInt32Array::from(indices);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(3);
        if self.kind.position {
            columns.push(Arc::new(Int32Array::from(positions)));
        }
        for item in items {
            columns.push(take(&item, &indices, None)?);
        }
        Ok(Generated { rows: UInt32Array::from(rows), columns })
    }
}
