//! One expression.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::utils::collect_columns;
use levada_connector_api::Result;

use super::SqlOptions;
use super::ast::{Ast, Node};
use super::call::Rescue;
use super::error::evaluation;
use super::parse;
use super::planner::Planner;
use super::typed::Typed;

/// An expression that was compiled for a schema.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    name: String,
    /// What Spark calls it, whatever its alias.
    title: Arc<str>,
    ty: DataType,
    expr: Arc<dyn PhysicalExpr>,
    hidden: bool,
}

impl Expression {
    /// Compiles `text`, which may end in `AS name`, for batches of the schema `input`.
    ///
    /// # Errors
    /// The text is no expression, or it does not fit the schema. The message quotes the expression, names the place in
    /// it, and says what to do.
    pub fn compile(text: &str, input: &SchemaRef, options: &SqlOptions) -> Result<Self> {
        options.check()?;
        let planner = Planner { schema: input, ansi: options.ansi };
        let compile = || {
            let item = parse::item(text)?;
            let typed = planner.plan(&item.expr)?;
            let name = item.aliases.first().cloned().unwrap_or_else(|| output_name(&item.expr, &typed));
            Ok(Self::new(text, name, typed))
        };
        compile().map_err(|error: super::ast::PlanError| error.locate(text))
    }

    pub(crate) fn new(text: &str, name: String, typed: Typed) -> Self {
        let title = typed.name.into();
        Self { text: Arc::from(text), name, title, ty: typed.ty, expr: typed.expr, hidden: false }
    }

    /// The same, computed by another compiled form.
    pub(crate) fn with_physical(&self, expr: Arc<dyn PhysicalExpr>) -> Self {
        Self { expr, ..self.clone() }
    }

    /// Null of its type: nobody looks at the result.
    pub(crate) fn spared(&self) -> Self {
        match datafusion_common::ScalarValue::try_from(&self.ty) {
            Ok(null) => self.with_physical(Arc::new(Literal::new(null))),
            Err(_) => self.clone(),
        }
    }

    /// The same, but null where it cannot be computed.
    pub(crate) fn rescued(&self) -> Self {
        self.with_physical(Arc::new(Rescue::new(Arc::clone(&self.expr), self.ty.clone())))
    }

    /// The name of the result: the alias, or the one that Spark makes up.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What Spark calls it, whatever its alias.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// The type of the result.
    pub fn data_type(&self) -> &DataType {
        &self.ty
    }

    /// The number of the input column that it is, if it is one and nothing more.
    pub fn column(&self) -> Option<usize> {
        self.expr.downcast_ref::<Column>().map(Column::index)
    }

    /// The numbers of the input columns that are read, in order.
    pub fn reads(&self) -> Vec<usize> {
        let columns: BTreeSet<usize> = collect_columns(&self.expr).iter().map(Column::index).collect();
        columns.into_iter().collect()
    }

    /// The compiled form, for those who evaluate it themselves.
    pub fn physical(&self) -> &Arc<dyn PhysicalExpr> {
        &self.expr
    }

    /// What it computes, whatever its alias: equal for expressions that were written alike, for the fingerprint of a
    /// state. Spark's name alone does not tell a column from a text, so the columns that are read stand beside it.
    pub fn meaning(&self) -> String {
        if let Some(column) = self.expr.downcast_ref::<Column>() {
            return column.name().to_owned();
        }
        let columns = collect_columns(&self.expr);
        let columns: BTreeSet<&str> = columns.iter().map(Column::name).collect();
        let columns: Vec<&str> = columns.into_iter().collect();
        match columns.as_slice() {
            [] => self.title.to_string(),
            // Cast to what a function takes.
            [column] if *column == &*self.title => self.title.to_string(),
            columns => format!("{} of {}", self.title, columns.join(", ")),
        }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its text is not to be used in its place: it has names that the input does not have.
    pub(crate) fn hide_source(&mut self) {
        self.hidden = true;
    }

    /// The expression without its alias, in brackets; a column of a `*` by its name.
    pub(crate) fn source(&self) -> Option<String> {
        if let Some(column) = self.expr.downcast_ref::<Column>() {
            return Some(format!("`{}`", column.name().replace('`', "``")));
        }
        let item = parse::item(&self.text).ok()?;
        if self.hidden || matches!(item.expr.node, Node::Star(_) | Node::Except(_, _)) {
            return None;
        }
        self.text.get(item.expr.span.start..item.expr.span.end).map(|text| format!("({text})"))
    }

    /// Evaluates all rows of `batch`.
    ///
    /// # Errors
    /// A row cannot be evaluated, under ANSI; or the batch has another schema than the expression was compiled for.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        self.expr
            .evaluate(batch)
            .and_then(|value| value.into_array(batch.num_rows()))
            .map_err(|error| evaluation(&self.text, &error))
    }
}

/// What Spark calls an output column without an alias.
pub(crate) fn output_name(ast: &Ast, typed: &Typed) -> String {
    match &ast.node {
        Node::Name(name) if typed.expr.downcast_ref::<Column>().is_some() => name.clone(),
        // A cast of a column keeps its name.
        Node::Cast { value, .. } => cast_column(value).unwrap_or(&typed.name).to_owned(),
        Node::Field(base, name) if is_path(base) => name.clone(),
        _ => typed.name.clone(),
    }
}

fn cast_column(ast: &Ast) -> Option<&str> {
    match &ast.node {
        Node::Name(name) => Some(name),
        Node::Cast { value, .. } => cast_column(value),
        _ => None,
    }
}

fn is_path(ast: &Ast) -> bool {
    match &ast.node {
        Node::Name(_) => true,
        Node::Field(base, _) => is_path(base),
        _ => false,
    }
}
