//! When the checkpoint's log is flushed, beside the commits, and who is told of it.

use std::time::Duration;

use futures::future::BoxFuture;
use levada_connector_api::Result;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::messages::Committed;
use crate::checkpoint::Checkpoint;

/// How long a commit may wait for others, or for the next batch's own flush, before it is flushed.
const PATIENCE: Duration = Duration::from_millis(20);

/// The commits that the source has not been told of, since the checkpoint's records of them may not be durable.
#[derive(Default)]
pub(crate) struct Flushes {
    untold: Vec<Committed>,
    /// When the first of them was added.
    since: Option<Instant>,
    /// A flush that is under way, and the commits that it makes durable.
    under_way: Option<(BoxFuture<'static, Result<()>>, Vec<Committed>)>,
}

impl Flushes {
    /// A batch is committed.
    pub(crate) fn add(&mut self, committed: Committed) {
        self.since.get_or_insert_with(Instant::now);
        self.untold.push(committed);
    }

    /// All that was added is durable.
    pub(crate) fn tell(&mut self, to: &mpsc::UnboundedSender<Committed>) {
        self.since = None;
        let before = self.under_way.iter_mut().flat_map(|(_, committed)| committed.drain(..));
        for committed in before.chain(self.untold.drain(..)) {
            // The reader may be gone when the task is ending with an error; that error counts.
            let _ = to.send(committed);
        }
    }

    /// Whether there is something to flush, or a flush is under way.
    pub(crate) fn is_due(&self) -> bool {
        self.under_way.is_some() || self.since.is_some()
    }

    /// Waits for the flush that is under way, or until one may begin, and begins it. May be dropped at any time and called
    /// again.
    ///
    /// # Errors
    /// The log could not be flushed: what it holds is not known.
    pub(crate) async fn turn(
        &mut self,
        checkpoint: &mut Checkpoint,
        to: &mpsc::UnboundedSender<Committed>,
    ) -> Result<()> {
        if self.under_way.is_some() {
            return self.wait(to).await;
        }
        if let Some(since) = self.since {
            tokio::time::sleep_until(since + PATIENCE).await;
            self.begin(checkpoint)?;
        }
        Ok(())
    }

    /// Waits for the flush that is under way, if one is. May be dropped at any time and called again.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub(crate) async fn wait(&mut self, to: &mpsc::UnboundedSender<Committed>) -> Result<()> {
        let Some((flush, _)) = &mut self.under_way else { return Ok(()) };
        let flushed = flush.await;
        let committed = self.under_way.take().map(|(_, committed)| committed).unwrap_or_default();
        flushed?;
        for committed in committed {
            let _ = to.send(committed);
        }
        Ok(())
    }

    /// Nothing more will be committed: flushes what is left.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub(crate) async fn finish(
        &mut self,
        checkpoint: &mut Checkpoint,
        to: &mpsc::UnboundedSender<Committed>,
    ) -> Result<()> {
        self.wait(to).await?;
        if self.since.is_some() {
            self.begin(checkpoint)?;
        }
        self.wait(to).await
    }

    fn begin(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.under_way = Some((checkpoint.sync()?, std::mem::take(&mut self.untold)));
        self.since = None;
        Ok(())
    }
}
