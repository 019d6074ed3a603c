//! A source behind the boundary.

use arrow::datatypes::SchemaRef;
use levada_connector_api::{Offsets, PollLimit, Polled, Result, Source, TaskContext, async_trait};

use super::{Instance, context_wire};
use crate::abi::op;
use crate::wire::{self, OpenArgs, PollArgs, PolledWire};

pub(super) struct HostSource(pub(super) Box<dyn Instance>);

#[async_trait]
impl Source for HostSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        let answer = self.0.call(op::SOURCE_SCHEMA, Vec::new(), Vec::new()).await?;
        self.0.schema(op::SOURCE_SCHEMA, answer.batches)
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        self.0.set_context(context);
        let args = OpenArgs { context: context_wire(context), from: from.clone(), mode: None };
        self.0.tell(op::SOURCE_OPEN, wire::encode(&args)?).await
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let args = PollArgs {
            batch_id: limit.batch_id,
            rows: limit.rows,
            bytes: limit.bytes,
            // A wait that is not zero must not become one that is.
            wait_ms: limit.wait.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            until: limit.until.as_deref().cloned(),
        };
        let answer = self.0.call(op::SOURCE_POLL, wire::encode(&args)?, Vec::new()).await?;
        let polled: PolledWire = self.0.read(op::SOURCE_POLL, &answer.payload)?;
        Ok(Polled {
            batches: self.0.rows(op::SOURCE_POLL, answer.batches)?,
            rejected: polled.rejected.into_iter().map(Into::into).collect(),
            ranges: polled.ranges,
            bytes: polled.bytes,
            status: polled.status.into(),
        })
    }

    async fn latest(&mut self) -> Result<Offsets> {
        self.0.ask(op::SOURCE_LATEST, Vec::new()).await
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        self.0.tell(op::SOURCE_COMMIT, wire::encode(offsets)?).await
    }

    async fn close(&mut self) -> Result<()> {
        self.0.tell(op::SOURCE_CLOSE, Vec::new()).await
    }
}
