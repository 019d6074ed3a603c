//! Bad rows: told, kept in files, or handed to a queue.

mod files;

use levada_connector_api::{BadRow, DeadLetter, DeadLetterQueue, Error, Result, TaskContext};

use self::files::Files;

/// The error of a task that does not tolerate bad rows.
pub(crate) fn refusal(row: &BadRow) -> Error {
    Error::data(format!("{}: {}: {}", row.stage, row.position, row.reason))
        .hint("mend the input, or set errors.tolerance=all to send such rows to the dead letters")
}

/// What is written into the log of each bad row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRowLog {
    /// Whether there is a line for it (`errors.log.enable`).
    pub enabled: bool,
    /// Whether the line has the row's content (`errors.log.include.messages`).
    pub content: bool,
}

/// What is logged of a row's content at most.
const SHOWN: usize = 4096;

impl BadRowLog {
    pub(crate) fn log(self, context: &TaskContext, rows: &[BadRow]) {
        if !self.enabled {
            return;
        }
        let (pipeline, task) = (&context.pipeline, context.task);
        for row in rows {
            let (stage, position, reason) = (&row.stage, &row.position, &row.reason);
            if !self.content {
                tracing::warn!(%pipeline, task, %stage, %position, %reason, "bad row");
                continue;
            }
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned();
            let key = row.record.as_ref().and_then(|record| record.key.as_deref()).map(show);
            tracing::warn!(%pipeline, task, %stage, %position, %reason, key, content = show(&row.raw), "bad row");
        }
    }
}

/// Where the bad rows of a task go.
pub(crate) enum DeadLetters {
    Files(Files),
    Queue(Box<dyn DeadLetterQueue>),
}

impl DeadLetters {
    pub(crate) async fn to_files(context: &TaskContext, location: &str) -> Result<Self> {
        Files::open(context, location).await.map(Self::Files)
    }

    pub(crate) fn to_queue(queue: Box<dyn DeadLetterQueue>) -> Self {
        Self::Queue(queue)
    }

    /// Stages bad rows of a batch.
    pub(crate) async fn stage(&mut self, batch_id: u64, letters: Vec<DeadLetter>) -> Result<()> {
        match self {
            Self::Files(files) => files.stage(batch_id, &letters).await,
            Self::Queue(queue) => queue.write(batch_id, letters).await.map_err(in_queue),
        }
    }

    /// Makes the batch's bad rows durable, if it has any.
    pub(crate) async fn commit(&mut self, batch_id: u64) -> Result<()> {
        match self {
            Self::Files(files) => files.commit(batch_id).await,
            Self::Queue(queue) => queue.commit(batch_id).await.map_err(in_queue),
        }
    }

    pub(crate) async fn close(&mut self) -> Result<()> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Queue(queue) => queue.close().await.map_err(in_queue),
        }
    }
}

fn in_queue(error: Error) -> Error {
    error.context("dead letters")
}
