//! Select lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use levada_connector_api::{Error, Result};

use super::ast::{Ast, Item, Node, PlanError, Planned};
use super::explode::{self, Generator};
use super::expression::output_name;
use super::isolate::isolate;
use super::planner::Planner;
use super::resolve::find;
use super::typed::Typed;
use super::{Expression, SqlOptions, parse};
use crate::functions::field;

/// A select list that was compiled for a schema.
#[derive(Debug, Clone)]
pub struct Projection {
    outputs: Vec<Output>,
    generator: Option<Generator>,
    schema: SchemaRef,
}

/// Where an output column comes from.
#[derive(Debug, Clone)]
enum Output {
    Value(Expression),
    /// A column of the generator.
    Generated(usize),
}

impl Projection {
    /// Compiles a select list for batches of the schema `input`: expressions with or without `AS name`, `*`, `c.*` for
    /// the fields of a struct, and at most one `explode` (or `explode_outer`, `posexplode`, `posexplode_outer`).
    ///
    /// # Errors
    /// An item is no expression, or does not fit the schema. The message quotes the item and names the place in it.
    pub fn compile(exprs: &[&str], input: &SchemaRef, options: &SqlOptions) -> Result<Self> {
        options.check()?;
        if exprs.is_empty() {
            return Err(Error::config("the select list is empty").hint("use * for all columns"));
        }
        let planner = Planner { schema: input, ansi: options.ansi };
        let (outputs, fields, aliases) = (Vec::new(), Vec::new(), Vec::new());
        let mut list = List { planner, outputs, fields, generator: None, aliases };
        for text in exprs {
            parse::item(text).and_then(|item| list.add(text, item)).map_err(|error| error.locate(text))?;
        }
        let schema = Arc::new(Schema::new(list.fields));
        Ok(Self { outputs: list.outputs, generator: list.generator, schema })
    }

    /// The columns that come out.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The numbers of the input columns that are read, in order.
    pub fn reads(&self) -> Vec<usize> {
        self.reads_of(|_| true)
    }

    /// The same, but for the columns that are only handed on to outputs that are not `wanted`.
    pub fn reads_of(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let values = self.outputs.iter().enumerate().filter_map(|(at, output)| match output {
            Output::Value(expression) => (expression.column().is_none() || wanted(at)).then_some(expression),
            Output::Generated(_) => None,
        });
        let all = values.chain(self.generator.iter().map(Generator::value));
        let columns = all.flat_map(|expression| collect_columns(expression.physical()));
        columns.map(|column| column.index()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The same columns, of which those that are not `wanted` are not computed but null; the rows stay the same.
    pub fn spared(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let outputs = self.outputs.iter().enumerate().map(|(at, output)| match output {
            Output::Value(expression) if !wanted(at) && expression.column().is_none() => {
                Output::Value(expression.spared())
            }
            output => output.clone(),
        });
        Self { outputs: outputs.collect(), generator: self.generator.clone(), schema: self.schema() }
    }

    /// The expression that the output column `at` is of the input; none if it is made by an explode.
    pub fn source(&self, at: usize) -> Option<String> {
        match self.outputs.get(at)? {
            Output::Value(expression) => expression.source(),
            Output::Generated(_) => None,
        }
    }

    /// The output columns, unless there is an explode among them.
    pub(crate) fn values(&self) -> Option<Vec<&Expression>> {
        if self.generator.is_some() {
            return None;
        }
        let mut values = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            match output {
                Output::Value(expression) => values.push(expression),
                Output::Generated(_) => return None,
            }
        }
        Some(values)
    }

    /// The same columns, computed by other expressions.
    pub(crate) fn with_values(&self, values: Vec<Expression>) -> Self {
        let outputs = values.into_iter().map(Output::Value).collect();
        Self { outputs, generator: None, schema: self.schema() }
    }

    /// A condition without which a row gives no row: what is exploded has items. Spark infers it, and drops rows by it as
    /// soon as it can.
    pub fn needs(&self) -> Option<String> {
        let source = self.generator.as_ref()?.source.as_ref()?;
        Some(format!("size({source}) > 0"))
    }

    /// Whether each input row gives exactly one output row.
    pub fn keeps_rows(&self) -> bool {
        self.generator.is_none()
    }

    /// Computes the output columns of `batch`.
    ///
    /// # Errors
    /// A row cannot be evaluated, under ANSI.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let generated = self.generator.as_ref().map(|generator| generator.evaluate(batch)).transpose()?;
        let rows = generated.as_ref().map_or(batch.num_rows(), |generated| generated.rows.len());
        let column = |output: &Output| -> Result<ArrayRef> {
            match (output, &generated) {
                (Output::Value(expression), None) => expression.evaluate(batch),
                (Output::Value(expression), Some(generated)) => {
                    take(&expression.evaluate(batch)?, &generated.rows, None).map_err(Error::from)
                }
                (Output::Generated(index), generated) => generated
                    .as_ref()
                    .and_then(|generated| generated.columns.get(*index).cloned())
                    .ok_or_else(|| Error::internal("a generated column is missing")),
            }
        };
        let columns = self.outputs.iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema(), columns, &options).map_err(Error::from)
    }

    /// The same, going around the rows that cannot be evaluated: they are left out, and stand in the second part with
    /// their index in `batch` and the reason.
    ///
    /// # Errors
    /// Only what is a bug.
    pub fn evaluate_isolating(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<(usize, String)>)> {
        if let Ok(good) = self.evaluate(batch) {
            return Ok((good, Vec::new()));
        }
        let isolated = isolate(batch, &|part| self.evaluate(part));
        for (at, field) in self.schema.fields().iter().enumerate() {
            let texts = isolated.good.iter().filter_map(|part| part.columns().get(at)?.as_string_opt::<i32>());
            let bytes = |texts: &StringArray| match texts.value_offsets() {
                [first, .., last] => i64::from(last - first),
                _ => 0,
            };
            if texts.map(bytes).sum::<i64>() > i32::MAX.into() {
                let message = format!("the values of '{}' in a batch have more than 2 GiB together", field.name());
                return Err(Error::data(message).hint("set batch.max.rows to fewer rows"));
            }
        }
        let good = concat_batches(&self.schema, &isolated.good)?;
        Ok((good, isolated.bad))
    }
}

/// The column of which an expression is the `window_time`.
fn window_time(ast: &Ast) -> Option<&str> {
    match &ast.node {
        Node::Call { name, args } if name == "window_time" => match args.as_slice() {
            [Ast { node: Node::Name(column), .. }] => Some(column),
            _ => None,
        },
        _ => None,
    }
}

/// Larger expressions are not put in for their aliases: each of these may double what is compiled.
const MOST_NODES: usize = 1000;

fn size(ast: &Ast) -> usize {
    1 + ast.node.children().map(size).sum::<usize>()
}

/// A select list while it is compiled.
struct List<'a> {
    planner: Planner<'a>,
    outputs: Vec<Output>,
    fields: Vec<FieldRef>,
    generator: Option<Generator>,
    /// The names that items so far were given, and what they are.
    aliases: Vec<(String, Ast)>,
}

impl List<'_> {
    fn add(&mut self, text: &str, item: Item) -> Planned<()> {
        let span = item.expr.span;
        if let Node::Star(base) = &item.expr.node {
            if !item.aliases.is_empty() {
                return Err(PlanError::new(span, "* cannot have a name"));
            }
            return self.expand(text, base.as_deref(), &item.expr);
        }
        if let Node::Except(star, left_out) = &item.expr.node {
            return self.expand_but(text, star, left_out);
        }
        let written = item.expr.clone();
        let item = Item { expr: self.with_aliases(item.expr)?, ..item };
        // What it means is not what is written: nobody can take it for an expression of the input.
        let outputs = self.outputs.len();
        let lateral = item.expr != written;
        if let [name] = item.aliases.as_slice() {
            self.aliases.push((name.clone(), item.expr.clone()));
        }
        if let Node::Call { name, args } = &item.expr.node
            && name == "window"
        {
            return self.windows(text, args, &item);
        }
        if let Some((kind, args)) = explode::generator(&item.expr) {
            self.generate(text, kind, args, &item)?;
            // Its text has names that the input does not have.
            if let (Some(generator), true) = (&mut self.generator, lateral) {
                generator.source = None;
            }
            return Ok(());
        }
        let typed = self.planner.plan(&item.expr)?;
        let marked = window_time(&item.expr);
        let name = match item.aliases.as_slice() {
            [] => output_name(&item.expr, &typed),
            [name] => name.clone(),
            _ => return Err(PlanError::new(span, "several names are for explode and posexplode only")),
        };
        self.push(text, name, typed);
        if lateral && let Some(Output::Value(expression)) = self.outputs.get_mut(outputs) {
            expression.hide_source();
        }
        // The time of a window has the window's watermark.
        if let (Some(window), Some(field)) = (marked, self.fields.last_mut()) {
            let known = self.planner.schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(window));
            let metadata = known.map(|window| window.metadata().clone()).unwrap_or_default();
            *field = Arc::new(field.as_ref().clone().with_metadata(metadata));
        }
        Ok(())
    }

    /// `window(time, size, slide, start)`: a row for each window that the time is in, none for null.
    fn windows(&mut self, text: &str, args: &[Ast], item: &Item) -> Planned<()> {
        let all = Ast::new(Node::Call { name: "windows".into(), args: args.to_vec() }, item.expr.span);
        let name = item.aliases.first().cloned().unwrap_or_else(|| "window".to_owned());
        let item = Item { expr: item.expr.clone(), aliases: vec![name] };
        self.generate(text, explode::Kind::EXPLODE, &[all], &item)?;
        // It has the watermark of its time.
        if let (Some(Ast { node: Node::Name(time), .. }), Some(field)) = (args.first(), self.fields.last_mut()) {
            let known = self.planner.schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(time));
            let metadata = known.map(|time| time.metadata().clone()).unwrap_or_default();
            *field = Arc::new(field.as_ref().clone().with_metadata(metadata));
        }
        Ok(())
    }

    /// A name that no column has stands for an item before it.
    fn with_aliases(&self, ast: Ast) -> Planned<Ast> {
        if self.aliases.is_empty() {
            return Ok(ast);
        }
        if let Node::Name(name) = &ast.node {
            let same = |other: &str| other.to_lowercase() == name.to_lowercase();
            if self.planner.schema.fields().iter().any(|field| same(field.name())) {
                return Ok(ast);
            }
            let Some((_, meant)) = self.aliases.iter().rev().find(|(alias, _)| same(alias)) else { return Ok(ast) };
            if size(meant) > MOST_NODES {
                return Err(PlanError::new(
                    ast.span,
                    format!("'{name}' is too long an expression to stand here again"),
                )
                .hint("use it in the next transform"));
            }
            return Ok(meant.clone());
        }
        if let Node::Lambda { params, .. } = &ast.node
            && self.aliases.iter().any(|(alias, _)| params.iter().any(|param| param.eq_ignore_ascii_case(alias)))
        {
            return Ok(ast);
        }
        Ok(Ast::new(ast.node.map(&mut |child| self.with_aliases(child))?, ast.span))
    }

    /// All columns, or fields, but those that are named.
    fn expand_but(&mut self, text: &str, star: &Ast, left_out: &[String]) -> Planned<()> {
        let Node::Star(base) = &star.node else { return Ok(()) };
        let (outputs, fields) = (self.outputs.len(), self.fields.len());
        self.expand(text, base.as_deref(), star)?;
        let added: Fields = self.fields.split_off(fields).into();
        let mut gone = BTreeSet::new();
        for name in left_out {
            gone.insert(find(&added, name, "column", "", star.span)?);
        }
        let made = self.outputs.split_off(outputs);
        let kept = made.into_iter().zip(&added).enumerate().filter(|(at, _)| !gone.contains(at));
        for (_, (output, field)) in kept {
            self.outputs.push(output);
            self.fields.push(Arc::clone(field));
        }
        Ok(())
    }

    fn push(&mut self, text: &str, name: String, typed: Typed) {
        // A column that passes through keeps its nullability and metadata.
        let field = match typed.expr.downcast_ref::<Column>() {
            Some(column) => self.planner.schema.field(column.index()).clone().with_name(name.clone()),
            None => Field::new(name.clone(), typed.ty.clone(), true),
        };
        self.fields.push(Arc::new(field));
        self.outputs.push(Output::Value(Expression::new(text, name, typed)));
    }

    fn expand(&mut self, text: &str, base: Option<&Ast>, star: &Ast) -> Planned<()> {
        let Some(base) = base else {
            for (index, field) in self.planner.schema.fields().iter().enumerate() {
                let typed = Typed::column(field.name(), index, field.data_type().clone(), star.span);
                self.push(text, field.name().clone(), typed);
            }
            return Ok(());
        };
        let base = self.planner.plan(base)?;
        let DataType::Struct(fields) = base.ty.clone() else {
            let message = format!("'{}' is no struct, so .* has nothing to expand", base.name);
            return Err(PlanError::new(star.span, message).hint("leave out the .*"));
        };
        for field in &fields {
            let typed = field::get(base.clone(), field.name(), star.span)?;
            self.push(text, field.name().clone(), typed);
        }
        Ok(())
    }

    fn generate(&mut self, text: &str, kind: explode::Kind, args: &[Ast], item: &Item) -> Planned<()> {
        let span = item.expr.span;
        if self.generator.is_some() {
            let message = "[UNSUPPORTED_GENERATOR.MULTI_GENERATOR] a select list can explode one array only";
            return Err(PlanError::new(span, message).hint("explode the other in the next transform"));
        }
        let [value] = args else {
            let message = format!("[WRONG_NUM_ARGS] {kind} takes 1 argument, not {}", args.len());
            return Err(PlanError::new(span, message));
        };
        // Of a column only, as in Spark: an expression could be costly, or fail.
        let column = matches!(value.node, Node::Name(_));
        let source = text.get(value.span.start..value.span.end).filter(|_| column).map(str::to_owned);
        let value = self.planner.plan(value)?;
        let (mut generator, columns) = Generator::new(text, kind, value, &item.aliases, span)?;
        if generator.drops() {
            generator.source = source;
        }
        for (index, field) in columns.into_iter().enumerate() {
            self.fields.push(field);
            self.outputs.push(Output::Generated(index));
        }
        self.generator = Some(generator);
        Ok(())
    }
}
