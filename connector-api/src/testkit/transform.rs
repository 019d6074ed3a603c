//! The rules of [`Transform`](crate::Transform), case by case.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::rows::{assert_same, canonical_rows};
use crate::{
    Batch, BatchInfo, BindContext, Bound, Emitted, ErrorKind, Origin, StateImage, StateKind, TaskContext, Transform,
};

/// Makes a new transform of the same configuration.
type Make<'a> = &'a dyn Fn() -> Box<dyn Transform>;

/// The rows of the batches into which micro-batches are cut.
const CUTS: [usize; 3] = [1, 7, 64];

/// Checks that a transform of one input keeps the contract of [`Transform`](crate::Transform).
///
/// `make` makes a new transform each time; each of `input` is a micro-batch, and all have one schema. A few micro-batches
/// of some ten rows are enough, among them rows that the transform rejects.
///
/// Checked: binding gives the same answer every time, and every batch has the schema that it told; the same rows come out
/// however the input is cut into batches, and the same rows are rejected, at the same places; micro-batches without rows
/// and batches without rows; a drop at any point. Of a transform with state also: one that is restored from any checkpoint,
/// a snapshot or a snapshot and deltas, goes on as if there had been no restart; a foreign state is refused as corrupt.
/// The watermark is moved as the runtime moves it. Rows of a transform with state are compared without regard to their
/// order within a micro-batch.
///
/// # Panics
/// A rule is broken; the message names it.
pub async fn transform_conformance(make: Make<'_>, context: &BindContext, input: &[RecordBatch]) {
    assert!(input.iter().any(|rows| rows.num_rows() > 0), "the kit needs rows to transform");
    let kit = Kit { make, context, input, schema: input[0].schema() };
    let whole = kit.run(0, &mut kit.open().await, usize::MAX).await;

    kit.binding_gives_the_same_every_time();
    kit.any_cut_gives_the_same(&whole).await;
    kit.a_micro_batch_may_have_no_rows(&whole).await;
    kit.a_drop_at_any_point_harms_nothing(&whole).await;
    if kit.bound().stateful {
        kit.state_comes_back(&whole).await;
        kit.a_foreign_state_is_refused().await;
    } else {
        kit.there_is_no_state().await;
    }
}

struct Kit<'a> {
    make: Make<'a>,
    context: &'a BindContext,
    input: &'a [RecordBatch],
    schema: SchemaRef,
}

/// What came out of a micro-batch.
#[derive(Debug, Clone, Default, PartialEq)]
struct Step {
    rows: Vec<String>,
    rejected: Vec<String>,
}

/// A transform that is open, and the time that goes on with its micro-batches.
struct Run {
    transform: Box<dyn Transform>,
    bound: Bound,
    watermark: i64,
    late: i64,
}

impl Run {
    fn keep(&self, emitted: Emitted, step: &mut Step) {
        for batch in emitted.batches {
            assert_eq!(
                batch.rows.schema_ref().fields(),
                self.bound.schema.fields(),
                "every batch must have the schema that bind has told"
            );
            step.rows.extend(canonical_rows(&batch.rows));
        }
        let told = |bad: crate::BadRow| format!("{}: {} [{}]", bad.position, bad.reason, bad.raw.escape_ascii());
        step.rejected.extend(emitted.rejected.into_iter().map(told));
    }

    /// A micro-batch, in batches of `cut` rows.
    async fn micro_batch(&mut self, batch_id: u64, rows: Option<&RecordBatch>, cut: usize) -> Step {
        let mut step = Step::default();
        let info = BatchInfo { batch_id, watermark: self.watermark, late: self.late };
        self.transform.begin(&info).unwrap_or_else(|e| panic!("begin must work: {e}"));
        let mut rest = rows.cloned();
        let mut at = 0;
        while let Some(rows) = rest.take() {
            let piece = rows.slice(0, cut.min(rows.num_rows()));
            let (n, origin) = (piece.num_rows(), Origin::exact(format!("micro-batch {batch_id}"), "row", at as u64));
            let rule = if n > 0 { "process must work" } else { "a batch may have no rows" };
            let emitted = self.transform.process(Batch::with_origin(piece, origin)).await;
            self.keep(emitted.unwrap_or_else(|e| panic!("{rule}: {e}")), &mut step);
            at += n;
            rest = (n < rows.num_rows()).then(|| rows.slice(n, rows.num_rows() - n));
        }
        let emitted = self.transform.finish(batch_id).await;
        self.keep(emitted.unwrap_or_else(|e| panic!("finish must work: {e}")), &mut step);
        self.late = self.watermark;
        if let Some(time) = self.transform.event_time().filter(|time| time.count > 0) {
            self.watermark = self.watermark.max(time.max - time.delay);
        }
        if self.bound.stateful {
            step.rows.sort();
        }
        step
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Option<StateImage> {
        self.transform.checkpoint(kind).await.unwrap_or_else(|e| panic!("checkpoint must work: {e}"))
    }
}

fn same(rule: &str, expected: &[Step], found: &[Step]) {
    for (batch, (expected, found)) in expected.iter().zip(found).enumerate() {
        let rule = format!("{rule} (micro-batch {batch})");
        assert_same(&rule, &expected.rows, &found.rows);
        assert_same(&format!("{rule}: rejected rows"), &expected.rejected, &found.rejected);
    }
}

impl Kit<'_> {
    fn bind(&self, transform: &mut Box<dyn Transform>) -> Bound {
        transform.bind(&self.schema, self.context).unwrap_or_else(|e| panic!("bind must work: {e}"))
    }

    fn bound(&self) -> Bound {
        self.bind(&mut (self.make)())
    }

    async fn open(&self) -> Run {
        let mut transform = (self.make)();
        let bound = self.bind(&mut transform);
        transform
            .open(&TaskContext::new("conformance"))
            .await
            .unwrap_or_else(|e| panic!("open must work after bind: {e}"));
        Run { transform, bound, watermark: 0, late: 0 }
    }

    /// The micro-batches from `first` on.
    async fn run(&self, first: usize, run: &mut Run, cut: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for (id, rows) in self.input.iter().enumerate().skip(first) {
            steps.push(run.micro_batch(id as u64, Some(rows), cut).await);
        }
        steps
    }

    fn binding_gives_the_same_every_time(&self) {
        let told = |bound: Bound| (bound.schema, bound.stateful, bound.aggregates, bound.watermark);
        assert_eq!(told(self.bound()), told(self.bound()), "bind must give the same answer every time");
    }

    async fn any_cut_gives_the_same(&self, whole: &[Step]) {
        for cut in CUTS {
            let found = self.run(0, &mut self.open().await, cut).await;
            same(&format!("the same rows must come out when batches have {cut} rows"), whole, &found);
        }
    }

    async fn a_micro_batch_may_have_no_rows(&self, whole: &[Step]) {
        let mut run = self.open().await;
        let empty = self.input[0].slice(0, 0);
        for rows in [None, Some(&empty)] {
            let step = run.micro_batch(0, rows, 1).await;
            assert!(step.rejected.is_empty(), "a micro-batch without rows must reject none");
            assert!(run.bound.stateful || step.rows.is_empty(), "without state, nothing must come of no rows");
        }
        let found = self.run(0, &mut run, usize::MAX).await;
        same("micro-batches without rows must not disturb the next", whole, &found);
    }

    async fn a_drop_at_any_point_harms_nothing(&self, whole: &[Step]) {
        drop((self.make)());
        self.bound();
        drop(self.open().await);
        let mut run = self.open().await;
        let info = BatchInfo { batch_id: 0, watermark: 0, late: 0 };
        run.transform.begin(&info).unwrap_or_else(|e| panic!("begin must work: {e}"));
        run.transform
            .process(Batch::new(self.input[0].clone()))
            .await
            .unwrap_or_else(|e| panic!("process must work: {e}"));
        drop(run);
        let found = self.run(0, &mut self.open().await, usize::MAX).await;
        same("a transform that was dropped must not change what the next one gives", whole, &found);
    }

    async fn there_is_no_state(&self) {
        let mut run = self.open().await;
        run.micro_batch(0, Some(&self.input[0]), usize::MAX).await;
        let image = run.checkpoint(StateKind::Snapshot).await;
        assert!(image.is_none(), "a transform that says it has no state must have none to checkpoint");
    }

    /// A run that ends after each micro-batch, and another that goes on from its checkpoint.
    async fn state_comes_back(&self, whole: &[Step]) {
        for ends in 0..self.input.len() {
            for first_kind in [StateKind::Snapshot, StateKind::Delta] {
                let mut run = self.open().await;
                let mut images = Vec::new();
                for (id, rows) in self.input.iter().enumerate().take(ends + 1) {
                    run.micro_batch(id as u64, Some(rows), usize::MAX).await;
                    // Either one snapshot at the end, or one at the beginning and what changed after it.
                    let kind = match (first_kind, id) {
                        (StateKind::Delta, 0) => StateKind::Snapshot,
                        (StateKind::Delta, _) => StateKind::Delta,
                        (StateKind::Snapshot, id) if id == ends => StateKind::Snapshot,
                        (StateKind::Snapshot, _) => continue,
                    };
                    images.extend(run.checkpoint(kind).await);
                }
                let mut next = self.open().await;
                for image in images {
                    next.transform.restore(image).await.unwrap_or_else(|e| panic!("restore must work: {e}"));
                }
                (next.watermark, next.late) = (run.watermark, run.late);
                drop(run);
                let found = self.run(ends + 1, &mut next, usize::MAX).await;
                let rule = format!(
                    "a transform that is restored from a {} must go on where the other ended",
                    if first_kind == StateKind::Snapshot { "snapshot" } else { "snapshot and deltas" }
                );
                same(&format!("{rule} (after {} micro-batches)", ends + 1), &whole[ends + 1..], &found);
            }
        }
    }

    async fn a_foreign_state_is_refused(&self) {
        let mut run = self.open().await;
        run.micro_batch(0, Some(&self.input[0]), usize::MAX).await;
        let Some(mut image) = run.checkpoint(StateKind::Snapshot).await else { return };
        image.fingerprint.push_str(" of another");
        match self.open().await.transform.restore(image).await {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt, "a foreign state must be refused as corrupt: {e}"),
            Ok(()) => panic!("a state with a foreign fingerprint must be refused as corrupt"),
        }
    }
}
