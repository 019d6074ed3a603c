//! Sources that break one rule each.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::super::{MemorySource, source_conformance};
use super::{finds, rows};
use crate::{Offset, Offsets, PollLimit, PollStatus, Polled, Result, Source, SourceCapabilities, TaskContext};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    OtherSchema,
    ShiftsRanges,
    ForgetsRanges,
    IgnoresRows,
    IgnoresBytes,
    IgnoresUntil,
    RowAfterEnd,
    NeverEnds,
    EndsEarly,
    SkipsWhenResumed,
    ReversesSmallPolls,
    LatestTooEarly,
    CommitSkips,
    StandsStill,
    IdleBeforeUntil,
}

struct Broken {
    inner: MemorySource,
    bug: Bug,
    committed: bool,
}

fn column(n: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("other", Arc::new(Int64Array::from(vec![n])) as _)]).unwrap()
}

#[async_trait]
impl Source for Broken {
    async fn schema(&mut self) -> Result<SchemaRef> {
        if self.bug == Bug::OtherSchema { Ok(column(0).schema()) } else { self.inner.schema().await }
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        let mut from = from.clone();
        if self.bug == Bug::SkipsWhenResumed
            && let Some(at) = from.get(&MemorySource::partition()).and_then(Offset::number)
            && at < 100
        {
            // It says that it goes on where it was, but gives other rows.
            from.set(MemorySource::partition(), Offset::at(at));
            self.inner = MemorySource::new(vec![rows(1, 101)]);
        }
        self.inner.open(context, &from).await
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let mut limit = limit.clone();
        match self.bug {
            Bug::StandsStill => return Ok(Polled::nothing(PollStatus::More)),
            Bug::IgnoresRows => limit.rows = usize::MAX,
            Bug::IgnoresBytes => limit.bytes = usize::MAX,
            Bug::IgnoresUntil if limit.until.as_ref().is_some_and(|until| !until.is_empty()) => limit.until = None,
            Bug::EndsEarly if limit.until.is_some() => return Ok(Polled::nothing(PollStatus::End)),
            Bug::CommitSkips if self.committed => {
                self.committed = false;
                let from = Offsets::from_iter([(MemorySource::partition(), Offset::at(99))]);
                self.inner.open(&TaskContext::new("p"), &from).await?;
            }
            _ => {}
        }
        let mut polled = self.inner.poll(&limit).await?;
        match self.bug {
            Bug::IdleBeforeUntil if polled.status == PollStatus::More => polled.status = PollStatus::Idle,
            Bug::ForgetsRanges => polled.ranges = crate::OffsetRanges::default(),
            Bug::ShiftsRanges => {
                let first = polled.ranges.iter().next().map(|(partition, range)| (partition.clone(), range.clone()));
                if let Some((partition, range)) = first {
                    let end = range.end.number().unwrap();
                    let start = range.start.as_ref().and_then(Offset::number).map(|start| Offset::at(start - 1));
                    polled.ranges = crate::OffsetRanges::default();
                    polled.ranges.push(partition, crate::OffsetRange::new(start, Offset::at(end)).unwrap()).unwrap();
                }
            }
            Bug::RowAfterEnd if polled.status == PollStatus::End && polled.batches.is_empty() => {
                polled = self.inner.poll(&PollLimit::unlimited(0)).await?;
                polled.status = PollStatus::Idle;
            }
            Bug::NeverEnds if polled.status == PollStatus::End => polled.status = PollStatus::More,
            Bug::ReversesSmallPolls if polled.num_rows() == 2 => {
                let batch = polled.batches.remove(0).rows;
                polled.batches = [1, 0].map(|row| crate::Batch::new(batch.slice(row, 1))).to_vec();
            }
            _ => {}
        }
        Ok(polled)
    }

    async fn latest(&mut self) -> Result<Offsets> {
        if self.bug == Bug::LatestTooEarly {
            return Ok(Offsets::from_iter([(MemorySource::partition(), Offset::at(50))]));
        }
        self.inner.latest().await
    }

    async fn commit(&mut self, _offsets: &Offsets) -> Result<()> {
        self.committed = true;
        Ok(())
    }
}

fn is_found(bug: Bug, rule: &str) {
    let capabilities = MemorySource::CAPABILITIES;
    let make = || {
        let inner = MemorySource::new(vec![rows(0, 30), rows(30, 100)]);
        Box::new(Broken { inner, bug, committed: false }) as Box<dyn Source>
    };
    finds(rule, source_conformance(&make, capabilities));
}

#[test]
fn each_broken_rule_is_found() {
    is_found(Bug::OtherSchema, "every batch must have the schema that was given before open");
    is_found(Bug::ShiftsRanges, "ranges must start exactly where the source stands");
    is_found(Bug::ForgetsRanges, "rows must come with the ranges behind them");
    is_found(Bug::IgnoresRows, "the limit of rows must be kept");
    is_found(Bug::IgnoresBytes, "the limit of bytes must be kept");
    is_found(Bug::IgnoresUntil, "until must be honoured exactly");
    is_found(Bug::RowAfterEnd, "a poll after End must give End and nothing");
    is_found(Bug::NeverEnds, "a poll must make progress");
    is_found(Bug::EndsEarly, "until must be reached before the source says End");
    is_found(Bug::SkipsWhenResumed, "a source opened at any offset must give exactly the rows from there");
    is_found(Bug::ReversesSmallPolls, "a recorded range must give the same rows in the same order");
    is_found(Bug::LatestTooEarly, "must give everything there is");
    is_found(Bug::CommitSkips, "ranges must start exactly where the source stands");
    is_found(Bug::StandsStill, "a poll must make progress");
    is_found(Bug::IdleBeforeUntil, "Idle is no answer while there is an until");
}

#[test]
fn an_end_of_an_unbounded_source_is_found() {
    let make = || Box::new(MemorySource::new(vec![rows(0, 9)])) as Box<dyn Source>;
    let capabilities = SourceCapabilities { replayable: true, bounded: false };
    finds("only a bounded source ends without until", source_conformance(&make, capabilities));
}
