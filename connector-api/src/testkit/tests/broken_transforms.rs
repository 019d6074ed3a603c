//! Transforms that break one rule each.

use arrow::array::{AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;

use super::super::{MemorySink, MemoryStore, sink_protocol, transform_conformance};
use super::{finds, rows, verdict};
use crate::{
    Batch, BindContext, Bound, Commit, Emitted, Error, ErrorKind, OutputMode, Result, Sink, StateImage, StateKind,
    StateSection, TaskContext, Transform,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    OtherSchema,
    OnePerBatch,
    RejectsByPlaceInBatch,
    RowsOfNone,
    EmptyFails,
    ForgetsState,
    DeltaIsWrong,
    TakesAnyState,
}

/// Passes on the rows whose numbers are larger than all before; rejects those that 10 divides.
struct Rising {
    bug: Bug,
    most: i64,
    before: i64,
}

fn column(n: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("n", std::sync::Arc::new(Int64Array::from(vec![n])) as _)]).unwrap()
}

#[async_trait]
impl Transform for Rising {
    fn bind(&mut self, input: &SchemaRef, _: &BindContext) -> Result<Bound> {
        let schema = if self.bug == Bug::OtherSchema { column(0).schema() } else { input.clone() };
        Ok(Bound { stateful: true, ..Bound::stateless(schema) })
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        if self.bug == Bug::EmptyFails && batch.num_rows() == 0 {
            return Err(Error::internal("no rows"));
        }
        let numbers = batch.rows.column(0).as_primitive::<Int64Type>().clone();
        let (mut out, mut rejected) = (Vec::new(), Vec::new());
        for (row, n) in numbers.values().iter().enumerate() {
            let bad = if self.bug == Bug::RejectsByPlaceInBatch { row == 3 } else { n % 10 == 0 };
            if bad {
                rejected.push(batch.bad_row(row, "rising", "it is even ten"));
            } else if *n > self.most {
                self.most = *n;
                out.push(Batch::new(batch.rows.slice(row, 1)));
                if self.bug == Bug::OnePerBatch {
                    break;
                }
            }
        }
        Ok(Emitted { batches: out, rejected })
    }

    async fn finish(&mut self, _: u64) -> Result<Emitted> {
        let extra = (self.bug == Bug::RowsOfNone && self.most == 0).then(|| {
            self.most = 5;
            Batch::new(rows(1, 2))
        });
        Ok(Emitted { batches: extra.into_iter().collect(), rejected: Vec::new() })
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        let most = match (self.bug, kind) {
            (Bug::ForgetsState, _) => 0,
            (Bug::DeltaIsWrong, StateKind::Delta) => self.before,
            _ => self.most,
        };
        self.before = self.most;
        let sections = vec![StateSection { partition: 0, batches: vec![column(most)] }];
        Ok(Some(StateImage { kind, fingerprint: "rising/1".to_owned(), sections }))
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        if image.fingerprint != "rising/1" && self.bug != Bug::TakesAnyState {
            return Err(Error::new(ErrorKind::Corrupt, "this is not the state of a rising"));
        }
        self.most = image.sections[0].batches[0].column(0).as_primitive::<Int64Type>().value(0);
        Ok(())
    }
}

async fn check(bug: Bug) {
    let input = [rows(1, 40), rows(30, 60), rows(20, 35), rows(50, 90)];
    let context = BindContext::new("rising", OutputMode::Append);
    transform_conformance(&|| Box::new(Rising { bug, most: 0, before: 0 }), &context, &input).await;
}

#[test]
fn each_broken_rule_is_found() {
    verdict(check(Bug::None)).unwrap();
    for (bug, rule) in [
        (Bug::OtherSchema, "every batch must have the schema that bind has told"),
        (Bug::OnePerBatch, "the same rows must come out when batches have 1 rows"),
        (Bug::RejectsByPlaceInBatch, "the same rows must come out when batches have 1 rows"),
        (Bug::RowsOfNone, "micro-batches without rows must not disturb the next"),
        (Bug::EmptyFails, "a batch may have no rows"),
        (Bug::ForgetsState, "restored from a snapshot must go on where the other ended"),
        (Bug::DeltaIsWrong, "restored from a snapshot and deltas must go on"),
        (Bug::TakesAnyState, "must be refused as corrupt"),
    ] {
        finds(rule, check(bug));
    }
}

/// A sink that forgets what it holds.
struct Forgetful(MemorySink);

#[async_trait]
impl Sink for Forgetful {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        self.0.open(context, schema, mode).await.map(|_| None)
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        self.0.write(batch_id, batch).await
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        self.0.commit(commit).await
    }

    async fn abort(&mut self, batch_id: u64) -> Result<()> {
        self.0.abort(batch_id).await
    }
}

#[test]
fn a_sinks_calls_tell_much_without_its_target() {
    let rows = |seed: u64| rows(seed as i64 * 10, seed as i64 * 10 + 5);
    let store = MemoryStore::new();
    let make = || -> Box<dyn Sink> { Box::new(MemorySink::new(store.clone())) };
    verdict(sink_protocol(&make, MemorySink::CAPABILITIES, &rows, "p")).unwrap();
    // A pipeline that has written before is not at its beginning.
    finds("epoch 1 of p-append/0 is over", sink_protocol(&make, MemorySink::CAPABILITIES, &rows, "p"));
    let store = MemoryStore::new();
    let make = || -> Box<dyn Sink> { Box::new(Forgetful(MemorySink::new(store.clone()))) };
    finds("must answer with the last commit", sink_protocol(&make, MemorySink::CAPABILITIES, &rows, "p"));
}
