//! `Sql`: a query over the rows that come in.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{
    BadRow, Batch, BatchInfo, BindContext, Bound, Emitted, Error, EventTime, Plugin, Result, StateImage, StateKind,
    StateStats, TaskContext, Transform, TransformPlugin, async_trait,
};
use levada_expressions::{
    From, GroupingSpec, SqlOptions, Statement, WindowCall, parse_delay, parse_interval, parse_statement,
};
use levada_transform_aggregate::{Grouped, GroupedSpec, TimeSpec};

use crate::filter::{Filter, ansi_key};
use crate::filter_project::FilterProject;
use crate::order::Order;

/// What a query needs beside its text.
#[derive(Debug, Clone, Default)]
struct Options {
    sql: SqlOptions,
    /// In milliseconds.
    watermark: Option<i64>,
    state_limit: Option<u64>,
    threads: Option<usize>,
}

/// A step of a query.
enum Step {
    Plain(Box<FilterProject>),
    Other(Box<dyn Transform>),
}

impl Step {
    fn transform(&self) -> &dyn Transform {
        match self {
            Self::Plain(step) => step.as_ref(),
            Self::Other(step) => step.as_ref(),
        }
    }

    fn transform_mut(&mut self) -> &mut dyn Transform {
        match self {
            Self::Plain(step) => step.as_mut(),
            Self::Other(step) => step.as_mut(),
        }
    }
}

/// The steps of a query, from the innermost FROM outwards.
struct Query {
    steps: Vec<Step>,
    /// The one with state: a query has at most one.
    stateful: Option<usize>,
}

fn window(call: &WindowCall) -> Result<TimeSpec> {
    let wrong = |usage: &str| Error::config(format!("\"{}\": write it as {usage}", call.text));
    let span = |text: &String| {
        let bare = text.trim().trim_start_matches(['\'', '"']).trim_end_matches(['\'', '"']);
        parse_interval(bare).map_err(|error| error.context(format!("\"{}\"", call.text)))
    };
    let spec = |column: &String, size: i64, slide: i64, offset: i64| {
        let refuse = |what: &str| Err(Error::config(format!("\"{}\": {what}", call.text)));
        if size <= 0 || slide <= 0 {
            return refuse("a window and its slide must be longer than nothing");
        }
        if slide > size {
            return refuse("the slide must not be longer than the window: rows between windows would be lost");
        }
        if offset.abs() >= slide {
            return refuse("the offset must be shorter than the slide");
        }
        Ok(TimeSpec::Window { column: column.clone(), size, slide, offset })
    };
    match (call.name.as_str(), call.args.as_slice()) {
        ("tumble" | "window", [column, size]) => {
            let size = span(size)?;
            spec(column, size, size, 0)
        }
        ("tumble", [column, size, offset]) => {
            let size = span(size)?;
            spec(column, size, size, span(offset)?)
        }
        ("hop", [column, slide, size]) => spec(column, span(size)?, span(slide)?, 0),
        ("hop", [column, slide, size, offset]) => spec(column, span(size)?, span(slide)?, span(offset)?),
        ("window", [column, size, slide]) => spec(column, span(size)?, span(slide)?, 0),
        ("window", [column, size, slide, offset]) => spec(column, span(size)?, span(slide)?, span(offset)?),
        ("session" | "session_window", [column, gap]) => {
            let bare = gap.trim().trim_start_matches('\'').trim_end_matches('\'');
            let gap = if parse_interval(bare).is_ok() { bare.to_owned() } else { gap.clone() };
            Ok(TimeSpec::Session { column: column.clone(), gap })
        }
        ("hop", _) => Err(wrong("hop(time, slide, size)")),
        ("session" | "session_window", _) => Err(wrong("session(time, gap)")),
        (name, _) => Err(wrong(&format!("{name}(time, size)"))),
    }
}

impl Query {
    fn new(text: &str, options: &Options) -> Result<Self> {
        let mut query = Self { steps: Vec::new(), stateful: None };
        query.add(&parse_statement(text)?, options)?;
        if options.watermark.is_some() && query.stateful.is_none() {
            return Err(Error::config("watermark: the query has no window that it could close")
                .hint("leave it out, or put a Watermark before an aggregation further on"));
        }
        Ok(query)
    }

    fn add(&mut self, statement: &Statement, options: &Options) -> Result<()> {
        if let From::Query(inner) = &statement.from {
            self.add(inner, options)?;
        }
        if !statement.grouped {
            let (filter, mut items) = (statement.filter.clone(), statement.items.clone());
            items.extend(Order::hidden(&statement.order));
            self.steps.push(Step::Plain(Box::new(FilterProject::new(filter, items, options.sql.clone()))));
            self.order(statement);
            return Ok(());
        }
        if let Some(filter) = &statement.filter {
            self.steps.push(Step::Other(Box::new(Filter::new(filter.clone(), options.sql.clone()))));
        }
        if self.stateful.is_some() {
            return Err(Error::unsupported("a query with two aggregations, one over the other")
                .hint("make the second one a transform of its own"));
        }
        self.stateful = Some(self.steps.len());
        let time = statement.window.as_ref().map(window).transpose()?.unwrap_or_default();
        let watermark = match (&time, options.watermark) {
            (TimeSpec::Window { column, .. } | TimeSpec::Session { column, .. }, Some(delay)) => {
                Some((column.trim_matches('`').to_owned(), delay))
            }
            (TimeSpec::None, Some(_)) => {
                return Err(Error::config("watermark: the query has no window that it could close")
                    .hint("add tumble(time, INTERVAL '20 seconds') to GROUP BY"));
            }
            (_, None) => None,
        };
        let mut meanings: Vec<String> = statement.window.iter().map(|call| call.text.clone()).collect();
        if matches!(time, TimeSpec::Session { .. }) {
            meanings.push("window".to_owned());
        }
        self.steps.push(Step::Other(Box::new(Grouped::new(GroupedSpec {
            time,
            watermark,
            window_column: None,
            window_meanings: meanings,
            grouping: GroupingSpec {
                made: Vec::new(),
                keys: statement.group_by.clone(),
                sets: statement.sets.clone(),
                aliases: statement.aliases.clone(),
                items: statement.items.iter().cloned().chain(Order::hidden(&statement.order)).collect(),
                keys_first: false,
                having: statement.having.clone(),
            },
            options: options.sql.clone(),
            state_limit: options.state_limit,
            threads: options.threads,
        }))));
        self.order(statement);
        Ok(())
    }

    fn order(&mut self, statement: &Statement) {
        if !statement.order.is_empty() || statement.limit.is_some() {
            self.steps.push(Step::Other(Box::new(Order::new(statement.order.clone(), statement.limit))));
        }
    }
}

/// Whose query a step is of.
struct Part {
    /// The transform's alias; `None`: the one that this transform is known by.
    alias: Option<String>,
    key: String,
}

/// A query over the rows that come in, or several, each over what the one before yields.
struct Sql {
    /// The steps, each with the number of its part.
    steps: Vec<(Step, usize)>,
    parts: Vec<Part>,
    /// The step with state: there is at most one.
    stateful: Option<usize>,
}

impl Sql {
    fn new(queries: Vec<(Part, Query)>) -> Self {
        let mut sql = Self { steps: Vec::new(), parts: Vec::new(), stateful: None };
        for (part, query) in queries {
            sql.stateful = query.stateful.map(|at| sql.steps.len() + at).or(sql.stateful);
            sql.steps.extend(query.steps.into_iter().map(|step| (step, sql.parts.len())));
            sql.parts.push(part);
        }
        sql
    }

    /// Sends batches through a step.
    async fn push(step: &mut Step, batches: Vec<Batch>, rejected: &mut Vec<BadRow>) -> Result<Vec<Batch>> {
        let mut next = Vec::with_capacity(batches.len());
        for batch in batches {
            let emitted = step.transform_mut().process(batch).await?;
            rejected.extend(emitted.rejected);
            next.extend(emitted.batches);
        }
        Ok(next)
    }

    fn stateful(&mut self) -> Option<&mut dyn Transform> {
        self.stateful.and_then(|at| self.steps.get_mut(at)).map(|(step, _)| step.transform_mut())
    }

    /// Makes neighbours one where that can be.
    fn fuse(&mut self) {
        for at in 1..self.steps.len() {
            let (before, after) = self.steps.split_at_mut(at);
            if let (Some((Step::Plain(below), _)), Some((Step::Plain(step), _))) =
                (before.last_mut(), after.first_mut())
            {
                step.absorb(below);
            }
        }
    }
}

#[async_trait]
impl Transform for Sql {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let mut bound = Bound::stateless(Arc::clone(input));
        for (step, part) in &mut self.steps {
            let Some(part) = self.parts.get(*part) else { continue };
            let mut context = context.clone();
            context.aggregated |= bound.aggregates;
            if let Some(alias) = &part.alias {
                context.alias.clone_from(alias);
            }
            let next =
                step.transform_mut().bind(&bound.schema, &context).map_err(|error| error.context(part.key.clone()))?;
            bound = Bound {
                schema: next.schema,
                stateful: bound.stateful || next.stateful,
                aggregates: bound.aggregates || next.aggregates,
                watermark: bound.watermark.or(next.watermark),
            };
        }
        self.fuse();
        Ok(bound)
    }

    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let first = self.steps.first_mut();
        first.map(|(step, _)| step.transform_mut().split_off(copies, origin)).unwrap_or_default()
    }

    fn origin(&self, column: &str) -> Option<String> {
        let mut steps = self.steps.iter().rev().map(|(step, _)| step.transform());
        let mut source = steps.next()?.origin(column)?;
        for step in steps {
            // Further down only columns that are passed on as they are.
            let name = source.strip_prefix('`')?.strip_suffix('`')?.replace("``", "`");
            source = step.origin(&name)?;
        }
        Some(source)
    }

    fn wanted(&mut self, wanted: Option<&[String]>) {
        let mut wanted = wanted.map(<[String]>::to_vec);
        for (step, _) in self.steps.iter_mut().rev() {
            let transform = step.transform_mut();
            transform.wanted(wanted.as_deref());
            wanted = transform.reads(wanted.as_deref());
        }
    }

    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let wanted = wanted.map(<[String]>::to_vec);
        self.steps.iter().rev().fold(wanted, |wanted, (step, _)| step.transform().reads(wanted.as_deref()))
    }

    async fn open(&mut self, context: &TaskContext) -> Result<()> {
        for (step, _) in &mut self.steps {
            step.transform_mut().open(context).await?;
        }
        Ok(())
    }

    fn begin(&mut self, batch: &BatchInfo) -> Result<()> {
        self.steps.iter_mut().try_for_each(|(step, _)| step.transform_mut().begin(batch))
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let (mut batches, mut rejected) = (vec![batch], Vec::new());
        for (step, _) in &mut self.steps {
            batches = Self::push(step, batches, &mut rejected).await?;
        }
        Ok(Emitted { batches, rejected })
    }

    async fn finish(&mut self, batch_id: u64) -> Result<Emitted> {
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        for (step, _) in &mut self.steps {
            batches = Self::push(step, batches, &mut rejected).await?;
            let emitted = step.transform_mut().finish(batch_id).await?;
            rejected.extend(emitted.rejected);
            batches.extend(emitted.batches);
        }
        Ok(Emitted { batches, rejected })
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        match self.stateful() {
            Some(step) => step.checkpoint(kind).await,
            None => Ok(None),
        }
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        match self.stateful() {
            Some(step) => step.restore(image).await,
            None => Err(Error::corrupt("the checkpoint has a state, and the query has no aggregation")
                .hint("bring the old query back, or start anew with another checkpoint.location and name")),
        }
    }

    fn event_time(&self) -> Option<EventTime> {
        self.steps.iter().find_map(|(step, _)| step.transform().event_time())
    }

    fn stats(&self) -> Option<StateStats> {
        self.steps.iter().find_map(|(step, _)| step.transform().stats())
    }
}

/// Makes [`Sql`] transforms.
#[derive(Debug, Clone, Copy)]
pub struct SqlPlugin;

impl Plugin for SqlPlugin {
    fn name(&self) -> &str {
        "Sql"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "A query in Spark SQL over the rows that come in: SELECT … FROM input WHERE … GROUP BY …"
    }

    fn config_def(&self) -> ConfigDef {
        let query = "The query. Its table is called input. GROUP BY takes tumble(time, size), hop(time, slide, size) and \
                     session(time, gap), or Spark's window(time, size, slide) and session_window(time, gap); the window is \
                     then the column window (session_window), with start and end";
        let watermark = "How long after a later event an event may still come; puts a watermark on the time of the query's \
                         window. Not needed when a Watermark stands before";
        ConfigDef::new()
            .key(
                ConfigKey::new("query", ConfigType::String, Importance::High, query)
                    .validator(Validator::new("a query that can be streamed", |text| {
                        parse_statement(text).map(|_| ()).map_err(|error| error.to_string())
                    })),
            )
            .key(ConfigKey::new("watermark", ConfigType::String, Importance::High, watermark).optional().validator(
                Validator::new("an interval such as '20 seconds', not negative", |text| {
                    parse_delay(text).map(|_| ()).map_err(|error| error.to_string())
                }),
            ))
            .key(ansi_key())
            .key(
                ConfigKey::new(
                    "state.limit",
                    ConfigType::Size,
                    Importance::Low,
                    "The most memory that the state may take: beyond it the task fails. Default: no limit",
                )
                .optional(),
            )
            .key(
                ConfigKey::new(
                    "threads",
                    ConfigType::Int,
                    Importance::Low,
                    "How many threads aggregate. Not given: as many as the machine has cores",
                )
                .optional()
                .validator(Validator::between(1, 64)),
            )
    }
}

/// The query of a configuration.
fn query(config: &Config) -> Result<(String, Query)> {
    let options = Options {
        sql: SqlOptions { ansi: config.bool("ansi"), ..SqlOptions::default() },
        watermark: config.string_opt("watermark").map(|delay| parse_delay(&delay)).transpose()?,
        state_limit: config.size_opt("state.limit"),
        threads: config.int_opt("threads").and_then(|threads| usize::try_from(threads).ok()),
    };
    let key = config.full_key("query");
    let query = Query::new(&config.string("query"), &options).map_err(|error| error.context(key.clone()))?;
    Ok((key, query))
}

impl TransformPlugin for SqlPlugin {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let (key, query) = query(config)?;
        Ok(Box::new(Sql::new(vec![(Part { alias: None, key }, query)])))
    }

    /// A chain of queries is one query with the others in its FROM. Only the last may aggregate: under its alias the state
    /// is kept, whatever stands before it.
    fn chain(&self, parts: &[(&str, &Config)]) -> Option<Box<dyn Transform>> {
        let mut queries = Vec::with_capacity(parts.len());
        for (at, (alias, config)) in parts.iter().enumerate() {
            let (key, query) = query(config).ok()?;
            if query.stateful.is_some() && at + 1 < parts.len() {
                return None;
            }
            queries.push((Part { alias: Some((*alias).to_owned()), key }, query));
        }
        Some(Box::new(Sql::new(queries)))
    }
}
