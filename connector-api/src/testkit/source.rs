//! The rules of [`Source`](crate::Source), case by case.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::reader::{Limits, Make, Read, Reader};
use super::rows::assert_same;
use crate::{Offsets, PollLimit, SourceCapabilities, TaskContext};

/// Rows after which a recording stops, of a source that is large or has no end.
const ENOUGH: usize = 500;
/// Places at which a recording is cut.
const CUTS: usize = 6;

/// Checks that a source keeps the contract of [`Source`](crate::Source).
///
/// `make` makes a new source over the same data each time. A few hundred rows are enough, in as many files, partitions
/// or pages as shows how the source goes from one to the next; all cases together open about a hundred sources. Of
/// a source that is larger, or has no end, the first 500 rows are recorded.
///
/// Checked are the lifecycle; that every answer has the declared schema, keeps its limits and starts exactly where the
/// source stands; and, for a replayable source, that a recorded range gives the same rows in the same order however
/// polls are limited, from any offset to any other, whatever was committed or asked in between.
///
/// # Panics
/// A rule is broken; the message names it.
pub async fn source_conformance(make: Make<'_>, capabilities: SourceCapabilities) {
    source_conformance_within(make, capabilities, &[]).await;
}

/// As [`source_conformance`], for a source whose rows come in order within each of its partitions, but from several
/// partitions at once in any order: a Kafka consumer. `lanes` are the columns that name a row's partition; the positions
/// of rejected rows name it before their first comma.
///
/// # Panics
/// A rule is broken; the message names it.
pub async fn source_conformance_within(make: Make<'_>, capabilities: SourceCapabilities, lanes: &[&str]) {
    let mut reader = Reader::open(make, capabilities, lanes, &Offsets::new()).await;
    let all_there_is = reader.read_all(Limits::rows(ENOUGH), ENOUGH).await;
    reader.source.close().await.unwrap_or_else(|e| panic!("close must work: {e}"));
    let whole = reader.read;
    let kit = Kit { make, capabilities, lanes, whole, all_there_is };

    kit.limits_are_kept().await;
    kit.a_drop_at_any_point_harms_nothing().await;
    if capabilities.replayable {
        kit.replays_however_it_is_limited().await;
        kit.resumes_anywhere().await;
        kit.latest_is_reached().await;
        kit.commits_change_nothing().await;
        kit.an_empty_range_is_over_at_once().await;
    }
}

struct Kit<'a> {
    make: Make<'a>,
    capabilities: SourceCapabilities,
    lanes: &'a [&'a str],
    /// What a source gives when nothing limits it.
    whole: Read,
    /// Whether that was everything.
    all_there_is: bool,
}

impl Kit<'_> {
    async fn open(&self, from: &Offsets) -> Reader {
        Reader::open(self.make, self.capabilities, self.lanes, from).await
    }

    fn end(&self) -> Offsets {
        self.whole.stands.clone()
    }

    /// The limits themselves are checked at every poll.
    async fn limits_are_kept(&self) {
        for limits in [Limits::rows(1), Limits::rows(7), Limits::bytes(1), Limits::bytes(100)] {
            let mut reader = self.open(&Offsets::new()).await;
            reader.read_all(limits, self.whole.rows.len().min(50)).await;
        }
    }

    async fn replays_however_it_is_limited(&self) {
        let rows = [1, 2, 3, 7, 64, 1000].map(Limits::rows);
        let bytes = [1, 10, 100, 4096].map(Limits::bytes);
        let both = Limits { rows: 5, bytes: 64 };
        for limits in rows.into_iter().chain(bytes).chain([both, Limits::NONE]) {
            let mut reader = self.open(&Offsets::new()).await;
            reader.read_until(limits, self.end()).await;
            same(
                &format!("a recorded range must give the same rows in the same order ({limits:?})"),
                &self.whole,
                &reader.read,
            );
        }
    }

    async fn resumes_anywhere(&self) {
        for step in [1, self.whole.rows.len().div_ceil(CUTS).max(1)] {
            let cuts = self.cuts(step).await;
            for (i, from) in cuts.iter().enumerate() {
                for to in &cuts[i..] {
                    let range = from
                        .stands
                        .ranges_to(&to.stands)
                        .unwrap_or_else(|e| panic!("a source must not step back while it reads: {e}"));
                    let mut reader = self.open(&from.stands).await;
                    reader.read_until(Limits::NONE, range.ends()).await;
                    same(
                        "a source opened at any offset must give exactly the rows from there until the other",
                        &from.until(to),
                        &reader.read,
                    );
                }
            }
        }
    }

    /// The whole, read in steps of so many rows: what was read at some of the steps, the first and the last among them.
    async fn cuts(&self, step: usize) -> Vec<Read> {
        let mut reader = self.open(&Offsets::new()).await;
        let until = std::sync::Arc::new(self.end());
        let mut cuts = vec![reader.read.clone()];
        while reader.read.rows.len() < self.whole.rows.len() && cuts.len() < 50 {
            reader.poll(Limits::rows(step), Some(&until)).await;
            cuts.push(reader.read.clone());
        }
        let every = cuts.len().div_ceil(CUTS).max(1);
        let last = self.whole.clone();
        cuts.into_iter().step_by(every).chain([last]).collect()
    }

    async fn latest_is_reached(&self) {
        let mut reader = self.open(&Offsets::new()).await;
        let latest = reader.source.latest().await.unwrap_or_else(|e| panic!("latest must work after open: {e}"));
        reader.read_to_the_end(Limits::NONE, latest).await;
        let found = reader.read;
        // More may have come in between; what both have must be equal.
        let (expected, found) = match self.all_there_is {
            true => (self.whole.rows.texts(), found.rows.common(&self.whole.rows).texts()),
            false => (self.whole.rows.common(&found.rows).texts(), found.rows.common(&self.whole.rows).texts()),
        };
        assert_same("a source polled until latest() must give everything there is", &expected, &found);
    }

    async fn commits_change_nothing(&self) {
        let end = std::sync::Arc::new(self.end());
        let mut reader = self.open(&Offsets::new()).await;
        let mut before = None;
        let step = Limits::rows(self.whole.rows.len().div_ceil(CUTS).max(1));
        // A source that makes no progress is found out below.
        for _ in 0..50 {
            reader.poll(step, Some(&end)).await;
            // A commit comes when the sink is done, which is some polls later.
            if let Some(before) = before.replace(reader.read.stands.clone()) {
                reader.source.commit(&before).await.unwrap_or_else(|e| panic!("commit must work: {e}"));
            }
            let latest = reader.source.latest().await.unwrap_or_else(|e| panic!("latest must work at any time: {e}"));
            if let Err(e) = reader.read.stands.ranges_to(&latest) {
                panic!("latest() must not lie before what was read: {e}");
            }
        }
        reader.read_until(Limits::NONE, self.end()).await;
        same("commit and latest must not change what is read", &self.whole, &reader.read);
        let mut after = self.open(&reader.read.stands).await;
        after.read_until(Limits::NONE, Offsets::new()).await;
    }

    async fn an_empty_range_is_over_at_once(&self) {
        let mut reader = self.open(&self.end()).await;
        reader.read_until(Limits::NONE, Offsets::new()).await;
        assert!(reader.read.rows.is_empty(), "partitions that are not in until must not be read: rows came");
    }

    async fn a_drop_at_any_point_harms_nothing(&self) {
        drop((self.make)());
        let mut source = (self.make)();
        source.schema().await.unwrap_or_else(|e| panic!("schema must work after a source was dropped: {e}"));
        // The task is killed while the source opens, and while it is polled.
        {
            let (context, from) = (TaskContext::new("conformance"), Offsets::new());
            begin(source.open(&context, &from));
        }
        drop(source);
        let mut reader = self.open(&Offsets::new()).await;
        begin(reader.source.poll(&PollLimit::unlimited(0)));
        drop(reader);
        let mut reader = self.open(&Offsets::new()).await;
        reader.poll(Limits::rows(3), None).await;
        drop(reader);
        if self.capabilities.replayable {
            let mut reader = self.open(&Offsets::new()).await;
            reader.read_until(Limits::NONE, self.end()).await;
            same("a source that was dropped must not change what the next one reads", &self.whole, &reader.read);
        }
    }
}

fn same(rule: &str, expected: &Read, found: &Read) {
    assert_same(rule, &expected.rows.texts(), &found.rows.texts());
    assert_same(&format!("{rule}: rejected rows"), &expected.rejected.texts(), &found.rejected.texts());
}

/// Runs a future to its first stop and drops it.
fn begin(future: impl Future) {
    let mut context = Context::from_waker(Waker::noop());
    let _: Poll<_> = pin!(future).as_mut().poll(&mut context);
}
