//! The rules of [`Sink`](crate::Sink), case by case.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::rows::{assert_same, canonical_rows, sample_rows};
use crate::{
    Batch, Commit, ErrorKind, Faults, Guarantee, Offset, Offsets, OutputMode, Partition, Sink, SinkCapabilities,
    TaskContext,
};

/// Where a sink under test writes to, and how its tests look at it.
#[async_trait]
pub trait SinkTarget: Send + Sync {
    /// A new sink into the target.
    fn make(&self) -> Box<dyn Sink>;

    /// The rows that are visible now, in any order, each as [`canonical_rows`](super::canonical_rows) shows it.
    async fn visible(&self) -> Vec<String>;

    /// Empties the target and forgets all commits and epochs.
    async fn clear(&self);

    /// What the sink promises.
    fn capabilities(&self) -> SinkCapabilities;

    /// The schema of [`rows`](Self::rows).
    fn schema(&self) -> SchemaRef {
        self.rows(0).schema()
    }

    /// Two rows or more. The same seed gives the same rows, another seed gives other ones: also other keys, where rows
    /// have keys. [`sample_rows`], unless the target wants others.
    fn rows(&self, seed: u64) -> RecordBatch {
        sample_rows(seed)
    }

    /// Whether the sink forgets its rows on purpose. Then nothing must ever be visible.
    fn discards(&self) -> bool {
        false
    }
}

/// Checks that a sink keeps the contract of [`Sink`](crate::Sink).
///
/// Checked, in every output mode that the sink declares: nothing is visible before the commit (unless the guarantee is
/// at least once) and everything after it; micro-batches of several writes and of none; a commit again by another sink;
/// abort; what is there after a crash between any two calls, at any [fault point](crate::Faults), and again while
/// recovering. Of a transactional sink also: what `open` answers, and that a run that is over is fenced.
///
/// # Panics
/// A rule is broken; the message names it.
pub async fn sink_conformance(target: &dyn SinkTarget) {
    sink_conformance_share(target, 0, 1).await;
}

/// One of `shares` shares of the cases of [`sink_conformance`], numbered from 0: where a sink spends its time waiting for a
/// server, its test checks several targets at a time, each with a share of its own.
///
/// # Panics
/// As `sink_conformance`.
pub async fn sink_conformance_share(target: &dyn SinkTarget, share: u64, shares: u64) {
    check_target(target);
    let (epoch, case) = (AtomicU64::new(0), AtomicU64::new(0));
    let kit = Kit { target, capabilities: target.capabilities(), epoch, case, share, shares: shares.max(1) };
    assert!(!kit.capabilities.modes.is_empty(), "a sink must declare an output mode");
    for &mode in kit.capabilities.modes {
        if kit.is_ours() {
            kit.commits_make_visible(mode).await;
            kit.a_batch_may_have_no_rows(mode).await;
        }
        if kit.is_ours() {
            kit.commits_may_be_repeated(mode).await;
            kit.aborted_rows_are_forgotten(mode).await;
            kit.leftovers_are_not_visible(mode).await;
        }
        super::sink_crash::crashes_are_survived(&kit, mode).await;
    }
    if kit.capabilities.guarantee == Guarantee::Transactional && kit.is_ours() {
        kit.open_answers_with_the_last_commit().await;
        kit.a_run_that_is_over_is_fenced().await;
    }
    target.clear().await;
}

fn check_target(target: &dyn SinkTarget) {
    let rows = target.rows(1);
    assert!(rows.num_rows() >= 2, "the target must give at least two rows");
    assert_eq!(rows.schema(), target.schema(), "the target's rows must have its schema");
    assert_eq!(canonical_rows(&rows), canonical_rows(&target.rows(1)), "the same seed must give the same rows");
    assert_ne!(canonical_rows(&rows), canonical_rows(&target.rows(2)), "another seed must give other rows");
}

pub(super) struct Kit<'a> {
    pub(super) target: &'a dyn SinkTarget,
    pub(super) capabilities: SinkCapabilities,
    epoch: AtomicU64,
    case: AtomicU64,
    pub(super) share: u64,
    pub(super) shares: u64,
}

/// A sink that is open, and the epoch it was opened with.
pub(super) struct Run {
    pub(super) sink: Box<dyn Sink>,
    pub(super) epoch: u64,
    pub(super) last: Option<Commit>,
}

impl Run {
    pub(super) async fn write(&mut self, batch_id: u64, rows: RecordBatch) {
        self.sink.write(batch_id, Batch::new(rows)).await.unwrap_or_else(|e| panic!("write must work: {e}"));
    }

    pub(super) async fn commit(&mut self, batch_id: u64) {
        let commit = commit(batch_id, self.epoch);
        self.sink.commit(&commit).await.unwrap_or_else(|e| panic!("commit of batch {batch_id} must work: {e}"));
    }

    async fn abort(&mut self, batch_id: u64) {
        self.sink.abort(batch_id).await.unwrap_or_else(|e| panic!("abort must work: {e}"));
    }
}

/// What the kit commits with a micro-batch.
pub(super) fn commit(batch_id: u64, epoch: u64) -> Commit {
    let offset = Offset::at((batch_id + 1) * 10);
    Commit { batch_id, epoch, offsets: Offsets::from_iter([(Partition::named("kit", "rows"), offset)]) }
}

impl Kit<'_> {
    /// Whether the next case is of our share.
    pub(super) fn is_ours(&self) -> bool {
        self.case.fetch_add(1, Ordering::Relaxed) % self.shares == self.share
    }

    /// The next run of the task: what a restart does.
    pub(super) async fn open(&self, mode: OutputMode) -> Run {
        self.open_with(mode, Faults::none()).await.unwrap_or_else(|e| panic!("open must work: {e}"))
    }

    pub(super) async fn open_with(&self, mode: OutputMode, faults: Faults) -> crate::Result<Run> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let context = TaskContext { epoch, faults, ..TaskContext::new("conformance") };
        let mut sink = self.target.make();
        let last = sink.open(&context, self.target.schema(), mode).await?;
        if self.capabilities.guarantee != Guarantee::Transactional {
            assert!(last.is_none(), "only a transactional sink answers open with a commit");
        }
        Ok(Run { sink, epoch, last })
    }

    /// The rows of a micro-batch, in two pieces.
    pub(super) fn pieces(&self, batch_id: u64) -> [RecordBatch; 2] {
        let rows = self.target.rows(batch_id);
        let half = rows.num_rows() / 2;
        [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)]
    }

    async fn whole_batch(&self, run: &mut Run, batch_id: u64) {
        for piece in self.pieces(batch_id) {
            run.write(batch_id, piece).await;
        }
        run.commit(batch_id).await;
    }

    /// Panics unless what is visible are the rows of these micro-batches, as far as mode and guarantee promise it.
    pub(super) async fn check(&self, rule: &str, mode: OutputMode, committed: &[u64]) {
        let rule = &format!("{rule} ({mode} mode)");
        let mut found = self.target.visible().await;
        found.sort();
        if self.target.discards() {
            return assert_same("a sink that discards must show nothing", &[], &found);
        }
        let shown = match mode {
            OutputMode::Append => committed,
            // Rows of earlier micro-batches may be shown or replaced: only the target knows its keys.
            OutputMode::Update | OutputMode::Complete => &committed[committed.len().saturating_sub(1)..],
        };
        let mut expected: Vec<_> = shown.iter().flat_map(|id| canonical_rows(&self.target.rows(*id))).collect();
        expected.sort();
        if self.capabilities.guarantee != Guarantee::AtLeastOnce && mode != OutputMode::Update {
            return assert_same(rule, &expected, &found);
        }
        // Each row must be there as often as it was committed; it may be there more often.
        let mut rest = found.iter().peekable();
        for row in &expected {
            while rest.next_if(|found| *found < row).is_some() {}
            assert!(rest.next_if(|found| *found == row).is_some(), "{rule}: {row} is not visible");
        }
    }

    /// The same for the time before a commit, about which a sink that is at least once promises nothing.
    pub(super) async fn check_staged(&self, rule: &str, mode: OutputMode, committed: &[u64]) {
        if self.capabilities.guarantee != Guarantee::AtLeastOnce {
            self.check(rule, mode, committed).await;
            if committed.is_empty() {
                let found = self.target.visible().await;
                assert_same(&format!("{rule} ({mode} mode)"), &[], &found);
            }
        }
    }

    async fn commits_make_visible(&self, mode: OutputMode) {
        self.target.clear().await;
        let mut run = self.open(mode).await;
        assert!(run.last.is_none(), "open of an empty target must answer with no commit");
        let mut committed = Vec::new();
        for batch_id in 0..3 {
            for piece in self.pieces(batch_id) {
                run.write(batch_id, piece).await;
                self.check_staged("nothing that was written may be visible before its commit", mode, &committed).await;
            }
            run.commit(batch_id).await;
            committed.push(batch_id);
            self.check("everything must be visible after the commit", mode, &committed).await;
        }
        run.sink.close().await.unwrap_or_else(|e| panic!("close must work: {e}"));
        self.check("close must change nothing", mode, &committed).await;
    }

    async fn a_batch_may_have_no_rows(&self, mode: OutputMode) {
        self.target.clear().await;
        let mut run = self.open(mode).await;
        // Batch 0 has no write, batch 2 has a write of no rows.
        run.commit(0).await;
        self.check("a micro-batch without rows must show none", mode, &[]).await;
        self.whole_batch(&mut run, 1).await;
        run.write(2, self.target.rows(2).slice(0, 0)).await;
        run.commit(2).await;
        let left: &[u64] = if mode == OutputMode::Complete { &[] } else { &[1] };
        self.check("a micro-batch without rows must change nothing, and in complete mode empty the target", mode, left)
            .await;
        self.whole_batch(&mut run, 3).await;
        let all: &[u64] = if mode == OutputMode::Complete { &[3] } else { &[1, 3] };
        self.check("a micro-batch without rows must not disturb the next", mode, all).await;
    }

    async fn commits_may_be_repeated(&self, mode: OutputMode) {
        self.target.clear().await;
        let mut run = self.open(mode).await;
        self.whole_batch(&mut run, 0).await;
        self.whole_batch(&mut run, 1).await;
        drop(run);
        let rule = "a micro-batch that is committed again must show its rows once";
        let mut again = self.open(mode).await;
        self.whole_batch(&mut again, 1).await;
        self.check(rule, mode, &[0, 1]).await;
        drop(again);
        // The same rows may come in other pieces when they are read again.
        let mut again = self.open(mode).await;
        again.write(1, self.target.rows(1)).await;
        again.commit(1).await;
        self.check("a micro-batch that is committed again in other pieces must show its rows once", mode, &[0, 1])
            .await;
        self.whole_batch(&mut again, 2).await;
        self.check("a repeated micro-batch must not disturb the next", mode, &[0, 1, 2]).await;
    }

    async fn aborted_rows_are_forgotten(&self, mode: OutputMode) {
        self.target.clear().await;
        let mut run = self.open(mode).await;
        run.abort(0).await;
        self.whole_batch(&mut run, 0).await;
        // What is aborted differs from what is written next.
        run.write(1, self.target.rows(77)).await;
        run.abort(1).await;
        self.check_staged("abort must not touch what is committed", mode, &[0]).await;
        self.whole_batch(&mut run, 1).await;
        self.check("rows that were aborted must not be committed with those written next", mode, &[0, 1]).await;
        self.never("rows that were aborted must not become visible", mode, 77).await;
    }

    async fn leftovers_are_not_visible(&self, mode: OutputMode) {
        self.target.clear().await;
        let mut run = self.open(mode).await;
        self.whole_batch(&mut run, 0).await;
        for piece in self.pieces(77) {
            run.write(1, piece).await;
        }
        drop(run);
        self.check_staged("what a crash leaves behind must not be visible", mode, &[0]).await;
        let mut run = self.open(mode).await;
        self.check_staged("what a crash has left behind must not become visible when a sink opens", mode, &[0]).await;
        run.write(1, self.target.rows(1)).await;
        run.commit(1).await;
        self.check("what a crash has left behind must not be committed later", mode, &[0, 1]).await;
        self.never("what a crash has left behind must not become visible", mode, 77).await;
    }

    /// Panics if rows of this seed are visible. A sink that is at least once may have shown them.
    async fn never(&self, rule: &str, mode: OutputMode, seed: u64) {
        if self.capabilities.guarantee == Guarantee::AtLeastOnce {
            return;
        }
        let found = self.target.visible().await;
        for row in canonical_rows(&self.target.rows(seed)) {
            assert!(!found.contains(&row), "{rule}: {row} is ({mode} mode)");
        }
    }

    async fn open_answers_with_the_last_commit(&self) {
        let mode = self.capabilities.modes[0];
        self.target.clear().await;
        for batch_id in 0u64..3 {
            let mut run = self.open(mode).await;
            self.holds(&run, batch_id.checked_sub(1));
            if batch_id != 1 {
                run.write(batch_id, self.target.rows(batch_id)).await;
            }
            drop(run);
            // Written and dropped: the answer is the same. Batch 1 has no rows, and counts like any other.
            let mut run = self.open(mode).await;
            self.holds(&run, batch_id.checked_sub(1));
            if batch_id != 1 {
                run.write(batch_id, self.target.rows(batch_id)).await;
            }
            run.commit(batch_id).await;
        }
        self.holds(&self.open(mode).await, Some(2));
    }

    /// Panics unless `open` has answered with the commit of this micro-batch.
    pub(super) fn holds(&self, run: &Run, batch_id: Option<u64>) {
        let found = run.last.as_ref().map(|last| (last.batch_id, &last.offsets));
        let expected = batch_id.map(|id| commit(id, 0));
        assert_eq!(
            found,
            expected.as_ref().map(|last| (last.batch_id, &last.offsets)),
            "open of a transactional sink must answer with the last commit and its offsets"
        );
    }

    async fn a_run_that_is_over_is_fenced(&self) {
        let mode = self.capabilities.modes[0];
        for stale_batch in [1, 2] {
            self.target.clear().await;
            let mut old = self.open(mode).await;
            self.whole_batch(&mut old, 0).await;
            let mut new = self.open(mode).await;
            self.whole_batch(&mut new, 1).await;
            // The old run was only thought dead, and goes on: with the same micro-batch, or with the next.
            let rows = Batch::new(self.target.rows(stale_batch));
            let answer = match old.sink.write(stale_batch, rows).await {
                Ok(()) => old.sink.commit(&commit(stale_batch, old.epoch)).await,
                refused => refused,
            };
            match answer {
                Err(e) => assert_eq!(e.kind(), ErrorKind::Fenced, "a commit of a lower epoch must fail as fenced: {e}"),
                Ok(()) => panic!("a commit of a lower epoch must fail as fenced: batch {stale_batch} was committed"),
            }
            drop(old);
            self.check("a commit that is fenced must change nothing", mode, &[0, 1]).await;
            self.whole_batch(&mut new, 2).await;
            self.check("a fenced run must not disturb the newer one", mode, &[0, 1, 2]).await;
        }
    }
}
