//! ROLLUP, CUBE and GROUPING SETS: each row is grouped once for each set of keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int32Array, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use levada_connector_api::{Result, WATERMARK};

use super::grouping::APART;
use crate::Expression;
use crate::ast::{Ast, Node, PlanError};
use crate::parse::GroupingSets;

/// A column beside the keys, the same for all rows of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Constant {
    /// `grouping_id()`.
    Id,
    /// The number of the set: sets may be equal.
    Number,
    /// `grouping(key)`.
    IsOut(usize),
}

/// Makes the rows of each set of what comes in: its columns, then the keys with nulls for those that are not in the set,
/// then what tells the sets apart.
#[derive(Debug, Clone)]
pub(super) struct Expansion {
    keys: Vec<Expression>,
    sets: GroupingSets,
    constants: Vec<Constant>,
    schema: SchemaRef,
}

/// A key over the columns that an [`Expansion`] makes.
pub(super) struct Made {
    /// The name of the column that is made.
    pub(super) column: String,
    /// What the key is called in the result.
    pub(super) name: String,
    /// What means it in expressions.
    pub(super) meaning: Option<Ast>,
}

/// A call of `grouping` or `grouping_id`.
fn is_grouping(ast: &Ast) -> Option<(&str, &[Ast])> {
    match &ast.node {
        Node::Call { name, args } if matches!(name.as_str(), "grouping" | "grouping_id") => Some((name, args)),
        _ => None,
    }
}

/// With names in lower case: they are found so.
fn folded(ast: Ast) -> Ast {
    let span = ast.span;
    match ast.node.clone() {
        Node::Name(name) => Ast::new(Node::Name(name.to_lowercase()), span),
        node => node.map(&mut |child| Ok(folded(child))).map_or(ast, |node| Ast::new(node, span)),
    }
}

fn calls(ast: &Ast, found: &mut Vec<Ast>) {
    if is_grouping(ast).is_some() {
        if !found.contains(ast) {
            found.push(ast.clone());
        }
        return;
    }
    ast.node.children().for_each(|child| calls(child, found));
}

/// Why a call of `grouping` or `grouping_id` that no set explains is wrong.
pub(super) fn refused(ast: &Ast, several: bool) -> Option<PlanError> {
    let (name, _) = is_grouping(ast)?;
    Some(match (name, several) {
        (_, false) => {
            PlanError::new(ast.span, format!("[UNSUPPORTED_GROUPING_EXPRESSION] {name} has one grouping only"))
                .hint("it is for GROUP BY with ROLLUP, CUBE or GROUPING SETS")
        }
        ("grouping", _) => {
            let message = "[GROUPING_COLUMN_MISMATCH] grouping takes one of the keys of GROUP BY";
            PlanError::new(ast.span, message).hint("write it as it stands in GROUP BY")
        }
        _ => {
            let message = "[GROUPING_ID_COLUMN_MISMATCH] grouping_id takes all keys of GROUP BY, in order, or none";
            PlanError::new(ast.span, message).hint("write grouping_id()")
        }
    })
}

impl Expansion {
    /// For `keys` over `input`, with their trees, and the expressions over their groups.
    pub(super) fn new(
        sets: &GroupingSets,
        keys: Vec<Expression>,
        trees: &[Ast],
        fields: &[FieldRef],
        over: &[Ast],
        input: &SchemaRef,
    ) -> (Self, Vec<Made>) {
        let mut made: Vec<Made> = Vec::new();
        let mut columns: Vec<FieldRef> = input.fields().iter().cloned().collect();
        for (at, (key, field)) in keys.iter().zip(fields).enumerate() {
            // A group whose time is null is never complete.
            let mut metadata = field.metadata().clone();
            if sets.sets.iter().any(|set| !set.contains(&at)) {
                metadata.remove(WATERMARK);
            }
            let column = format!("{APART}{at} {}", key.meaning());
            columns.push(Arc::new(Field::new(&column, key.data_type().clone(), true).with_metadata(metadata)));
            made.push(Made { column, name: field.name().clone(), meaning: trees.get(at).cloned() });
        }
        let mut found = Vec::new();
        over.iter().for_each(|ast| calls(ast, &mut found));
        let folded_keys: Vec<Ast> = trees.iter().cloned().map(folded).collect();
        let mut constants = Vec::new();
        let mut add = |constant: Constant, column: String, name: String, meaning: Option<Ast>| {
            let ty = match constant {
                Constant::Id => DataType::Int64,
                Constant::Number => DataType::Int32,
                Constant::IsOut(_) => DataType::Int8,
            };
            columns.push(Arc::new(Field::new(&column, ty, true)));
            constants.push(constant);
            made.push(Made { column, name, meaning });
        };
        let text = |set: &Vec<usize>| set.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let all = sets.sets.iter().map(text).collect::<Vec<_>>().join(", ");
        add(Constant::Id, format!("{APART}groupings {all}"), format!("{APART}grouping_id"), None);
        if sets.sets.iter().collect::<BTreeSet<_>>().len() < sets.sets.len() {
            add(Constant::Number, format!("{APART}number"), format!("{APART}number"), None);
        }
        for (at, call) in found.into_iter().enumerate() {
            let Some((name, args)) = is_grouping(&call) else { continue };
            let args: Vec<Ast> = args.iter().cloned().map(folded).collect();
            let place = |arg: &Ast| folded_keys.iter().position(|key| key == arg);
            let title = |key: &usize| keys.get(*key).map(Expression::title).unwrap_or_default();
            let titles = |places: &[usize]| places.iter().map(title).collect::<Vec<_>>().join(", ");
            let places: Option<Vec<usize>> = args.iter().map(place).collect();
            let every: Vec<usize> = (0..folded_keys.len()).collect();
            let (constant, title) = match (name, places.as_deref()) {
                ("grouping", Some([key])) => (Constant::IsOut(*key), format!("grouping({})", titles(&[*key]))),
                ("grouping_id", Some([])) => (Constant::Id, "grouping_id()".to_owned()),
                ("grouping_id", Some(places)) if places == every && sets.window.is_none() => {
                    (Constant::Id, format!("grouping_id({})", titles(places)))
                }
                _ => continue,
            };
            add(constant, format!("{APART}constant {at}"), title, Some(call));
        }
        let schema = Arc::new(Schema::new(columns));
        (Self { keys, sets: sets.clone(), constants, schema }, made)
    }

    /// The keys, over what comes in.
    pub(super) fn keys(&self) -> &[Expression] {
        &self.keys
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of each set, made one set at a time.
    pub(super) fn expand(&self, batch: &RecordBatch) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let keys = self.keys.iter().map(|key| key.evaluate(batch)).collect::<Result<Vec<_>>>()?;
        let rows = batch.num_rows();
        let nulls: Vec<ArrayRef> = keys.iter().map(|key| new_null_array(key.data_type(), rows)).collect();
        let one = move |(number, set): (usize, &Vec<usize>)| {
            let mut columns = batch.columns().to_vec();
            for (at, (key, null)) in keys.iter().zip(&nulls).enumerate() {
                columns.push(Arc::clone(if set.contains(&at) { key } else { null }));
            }
            for constant in &self.constants {
                columns.push(match constant {
                    Constant::Id => Arc::new(Int64Array::from_value(self.sets.id(set, keys.len()), rows)) as ArrayRef,
                    Constant::Number => {
                        Arc::new(Int32Array::from_value(i32::try_from(number).unwrap_or(i32::MAX), rows))
                    }
                    Constant::IsOut(key) => Arc::new(Int8Array::from_value(i8::from(!set.contains(key)), rows)),
                });
            }
            Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
        };
        Ok(self.sets.sets.iter().enumerate().map(one))
    }
}
