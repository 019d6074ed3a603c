//! The aggregation as a transform.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Bound, Emitted, Error, EventTime, Result, StateImage, StateKind, StateStats,
    TaskContext, Transform, async_trait,
};
use levada_expressions::{Predicate, bad_rows, write_origin};

use super::lanes::Lanes;
use super::plan::{GroupedSpec, Plan, Shape};
use super::state::{Delta, Merge, State};
use super::{PARTITIONS, ROWS, image};
use crate::watermark::Watch;

/// Batches with fewer rows are counted at once: handing them to a thread would take longer.
const INLINE: usize = 4096;

/// Groups and aggregates rows over micro-batches.
pub struct Grouped {
    spec: GroupedSpec,
    alias: String,
    plan: Option<Arc<Plan>>,
    input: Option<SchemaRef>,
    state: Option<Arc<State>>,
    /// What was counted here and not by a thread.
    delta: Option<Delta>,
    lanes: Option<Lanes>,
    watch: Option<Watch>,
    batch: BatchInfo,
    stats: StateStats,
}

fn not_bound() -> Error {
    Error::internal("an aggregation was used before it was bound")
}

fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1000)
}

impl Grouped {
    /// An aggregation that is not bound to its input yet.
    pub fn new(spec: GroupedSpec) -> Self {
        Self {
            spec,
            alias: String::new(),
            plan: None,
            input: None,
            state: None,
            delta: None,
            lanes: None,
            watch: None,
            batch: BatchInfo { batch_id: 0, watermark: 0, late: 0 },
            stats: StateStats::default(),
        }
    }

    fn plan(&self) -> Result<&Arc<Plan>> {
        self.plan.as_ref().ok_or_else(not_bound)
    }

    fn state(&self) -> Result<&Arc<State>> {
        self.state.as_ref().ok_or_else(not_bound)
    }

    /// Begins with nothing seen.
    fn begin_with(&mut self, plan: Plan) -> Result<()> {
        let plan = Arc::new(plan);
        self.state = Some(Arc::new(State::new(plan.clone())?));
        self.delta = Some(Delta::new(&plan)?);
        self.lanes = None;
        self.plan = Some(plan);
        Ok(())
    }

    /// Merges what was counted, and gives out what the mode wants.
    async fn merge(&mut self) -> Result<Vec<RecordBatch>> {
        let plan = self.plan()?.clone();
        let mut deltas = match &mut self.lanes {
            Some(lanes) => lanes.take().await?,
            None => Vec::new(),
        };
        let fresh = Delta::new(&plan)?;
        deltas.extend(self.delta.replace(fresh));
        deltas.retain(|delta| !delta.is_empty());
        let merge = Merge::new(self.state()?.clone(), deltas, micros(self.batch.late), micros(self.batch.watermark));
        let merge = Arc::new(merge);
        let batches = match &mut self.lanes {
            Some(lanes) => lanes.merge(&merge).await?,
            None => {
                let mut all = Vec::new();
                for number in 0..PARTITIONS {
                    all.extend(merge.partition(number)?);
                }
                all
            }
        };
        self.count(&plan, merge.dropped())?;
        if batches.iter().map(RecordBatch::num_rows).sum::<usize>() <= ROWS && batches.len() > 1 {
            let all = concat_batches(plan.grouping.schema(), &batches);
            return Ok(vec![all.map_err(|e| Error::internal(e.to_string()))?]);
        }
        Ok(batches)
    }

    fn count(&mut self, plan: &Plan, dropped: u64) -> Result<()> {
        let sessions = matches!(plan.shape, Shape::Sessions(_));
        let operator = if sessions { "sessionWindowStateStoreSaveExec" } else { "stateStoreSave" };
        let mut stats = StateStats { operator: operator.to_owned(), rows_dropped: dropped, ..StateStats::default() };
        for (_, shard) in self.state()?.shards() {
            let (groups, updated, removed, dropped, memory) = shard.counts();
            stats.rows_total += groups;
            stats.rows_updated += updated;
            stats.rows_removed += removed;
            stats.rows_dropped += dropped;
            stats.memory_bytes += memory;
        }
        stats.memory_bytes += self.delta.as_ref().map_or(0, Delta::memory) as u64;
        self.stats = stats;
        match self.spec.state_limit {
            Some(limit) if self.stats.memory_bytes > limit => Err(Error::data(format!(
                "the state of {} groups takes {} bytes, more than state.limit allows ({limit})",
                self.stats.rows_total, self.stats.memory_bytes
            ))
            .hint("use a watermark, a shorter window or fewer keys, or raise state.limit")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Transform for Grouped {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let mut input = input.clone();
        self.watch = None;
        if let Some((column, delay)) = &self.spec.watermark {
            let watch = Watch::new(&input, column, *delay)?;
            input = watch.mark(&input);
            self.watch = Some(watch);
        }
        let plan = Plan::compile(&self.spec, &input, context)?;
        let schema = plan.grouping.schema().clone();
        self.begin_with(plan)?;
        self.input = Some(input);
        self.alias = context.alias.clone();
        let watermark = self.spec.watermark.as_ref().map(|(column, _)| column.clone());
        Ok(Bound { stateful: true, aggregates: true, watermark, ..Bound::stateless(schema) })
    }

    fn origin(&self, column: &str) -> Option<String> {
        let plan = self.plan.as_ref()?;
        let schema = plan.grouping.schema();
        let at = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(column))?;
        let source = plan.grouping.key_source(at)?;
        // A condition on the time itself stays above the watermark on it.
        let time = self.spec.watermark.as_ref().map(|(column, _)| column.as_str());
        let ansi = self.spec.options.ansi;
        (!time.is_some_and(|time| Predicate::reads(&source, time))).then(|| write_origin(source, ansi))
    }

    fn wanted(&mut self, wanted: Option<&[String]>) {
        let Some(wanted) = wanted else { return };
        // Nothing was seen yet, so that nothing is lost with the state.
        (self.state, self.delta) = (None, None);
        let Some(mut plan) = self.plan.take().and_then(Arc::into_inner) else { return };
        plan.grouping.spare(|name| wanted.iter().any(|wanted| wanted == name));
        // It was made in the same way before.
        if let Err(error) = self.begin_with(plan) {
            tracing::error!(%error, "an aggregation could not be begun");
        }
    }

    fn reads(&self, _: Option<&[String]>) -> Option<Vec<String>> {
        let (plan, input) = (self.plan.as_ref()?, self.input.as_ref()?);
        let watched =
            |name: &String| self.spec.watermark.as_ref().is_some_and(|(own, _)| own.eq_ignore_ascii_case(name));
        let watched = input.fields().iter().map(|field| field.name().clone()).filter(watched);
        Some(plan.reads(input).into_iter().chain(watched).collect())
    }

    async fn open(&mut self, _context: &TaskContext) -> Result<()> {
        let plan = self.plan()?;
        // Not sooner: Spark, too, fails in the first batch, and what is refused before it is told apart.
        if matches!(plan.shape, Shape::Sessions(_)) && plan.grouping.keys().is_empty() {
            return Err(Error::data("sessions without a key: all rows would be one session")
                .hint("group by a key, or use windows"));
        }
        Ok(())
    }

    fn begin(&mut self, batch: &BatchInfo) -> Result<()> {
        self.batch = *batch;
        if let Some(watch) = &mut self.watch {
            watch.begin();
        }
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        if let Some(watch) = &mut self.watch {
            watch.see(&batch.rows)?;
        }
        let plan = self.plan()?.clone();
        let (rows, times, bad) = plan.times(batch.rows.clone())?;
        let rejected = bad_rows(&self.alias, &batch, bad);
        let late = micros(self.batch.late);
        // Threads take turns: where the order of rows decides, one counts them all.
        if rows.num_rows() < INLINE || plan.ordered {
            let delta = self.delta.as_mut().ok_or_else(not_bound)?;
            delta.add(&plan, &rows, &times, late)?;
            return Ok(Emitted { batches: Vec::new(), rejected });
        }
        if self.lanes.is_none() {
            self.lanes = Some(Lanes::start(&plan)?);
        }
        let Some(lanes) = &mut self.lanes else { return Err(not_bound()) };
        let total = rows.num_rows();
        for from in (0..total).step_by(ROWS) {
            let length = ROWS.min(total - from);
            let own = times.get(from..(from + length).min(times.len())).unwrap_or_default().to_vec();
            lanes.send(rows.slice(from, length), own, late).await?;
        }
        Ok(Emitted { batches: Vec::new(), rejected })
    }

    async fn finish(&mut self, _batch_id: u64) -> Result<Emitted> {
        let batches = self.merge().await?.into_iter().filter(|rows| rows.num_rows() > 0).map(Batch::new).collect();
        Ok(Emitted { batches, rejected: Vec::new() })
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        image::image(self.state()?, kind, micros(self.batch.watermark)).await
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        image::restore(self.state()?.as_ref(), &image)
    }

    fn event_time(&self) -> Option<EventTime> {
        self.watch.as_ref().map(Watch::seen)
    }

    fn stats(&self) -> Option<StateStats> {
        Some(self.stats.clone())
    }
}
