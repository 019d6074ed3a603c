//! Sinks that break one rule each, and sinks of every guarantee that break none.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::super::rows::all_rows;
use super::super::{MemorySink, MemoryStore, SinkTarget, sink_conformance, sink_conformance_share};
use super::{finds, rows, verdict};
use crate::{
    Batch, Commit, Error, ErrorKind, Faults, Guarantee, OutputMode, Result, Sink, SinkCapabilities, TaskContext,
};

fn some_rows(seed: u64) -> RecordBatch {
    let first = i64::try_from(seed).unwrap() * 10;
    rows(first, first + 5)
}

struct Memory(MemoryStore);

#[async_trait]
impl SinkTarget for Memory {
    fn make(&self) -> Box<dyn Sink> {
        Box::new(MemorySink::new(self.0.clone()))
    }

    async fn visible(&self) -> Vec<String> {
        self.0.rows()
    }

    async fn clear(&self) {
        self.0.clear();
    }

    fn capabilities(&self) -> SinkCapabilities {
        MemorySink::CAPABILITIES
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        some_rows(seed)
    }
}

#[tokio::test]
async fn a_right_sink_passes() {
    sink_conformance(&Memory(MemoryStore::new())).await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    VisibleWhenWritten,
    LosesOnePiece,
    AppendsAgain,
    KeepsOldPieces,
    AbortForgetsNothing,
    AbortTakesBack,
    StagingSurvives,
    CompleteAppends,
    NeedsRows,
    OpenForgets,
    OpenAnswersUnasked,
    NoFence,
    WrongFence,
    FaultLeavesHalf,
    CloseUndoes,
}

#[derive(Default)]
struct Place {
    /// The pieces of each micro-batch, like files by name.
    shown: Vec<(u64, usize, RecordBatch)>,
    staged: Vec<RecordBatch>,
    last: Option<Commit>,
    epoch: u64,
}

/// A place with files in it, of any guarantee and with a bug.
#[derive(Clone)]
struct Files {
    place: Arc<Mutex<Place>>,
    guarantee: Guarantee,
    bug: Bug,
}

struct FilesSink {
    files: Files,
    mode: OutputMode,
    epoch: u64,
    faults: Faults,
    staged: Vec<RecordBatch>,
}

#[async_trait]
impl Sink for FilesSink {
    async fn open(&mut self, context: &TaskContext, _: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        (self.mode, self.epoch, self.faults) = (mode, context.epoch, context.faults.clone());
        let place = self.files.place.lock().unwrap();
        if self.files.bug == Bug::StagingSurvives {
            self.staged = place.staged.clone();
        }
        let answers = match self.files.bug {
            Bug::OpenForgets => false,
            Bug::OpenAnswersUnasked => true,
            _ => self.files.guarantee == Guarantee::Transactional,
        };
        Ok(place.last.clone().filter(|_| answers))
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        let mut place = self.files.place.lock().unwrap();
        if self.files.bug == Bug::VisibleWhenWritten {
            place.shown.push((batch_id, 9, batch.rows));
            return Ok(());
        }
        if self.files.bug != Bug::LosesOnePiece || self.staged.is_empty() {
            self.staged.push(batch.rows);
        }
        place.staged = self.staged.clone();
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let mut place = self.files.place.lock().unwrap();
        let place = &mut *place;
        let (bug, id) = (self.files.bug, commit.batch_id);
        if self.files.guarantee == Guarantee::Transactional && bug != Bug::NoFence && commit.epoch < place.epoch {
            let kind = if bug == Bug::WrongFence { ErrorKind::Unavailable } else { ErrorKind::Fenced };
            return Err(Error::new(kind, "the epoch is over"));
        }
        if bug == Bug::NeedsRows && self.staged.is_empty() {
            return Err(Error::data("there are no rows"));
        }
        place.epoch = place.epoch.max(commit.epoch);
        let staged = std::mem::take(&mut self.staged);
        place.staged.clear();
        let complete = self.mode == OutputMode::Complete && bug != Bug::CompleteAppends;
        match bug {
            Bug::AppendsAgain => place.shown.retain(|_| !complete),
            Bug::KeepsOldPieces => place.shown.retain(|(of, i, _)| !complete && (*of != id || *i >= staged.len())),
            Bug::VisibleWhenWritten => {}
            // The fault comes between two files, and what is there of the micro-batch is not looked at again.
            Bug::FaultLeavesHalf => place.shown.retain(|_| !complete),
            _ => place.shown.retain(|(of, ..)| !complete && *of != id),
        }
        for (i, piece) in staged.into_iter().enumerate() {
            if bug == Bug::FaultLeavesHalf && place.shown.iter().any(|(of, at, _)| (*of, *at) == (id, i)) {
                continue;
            }
            let piece = if bug == Bug::FaultLeavesHalf && self.faults.at("half").is_err() {
                place.shown.push((id, i, piece.slice(0, 1)));
                return Err(Error::internal("half"));
            } else {
                piece
            };
            place.shown.push((id, i, piece));
        }
        place.last = Some(commit.clone());
        Ok(())
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        match self.files.bug {
            Bug::AbortForgetsNothing => {}
            Bug::AbortTakesBack => {
                self.staged.clear();
                self.files.place.lock().unwrap().shown.clear();
            }
            _ => {
                self.staged.clear();
                self.files.place.lock().unwrap().staged.clear();
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if self.files.bug == Bug::CloseUndoes {
            self.files.place.lock().unwrap().shown.pop();
        }
        Ok(())
    }
}

#[async_trait]
impl SinkTarget for Files {
    fn make(&self) -> Box<dyn Sink> {
        let files = self.clone();
        Box::new(FilesSink { files, mode: OutputMode::Append, epoch: 0, faults: Faults::none(), staged: Vec::new() })
    }

    async fn visible(&self) -> Vec<String> {
        all_rows(self.place.lock().unwrap().shown.iter().map(|(.., rows)| rows))
    }

    async fn clear(&self) {
        *self.place.lock().unwrap() = Place::default();
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { guarantee: self.guarantee, ..MemorySink::CAPABILITIES }
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        some_rows(seed)
    }
}

fn files(guarantee: Guarantee, bug: Bug) -> Files {
    Files { place: Arc::default(), guarantee, bug }
}

#[tokio::test]
async fn right_sinks_of_every_guarantee_pass() {
    sink_conformance(&files(Guarantee::Transactional, Bug::None)).await;
    sink_conformance(&files(Guarantee::Idempotent, Bug::None)).await;
    // What is at least once may show early and twice.
    for bug in [Bug::None, Bug::AppendsAgain, Bug::VisibleWhenWritten] {
        sink_conformance(&files(Guarantee::AtLeastOnce, bug)).await;
    }
}

#[test]
fn each_broken_rule_is_found() {
    use Guarantee::{AtLeastOnce, Idempotent, Transactional};
    for (guarantee, bug, rule) in [
        (Idempotent, Bug::VisibleWhenWritten, "nothing that was written may be visible before its commit"),
        (AtLeastOnce, Bug::LosesOnePiece, "everything must be visible after the commit"),
        (Idempotent, Bug::AppendsAgain, "a micro-batch that is committed again must show its rows once"),
        (Idempotent, Bug::KeepsOldPieces, "committed again in other pieces must show its rows once"),
        (Idempotent, Bug::AbortForgetsNothing, "rows that were aborted must not be committed"),
        (Transactional, Bug::AbortTakesBack, "abort must not touch what is committed"),
        (Idempotent, Bug::StagingSurvives, "what a crash has left behind must not be committed later"),
        (Idempotent, Bug::CompleteAppends, "(complete mode)"),
        (Idempotent, Bug::NeedsRows, "commit of batch 0 must work: there are no rows"),
        (Transactional, Bug::OpenForgets, "open of a transactional sink must answer with the last commit"),
        (Idempotent, Bug::OpenAnswersUnasked, "only a transactional sink answers open with a commit"),
        (Transactional, Bug::NoFence, "a commit of a lower epoch must fail as fenced"),
        (Transactional, Bug::WrongFence, "a commit of a lower epoch must fail as fenced"),
        (Idempotent, Bug::FaultLeavesHalf, "fault point number 0 must leave no trace"),
        (Idempotent, Bug::CloseUndoes, "close must change nothing"),
    ] {
        finds(rule, sink_conformance(&files(guarantee, bug)));
        // The shares leave nothing out.
        let found = (0..7).any(|share| {
            let target = files(guarantee, bug);
            verdict(sink_conformance_share(&target, share, 7)).is_err()
        });
        assert!(found, "no share finds that '{rule}' is broken");
    }
}
