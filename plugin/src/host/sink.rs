//! A sink behind the boundary.

use arrow::datatypes::SchemaRef;
use levada_connector_api::{
    BadRow, Batch, Commit, ErrorKind, Offsets, OutputMode, Result, Sink, TaskContext, async_trait,
};

use super::{Crossing, Instance, context_wire};
use crate::abi::op;
use crate::wire::{self, BatchArgs, EmittedWire, OpenArgs};

pub(super) struct HostSink(pub(super) Box<dyn Instance>);

#[async_trait]
impl Sink for HostSink {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        self.0.set_context(context);
        let args = OpenArgs { context: context_wire(context), from: Offsets::new(), mode: Some(mode) };
        let answer = self.0.call(op::SINK_OPEN, wire::encode(&args)?, vec![Crossing::schema(schema)]).await?;
        self.0.read(op::SINK_OPEN, &answer.payload)
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        let args = wire::encode(&BatchArgs { batch_id })?;
        self.0.call(op::SINK_WRITE, args, vec![Crossing::batch(batch)]).await.map(drop)
    }

    async fn prepare(&mut self, batch_id: u64) -> Result<Vec<BadRow>> {
        let args = wire::encode(&BatchArgs { batch_id })?;
        let emitted: Option<EmittedWire> = match self.0.ask(op::SINK_PREPARE, args).await {
            // A sink that never refuses rows need not know it.
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            answer => answer?,
        };
        Ok(emitted.unwrap_or_default().rejected.into_iter().map(Into::into).collect())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        self.0.tell(op::SINK_COMMIT, wire::encode(commit)?).await
    }

    async fn abort(&mut self, batch_id: u64) -> Result<()> {
        self.0.tell(op::SINK_ABORT, wire::encode(&BatchArgs { batch_id })?).await
    }

    async fn close(&mut self) -> Result<()> {
        self.0.tell(op::SINK_CLOSE, Vec::new()).await
    }
}
