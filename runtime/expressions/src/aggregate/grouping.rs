//! A grouped query: its keys, its aggregates, and the expressions over both.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_physical_expr::expressions::Column;
use levada_connector_api::{Error, Result};

use super::functions::{self, AggregateCall, Overflow};
use super::sets::{self, Expansion};
use crate::ast::{Ast, Item, Node, PlanError, Planned};
use crate::expression::output_name;
use crate::parse::GroupingSets;
use crate::planner::Planner;
use crate::{Expression, SqlOptions, parse};

/// What is to be grouped and computed.
#[derive(Debug, Clone, Default)]
pub struct GroupingSpec {
    /// Columns that the operator itself makes, such as `window`, with the expressions that mean them beside their names.
    pub made: Vec<(FieldRef, Vec<String>)>,
    /// The grouping expressions, with or without `AS name`.
    pub keys: Vec<String>,
    /// Several groupings by some of the keys each, instead of one by all.
    pub sets: Option<GroupingSets>,
    /// Names of selected expressions: a key that is no column of the input may be one of them.
    pub aliases: Vec<(String, String)>,
    /// What is selected: expressions over made columns, keys and aggregates.
    pub items: Vec<String>,
    /// Whether made columns and keys stand before the items, as in `groupBy(…).agg(…)`; in a SELECT they do not.
    pub keys_first: bool,
    /// A condition on the results, over the same columns and aggregates.
    pub having: Option<String>,
}

/// A grouped query that was compiled for a schema.
#[derive(Debug, Clone)]
pub struct Grouping {
    keys: Vec<Expression>,
    expansion: Option<Expansion>,
    calls: Vec<AggregateCall>,
    outputs: Vec<Expression>,
    having: Option<Expression>,
    /// Made columns, keys, and the results of the calls.
    grouped: SchemaRef,
    schema: SchemaRef,
}

impl Grouping {
    /// Compiles a grouped query for batches of the schema `input`.
    ///
    /// # Errors
    /// An expression is none, does not fit the schema, or reads a column that is neither grouped by nor aggregated. The
    /// message quotes the expression and names the place in it.
    pub fn compile(spec: &GroupingSpec, input: &SchemaRef, options: &SqlOptions) -> Result<Self> {
        options.check()?;
        let planner = Planner { schema: input, ansi: options.ansi };
        let mut named: Vec<(Ast, String)> = Vec::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for (field, meanings) in &spec.made {
            for text in meanings {
                let ast = parse::expression(text).map_err(|e| e.locate(text))?;
                named.push((ast, field.name().clone()));
            }
            fields.push(field.clone());
        }
        let mut keys = Vec::new();
        for text in &spec.keys {
            let text = spec.key_text(text, &planner);
            let Item { expr, aliases } = parse::item(text).map_err(|e| e.locate(text))?;
            steady(&expr).map_err(|e| e.locate(text))?;
            let typed = planner.plan(&expr).map_err(|e| e.locate(text))?;
            let own = output_name(&expr, &typed);
            let name = aliases.first().cloned().unwrap_or(own);
            let column = typed.expr.downcast_ref::<Column>().and_then(|column| input.fields().get(column.index()));
            let metadata = column.map(|field| field.metadata().clone()).unwrap_or_default();
            if matches!(typed.ty, DataType::Map(_, _)) {
                let error = PlanError::new(typed.span, "a map cannot be grouped by: its entries have no order");
                return Err(error.hint("group by its entries: map_entries(…)").locate(text));
            }
            fields.push(Arc::new(Field::new(&name, typed.ty.clone(), true).with_metadata(metadata)));
            named.push((expr, name.clone()));
            keys.push(Expression::new(text, name, typed));
        }
        let mut expansion = None;
        if let Some(sets) = &spec.sets {
            let made = spec.made.len();
            let own = fields.split_off(made);
            let meanings = named.iter().map(|(ast, _)| ast);
            let trees: Vec<Ast> = meanings.skip(named.len() - keys.len()).cloned().collect();
            named.truncate(named.len() - keys.len());
            let over = spec.over()?;
            let (new, columns) = Expansion::new(sets, keys, &trees, &own, &over, input);
            keys = Vec::new();
            let planner = Planner { schema: new.schema(), ansi: options.ansi };
            for column in columns {
                let ast = Ast::new(Node::Name(column.column.clone()), crate::ast::Span::new(0, 0));
                let typed = planner.plan(&ast).map_err(|e| e.locate(&column.name))?;
                let field = new.schema().field_with_name(&column.column)?;
                fields.push(Arc::new(field.clone().with_name(&column.name)));
                named.extend(column.meaning.map(|meaning| (meaning, column.name.clone())));
                keys.push(Expression::new(&column.name, column.name.clone(), typed));
            }
            expansion = Some(new);
        }
        let before = fields.len();
        let several = expansion.is_some();
        let mut lift =
            Lift { planner, named, before: &fields.clone(), calls: Vec::new(), asts: Vec::new(), text: "", several };
        let mut items: Vec<(String, Ast, Option<String>)> = Vec::new();
        if spec.keys_first {
            for field in &fields {
                let ast = Ast::new(Node::Name(field.name().clone()), crate::ast::Span::new(0, 0));
                items.push((field.name().clone(), ast, Some(field.name().clone())));
            }
        }
        for text in &spec.items {
            let Item { expr, aliases } = parse::item(text).map_err(|e| e.locate(text))?;
            lift.text = text;
            let lifted = lift.lift(expr).map_err(|e| e.locate(text))?;
            items.push((text.clone(), lifted, aliases.first().cloned()));
        }
        let mut having = None;
        if let Some(text) = &spec.having {
            lift.text = text;
            let ast = parse::expression(text).and_then(|ast| lift.lift(ast)).map_err(|e| e.locate(text))?;
            having = Some((text, unaliased(ast, &items, &fields)));
        }
        let calls = lift.calls;
        fields.extend(calls.iter().map(|call| Arc::new(Field::new(&call.name, call.ty.clone(), true))));
        let grouped = Arc::new(Schema::new(fields));
        let planner = Planner { schema: &grouped, ansi: options.ansi };
        let mut outputs = Vec::new();
        let mut out = Vec::new();
        for (text, ast, alias) in items {
            let typed = planner.plan(&ast).map_err(|e| explain(e, input, before).locate(&text))?;
            let name = alias.unwrap_or_else(|| shown(&output_name(&ast, &typed)));
            let column = typed.expr.downcast_ref::<Column>().and_then(|column| grouped.fields().get(column.index()));
            let field = column.map(|field| field.as_ref().clone().with_name(&name));
            out.push(Arc::new(field.unwrap_or_else(|| Field::new(&name, typed.ty.clone(), true))));
            outputs.push(Expression::new(&text, name, typed));
        }
        let having = match having {
            Some((text, ast)) => {
                let typed = planner.condition(&ast).map_err(|e| explain(e, input, before).locate(text))?;
                Some(Expression::new(text, String::new(), typed))
            }
            None => None,
        };
        Ok(Self {
            keys,
            expansion,
            calls,
            outputs,
            having,
            grouped: grouped.clone(),
            schema: Arc::new(Schema::new(out)),
        })
    }

    /// Fails no more for what only outputs that are not `wanted` read: these are null. The state stays the same.
    pub fn spare(&mut self, wanted: impl Fn(&str) -> bool) {
        let made = self.grouped.fields().len() - self.calls.len();
        for (output, field) in self.outputs.iter_mut().zip(self.schema.fields()) {
            if !wanted(field.name()) && output.column().is_none_or(|at| at >= made) {
                *output = output.spared();
            }
        }
        let read: BTreeSet<usize> = self.outputs.iter().chain(&self.having).flat_map(Expression::reads).collect();
        for (at, call) in self.calls.iter_mut().enumerate() {
            if !read.contains(&(made + at)) {
                call.overflow = Overflow::Null;
                call.args.iter_mut().chain(&mut call.filter).for_each(|arg| *arg = arg.rescued());
            }
        }
    }

    /// What of the input the grouping expressions are.
    pub fn sources(&self) -> &[Expression] {
        self.expansion.as_ref().map_or(&self.keys, Expansion::keys)
    }

    /// The rows once for each of several groupings, made one grouping at a time, with the columns that [`keys`](Self::keys)
    /// read; `None` if there is one grouping.
    ///
    /// # Errors
    /// A grouping expression cannot be computed, under ANSI.
    pub fn expanded(&self, batch: &RecordBatch) -> Option<Result<impl Iterator<Item = Result<RecordBatch>>>> {
        self.expansion.as_ref().map(|expansion| expansion.expand(batch))
    }

    /// The grouping expressions: over the input, or over [`expanded`](Self::expanded) rows.
    pub fn keys(&self) -> &[Expression] {
        &self.keys
    }

    /// The aggregates, over the input.
    pub fn calls(&self) -> &[AggregateCall] {
        &self.calls
    }

    /// The expression over the input that the output column `at` is, if that is a key.
    pub fn key_source(&self, at: usize) -> Option<String> {
        if self.expansion.is_some() {
            return None;
        }
        let name = self.schema.fields().get(at)?.name();
        let plain = self.outputs.get(at)?.source()? == format!("`{}`", name.replace('`', "``"));
        self.keys.iter().find(|key| plain && key.name() == name)?.source()
    }

    /// Made columns, keys, and the results of the calls: what [`finish`](Self::finish) takes.
    pub fn grouped(&self) -> &SchemaRef {
        &self.grouped
    }

    /// What comes out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Computes what comes out of made columns, keys and results.
    ///
    /// # Errors
    /// A row cannot be evaluated, under ANSI.
    pub fn finish(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut grouped = RecordBatch::try_new_with_options(self.grouped.clone(), columns, &options)?;
        if let Some(having) = &self.having {
            let mask = having.evaluate(&grouped)?;
            let mask = arrow::array::AsArray::as_boolean_opt(&mask)
                .ok_or_else(|| Error::internal("a condition gave no booleans"))?;
            grouped = arrow::compute::filter_record_batch(&grouped, mask)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(grouped.num_rows()));
        let columns = self.outputs.iter().map(|output| output.evaluate(&grouped)).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(Error::from)
    }
}

/// What keeps apart calls that Spark calls the same; not shown.
pub(super) const APART: char = '\u{200b}';

fn shown(name: &str) -> String {
    name.replace(APART, "")
}

/// Refuses what is not the same when a micro-batch is repeated: it would be in the state.
fn steady(ast: &Ast) -> Planned<()> {
    const VOLATILE: &[&str] = &["rand", "randn", "random", "uuid", "now", "current_timestamp", "current_date"];
    match &ast.node {
        Node::Name(name) | Node::Call { name, .. } if VOLATILE.contains(&name.to_ascii_lowercase().as_str()) => {
            let message =
                format!("{name} is another value when a micro-batch is repeated, so it cannot go into the state");
            Err(PlanError::new(ast.span, message).hint("use a time that the rows have"))
        }
        node => node.children().try_for_each(steady),
    }
}

impl GroupingSpec {
    /// The expressions over groups.
    fn over(&self) -> Result<Vec<Ast>> {
        let item = |text: &String| parse::item(text).map(|item| item.expr).map_err(|e| e.locate(text));
        self.items.iter().chain(&self.having).map(item).collect()
    }

    /// What a key is: itself, or the selected expression that it names when the input has no such column.
    fn key_text<'a>(&'a self, text: &'a str, planner: &Planner<'_>) -> &'a str {
        let Ok(Item { expr: Ast { node: Node::Name(name), .. }, .. }) = parse::item(text) else { return text };
        let known = planner.schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(&name));
        let named = self.aliases.iter().find(|(alias, _)| !known && alias.eq_ignore_ascii_case(&name));
        named.map_or(text, |(_, expression)| expression)
    }
}

/// A condition on results with what its names stand for, where they are names of items and not of keys.
fn unaliased(ast: Ast, items: &[(String, Ast, Option<String>)], keys: &[FieldRef]) -> Ast {
    if let Node::Name(name) = &ast.node {
        let is_key = keys.iter().any(|key| key.name().eq_ignore_ascii_case(name));
        let named = |(_, _, alias): &&(String, Ast, Option<String>)| {
            alias.as_ref().is_some_and(|alias| alias.eq_ignore_ascii_case(name))
        };
        return match items.iter().find(named).filter(|_| !is_key) {
            Some((_, item, _)) => item.clone(),
            None => ast,
        };
    }
    let span = ast.span;
    let mapped = ast.node.clone().map(&mut |child| Ok(unaliased(child, items, keys)));
    mapped.map_or(ast, |node| Ast::new(node, span))
}

/// A column of the input that is not among the keys.
fn explain(error: PlanError, input: &SchemaRef, keys: usize) -> PlanError {
    let quoted = error.message.split('\'').nth(1).unwrap_or_default().to_owned();
    let known = input.fields().iter().any(|field| field.name().eq_ignore_ascii_case(&quoted));
    if !(error.message.starts_with("[UNRESOLVED_COLUMN]") && known) {
        return error;
    }
    let message = format!("[MISSING_AGGREGATION] the column '{quoted}' is neither grouped by nor aggregated");
    let hint = match keys {
        0 => format!("use an aggregate such as any_value({quoted})"),
        _ => format!("group by it, or use an aggregate such as any_value({quoted})"),
    };
    PlanError::new(error.span, message).hint(hint)
}

/// Takes keys and aggregates out of expressions, and puts names in their places.
struct Lift<'a> {
    planner: Planner<'a>,
    named: Vec<(Ast, String)>,
    before: &'a [FieldRef],
    calls: Vec<AggregateCall>,
    /// The calls as they were written.
    asts: Vec<Ast>,
    text: &'a str,
    /// There are several groupings.
    several: bool,
}

impl Lift<'_> {
    fn lift(&mut self, ast: Ast) -> Planned<Ast> {
        if let Some((_, name)) = self.named.iter().find(|(key, _)| *key == ast) {
            return Ok(Ast::new(Node::Name(name.clone()), ast.span));
        }
        if let Some(error) = sets::refused(&ast, self.several) {
            return Err(error);
        }
        let (call, distinct, order, filter) = match &ast.node {
            Node::Modified { call, distinct, order, filter } => {
                (&call.node, *distinct, order.as_slice(), filter.as_deref())
            }
            node => (node, false, [].as_slice(), None),
        };
        if let Node::Call { name, args } = call
            && functions::is_aggregate(name)
        {
            let planned = functions::plan(&self.planner, self.text, (name, args), (distinct, order, filter), ast.span)?;
            if self.before.iter().any(|field| *field.name() == planned.name) {
                let message = format!("a key is called '{}', as this aggregate is", planned.name);
                return Err(PlanError::new(ast.span, message).hint("rename the key"));
            }
            let mut planned = planned;
            let known = self.asts.iter().position(|known| *known == ast);
            let name = match known.and_then(|at| self.calls.get(at)) {
                Some(call) => call.name.clone(),
                None => {
                    // Spark's names leave out quotes: max('k') and max(k) are called the same.
                    while self.calls.iter().any(|call| call.name == planned.name) {
                        planned.name.push(APART);
                    }
                    steady(&ast)?;
                    let name = planned.name.clone();
                    self.calls.push(planned);
                    self.asts.push(ast.clone());
                    name
                }
            };
            return Ok(Ast::new(Node::Name(name), ast.span));
        }
        let span = ast.span;
        Ok(Ast::new(ast.node.map(&mut |child| self.lift(child))?, span))
    }
}
