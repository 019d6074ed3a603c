//! The state as Arrow columns, and back.
//!
//! A row is a group, a pane or a session: `from` and `to` (a pane's start or a session's span; microseconds), the keys, and
//! the columns of the aggregates. A first section of one row says up to when groups were closed: a delta removes those.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use levada_connector_api::{Error, Result, StateImage, StateKind, StateSection};

use super::PARTITIONS;
use super::lanes::guarded;
use super::plan::{Plan, Shape};
use super::state::{Shard, State};
use crate::keys::{PREFIX, hash, with_prefix};

/// The number of the section that is no state partition.
const CLOSED: u32 = u32::MAX;

/// With more groups than these the state partitions are written by all of the runtime's threads.
const MANY: usize = 10_000;

/// The state, or what changed. `closed`: up to when groups were closed, in microseconds.
pub(super) async fn image(state: &Arc<State>, kind: StateKind, closed: i64) -> Result<Option<StateImage>> {
    let plan = &state.plan;
    let schema = schema(plan)?;
    let groups: usize = state.shards().map(|(_, shard)| shard.len()).sum();
    let mut sections = Vec::with_capacity(PARTITIONS + 1);
    if groups < MANY {
        for number in 0..PARTITIONS {
            sections.extend(section(state, &schema, number, kind)?);
        }
    } else {
        let write = |number: usize| {
            let (state, schema) = (state.clone(), schema.clone());
            tokio::spawn(async move { guarded(|| section(&state, &schema, number, kind)) })
        };
        let tasks: Vec<_> = (0..PARTITIONS).map(write).collect();
        for task in tasks {
            sections.extend(task.await.map_err(|error| Error::internal(format!("writing state: {error}")))??);
        }
    }
    if plan.expires && closed > 0 {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![closed]));
        let batch = RecordBatch::try_from_iter([("closed", column)]).map_err(|e| Error::internal(e.to_string()))?;
        sections.insert(0, StateSection { partition: CLOSED, batches: vec![batch] });
    }
    if sections.is_empty() && kind == StateKind::Delta {
        return Ok(None);
    }
    Ok(Some(StateImage { kind, fingerprint: plan.fingerprint.clone(), sections }))
}

/// A state partition, or what changed in it.
fn section(state: &State, schema: &Arc<Schema>, number: usize, kind: StateKind) -> Result<Option<StateSection>> {
    let Some(mut shard) = state.shard(number) else { return Ok(None) };
    let mut batches = Vec::new();
    let mut add = |from: Vec<i64>, to: Vec<i64>, columns: Vec<ArrayRef>| {
        let mut all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(from)), Arc::new(Int64Array::from(to))];
        all.extend(columns);
        batches.push(RecordBatch::try_new(schema.clone(), all).map_err(|e| Error::internal(e.to_string()))?);
        Ok::<(), Error>(())
    };
    // Pieces, since the text of one column of one batch can have two gigabytes at most.
    match &mut *shard {
        Shard::Groups(shard) => {
            let numbers = match kind {
                StateKind::Snapshot => shard.all(),
                StateKind::Delta => shard.take_changed(),
            };
            for numbers in numbers.chunks(super::ROWS) {
                let (from, columns) = shard.state(numbers)?;
                add(from, vec![0; numbers.len()], columns)?;
            }
        }
        Shard::Panes(shard) => {
            let panes = match kind {
                StateKind::Snapshot => shard.all(),
                StateKind::Delta => shard.take_changed(),
            };
            for panes in panes.chunks(super::ROWS) {
                let (from, columns) = shard.state(panes)?;
                add(from, vec![0; panes.len()], columns)?;
            }
        }
        Shard::Sessions(shard) => {
            let keys = match kind {
                StateKind::Snapshot => shard.all(),
                StateKind::Delta => shard.take_changed(),
            };
            for keys in keys.chunks(super::ROWS) {
                let (from, to, columns) = shard.state(keys)?;
                add(from, to, columns)?;
            }
        }
    }
    Ok((!batches.is_empty()).then_some(StateSection { partition: number as u32, batches }))
}

fn schema(plan: &Plan) -> Result<Arc<Schema>> {
    let mut fields = vec![Field::new("from", DataType::Int64, false), Field::new("to", DataType::Int64, false)];
    fields.extend(plan.state_fields()?);
    Ok(Arc::new(Schema::new(fields)))
}

fn unfit(what: &str) -> Error {
    Error::corrupt(format!("the state in the checkpoint {what}"))
}

/// Takes state back.
pub(super) fn restore(state: &State, image: &StateImage) -> Result<()> {
    let plan = &state.plan;
    if image.fingerprint != plan.fingerprint {
        return Err(Error::corrupt(format!(
            "the query has changed, and its state in the checkpoint does not fit: it was \"{}\" and is \"{}\"",
            image.fingerprint, plan.fingerprint
        ))
        .hint("bring the old query back, or start anew with another checkpoint.location and name"));
    }
    if image.kind == StateKind::Snapshot {
        state.clear()?;
    }
    let wanted = schema(plan)?;
    for section in &image.sections {
        for batch in &section.batches {
            if section.partition == CLOSED {
                let closed = batch.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>());
                let closed = closed.filter(|closed| closed.len() == 1).ok_or_else(|| unfit("is damaged"))?;
                state.shards().for_each(|(_, mut shard)| shard.expire(plan, closed.value(0)));
                continue;
            }
            let types = |schema: &Schema| -> Vec<DataType> {
                schema.fields().iter().map(|field| field.data_type().clone()).collect()
            };
            if types(&batch.schema()) != types(&wanted) {
                return Err(unfit("has other columns than the query"));
            }
            load(state, batch)?;
        }
    }
    Ok(())
}

fn load(state: &State, batch: &RecordBatch) -> Result<()> {
    let plan = &state.plan;
    let columns = batch.columns();
    let numbers = |at: usize| -> Result<&Int64Array> {
        let column = columns.get(at).and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.ok_or_else(|| unfit("is damaged"))
    };
    let (from, to) = (numbers(0)?, numbers(1)?);
    let keys = plan.grouping.keys().len();
    let key_columns = columns.get(2..2 + keys).ok_or_else(|| unfit("is damaged"))?;
    let encoded = plan.codec()?.encode(from.values(), key_columns, batch.num_rows())?;
    let start = if plan.prefixed() { PREFIX } else { 0 };
    // The hash of this process decides where a key belongs, not the partition that it was written in.
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); PARTITIONS];
    let mut all: Vec<(u64, Vec<u8>)> = Vec::with_capacity(batch.num_rows());
    for (row, key) in encoded.iter().enumerate() {
        let bare = hash(key.get(start..).unwrap_or_default());
        let full = if start == 0 { bare } else { with_prefix(bare, from.value(row)) };
        if let Some(rows) = rows.get_mut(super::partition_of(bare, PARTITIONS)) {
            rows.push(row as u32);
        }
        all.push((full, key.to_vec()));
    }
    for (number, rows) in rows.into_iter().enumerate() {
        if rows.is_empty() {
            continue;
        }
        let Some(mut shard) = state.shard(number) else { continue };
        let own: Vec<(u64, Vec<u8>)> =
            rows.iter().filter_map(|row| all.get_mut(*row as usize).map(std::mem::take)).collect();
        let spans: Vec<(i64, i64)> =
            rows.iter().map(|row| (from.value(*row as usize), to.value(*row as usize))).collect();
        let take = arrow::array::UInt32Array::from(rows);
        let states = columns.get(2 + keys..).unwrap_or_default();
        let states: Vec<ArrayRef> = states
            .iter()
            .map(|column| arrow::compute::take(column, &take, None).map_err(|e| Error::internal(e.to_string())))
            .collect::<Result<_>>()?;
        match (&mut *shard, &plan.shape) {
            (Shard::Groups(shard), _) => shard.load(plan, &own, &states)?,
            (Shard::Panes(shard), Shape::Windows(windows)) => shard.load(plan, windows, &own, &spans, &states)?,
            (Shard::Panes(_), _) => return Err(unfit("is of another shape than the query")),
            (Shard::Sessions(shard), _) => shard.load(plan, &own, &spans, &states)?,
        }
    }
    Ok(())
}
