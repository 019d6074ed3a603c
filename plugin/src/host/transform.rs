//! A transform behind the boundary.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use arrow::datatypes::SchemaRef;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Bound, Emitted, ErrorKind, EventTime, Offsets, Result, StateImage, StateKind,
    StateStats, TaskContext, Transform, async_trait,
};

use super::{Answer, Crossing, Instance, context_wire};
use crate::abi::op;
use crate::guest::{state_from_wire, state_to_wire};
use crate::wire::{
    self, BatchArgs, BeginArgs, BindArgs, BoundWire, CheckpointArgs, EmittedWire, OpenArgs, ProcessArgs, StateKindWire,
    StateWire,
};

pub(super) struct HostTransform {
    instance: Box<dyn Instance>,
    origins: BTreeMap<String, String>,
    /// The micro-batch that begins with the next operation: `begin` itself cannot wait.
    begins: Option<BatchInfo>,
    event_time: Option<EventTime>,
    stats: Option<StateStats>,
    metrics: serde_json::Map<String, serde_json::Value>,
}

impl HostTransform {
    pub(super) fn new(instance: Box<dyn Instance>) -> Self {
        Self {
            instance,
            origins: BTreeMap::new(),
            begins: None,
            event_time: None,
            stats: None,
            metrics: serde_json::Map::new(),
        }
    }

    async fn began(&mut self) -> Result<()> {
        if let Some(BatchInfo { batch_id, watermark, late }) = self.begins.take() {
            let args = wire::encode(&BeginArgs { batch_id, watermark, late })?;
            match self.instance.tell(op::TRANSFORM_BEGIN, args).await {
                // A transform that does not care for micro-batches need not know it.
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn run(&mut self, input: Option<usize>, batch: Batch) -> Result<Emitted> {
        self.began().await?;
        let args = if input.is_some() { wire::encode(&ProcessArgs { input })? } else { Vec::new() };
        let answer = self.instance.call(op::TRANSFORM_PROCESS, args, vec![Crossing::batch(batch)]).await?;
        Ok(self.emitted(op::TRANSFORM_PROCESS, answer)?.0)
    }

    fn emitted(&self, number: u32, answer: Answer) -> Result<(Emitted, EmittedWire)> {
        let wire: Option<EmittedWire> = self.instance.read(number, &answer.payload)?;
        let mut wire = wire.unwrap_or_default();
        let rejected = std::mem::take(&mut wire.rejected).into_iter().map(Into::into).collect();
        Ok((Emitted { batches: self.instance.rows(number, answer.batches)?, rejected }, wire))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread. Only for what is done at once by nearly every plugin.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[async_trait]
impl Transform for HostTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        self.bind_all(std::slice::from_ref(input), context)
    }

    fn bind_all(&mut self, inputs: &[SchemaRef], context: &BindContext) -> Result<Bound> {
        let args =
            BindArgs { alias: context.alias.clone(), output_mode: context.output_mode, aggregated: context.aggregated };
        let inputs = inputs.iter().cloned().map(Crossing::schema).collect();
        let answer = wait(self.instance.call(op::TRANSFORM_BIND, wire::encode(&args)?, inputs))?;
        let bound: Option<BoundWire> = self.instance.read(op::TRANSFORM_BIND, &answer.payload)?;
        let bound = bound.unwrap_or_default();
        let schema = self.instance.schema(op::TRANSFORM_BIND, answer.batches)?;
        self.origins = bound.origins;
        Ok(Bound { schema, stateful: bound.stateful, aggregates: bound.aggregates, watermark: bound.watermark })
    }

    async fn open(&mut self, context: &TaskContext) -> Result<()> {
        self.instance.set_context(context);
        let args = OpenArgs { context: context_wire(context), from: Offsets::new(), mode: None };
        self.instance.tell(op::TRANSFORM_OPEN, wire::encode(&args)?).await
    }

    fn origin(&self, column: &str) -> Option<String> {
        self.origins.get(column).cloned()
    }

    fn begin(&mut self, batch: &BatchInfo) -> Result<()> {
        self.begins = Some(*batch);
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        self.run(None, batch).await
    }

    async fn process_input(&mut self, input: usize, batch: Batch) -> Result<Emitted> {
        self.run(Some(input), batch).await
    }

    async fn finish(&mut self, batch_id: u64) -> Result<Emitted> {
        self.began().await?;
        let answer =
            self.instance.call(op::TRANSFORM_FINISH, wire::encode(&BatchArgs { batch_id })?, Vec::new()).await?;
        let (out, wire) = self.emitted(op::TRANSFORM_FINISH, answer)?;
        self.event_time = wire.event_time.map(Into::into);
        self.stats = wire.stats.map(Into::into);
        self.metrics = wire.metrics;
        Ok(out)
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        let kind = match kind {
            StateKind::Delta => StateKindWire::Delta,
            StateKind::Snapshot => StateKindWire::Snapshot,
        };
        let args = wire::encode(&CheckpointArgs { kind })?;
        let answer = match self.instance.call(op::TRANSFORM_CHECKPOINT, args, Vec::new()).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
            answer => answer?,
        };
        let state: Option<StateWire> = self.instance.read(op::TRANSFORM_CHECKPOINT, &answer.payload)?;
        state.map(|state| state_from_wire(state, answer.batches)).transpose()
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        let (state, batches) = state_to_wire(image);
        self.instance.call(op::TRANSFORM_RESTORE, wire::encode(&state)?, batches).await.map(drop)
    }

    fn event_time(&self) -> Option<EventTime> {
        self.event_time
    }

    fn stats(&self) -> Option<StateStats> {
        self.stats.clone()
    }

    fn metrics(&self) -> serde_json::Map<String, serde_json::Value> {
        self.metrics.clone()
    }
}
