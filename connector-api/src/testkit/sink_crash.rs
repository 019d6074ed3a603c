//! Crashes of a sink: between any two of its calls, at its fault points, and again while it recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sink::{Kit, Run, commit};
use crate::{Batch, Error, ErrorKind, Faults, Guarantee, OutputMode, Result};

/// The micro-batches of an uninterrupted run.
const BATCHES: u64 = 2;

/// A call of the runtime.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Open,
    Write(u64, usize),
    Commit(u64),
    Close,
}

/// What a run calls that begins with micro-batch `first`.
fn steps(first: u64) -> Vec<Step> {
    let batches = (first..BATCHES).flat_map(|id| [Step::Write(id, 0), Step::Write(id, 1), Step::Commit(id)]);
    std::iter::once(Step::Open).chain(batches).chain([Step::Close]).collect()
}

/// A crash after each prefix of the calls, and after each prefix of those that recover from it; then a run to the end.
pub(super) async fn crashes_are_survived(kit: &Kit<'_>, mode: OutputMode) {
    let first_mode = kit.capabilities.modes.first() == Some(&mode);
    for cut in 0..=steps(0).len() {
        for (redo, nested) in recoveries(cut, first_mode) {
            if !kit.is_ours() {
                continue;
            }
            kit.target.clear().await;
            let mut done = run(kit, mode, &steps(0)[..cut], 0).await;
            let first = begin_again(done, redo);
            if let Some(nested) = nested {
                let again = steps(first);
                done = run(kit, mode, &again[..nested.min(again.len())], done).await;
            }
            run(kit, mode, &steps(begin_again(done, redo)), done).await;
            let all: Vec<_> = (0..BATCHES).collect();
            let rule = format!(
                "a crash between any two calls must leave no trace once it is recovered from (after {:?})",
                steps(0)[..cut].last()
            );
            kit.check(&rule, mode, &all).await;
        }
    }
    faults_are_survived(kit, mode).await;
}

/// The ways to recover from a crash after `cut` calls: whether the last commit is repeated (the crash came before the
/// runtime had logged it), and where a second crash comes.
fn recoveries(cut: usize, with_nested: bool) -> Vec<(bool, Option<usize>)> {
    let committed = steps(0)[..cut].iter().any(|step| matches!(step, Step::Commit(_)));
    let nested = (1..5).map(Some).filter(|_| with_nested && cut > 0);
    let places: Vec<_> = std::iter::once(None).chain(nested).collect();
    let redo = [true, false].into_iter().filter(|redo| !redo || committed);
    redo.flat_map(|redo| places.iter().map(move |place| (redo, *place)).collect::<Vec<_>>()).collect()
}

fn begin_again(done: u64, redo: bool) -> u64 {
    if redo { done.saturating_sub(1) } else { done }
}

/// Makes these calls and drops the sink. Answers with how many micro-batches are committed, of which `done` were before.
async fn run(kit: &Kit<'_>, mode: OutputMode, steps: &[Step], mut done: u64) -> u64 {
    let mut run = None;
    for step in steps {
        call(kit, mode, &mut run, *step, Faults::none()).await.unwrap_or_else(|e| panic!("{step:?} must work: {e}"));
        if let (Step::Open, Some(run)) = (step, &run)
            && kit.capabilities.guarantee == Guarantee::Transactional
        {
            kit.holds(run, done.checked_sub(1));
        }
        if let Step::Commit(id) = step {
            done = done.max(id + 1);
        }
    }
    drop(run);
    if done < BATCHES {
        let committed: Vec<_> = (0..done).collect();
        kit.check_staged("a crash must show all of a micro-batch or nothing", mode, &committed).await;
    }
    done
}

async fn call(kit: &Kit<'_>, mode: OutputMode, run: &mut Option<Run>, step: Step, faults: Faults) -> Result<()> {
    match (step, run.as_mut()) {
        (Step::Open, _) => *run = Some(kit.open_with(mode, faults).await?),
        (Step::Write(id, piece), Some(run)) => {
            let rows = kit.pieces(id)[piece].clone();
            run.sink.write(id, Batch::new(rows)).await?;
        }
        (Step::Commit(id), Some(run)) => run.sink.commit(&commit(id, run.epoch)).await?,
        (Step::Close, Some(run)) => run.sink.close().await?,
        (_, None) => unreachable!("every run begins with open"),
    }
    Ok(())
}

/// Lets each fault point that the sink passes fail in its turn, then recovers.
async fn faults_are_survived(kit: &Kit<'_>, mode: OutputMode) {
    let mut at = kit.share;
    loop {
        kit.target.clear().await;
        let passed = Arc::new(AtomicU64::new(0));
        let faults = {
            let passed = passed.clone();
            Faults::hook(move |name| match passed.fetch_add(1, Ordering::SeqCst) {
                number if number == at => Err(Error::new(ErrorKind::Io, format!("planned fault at {name}"))),
                _ => Ok(()),
            })
        };
        let (mut sink, mut batch) = (None, 0);
        for step in steps(0) {
            if let Step::Write(id, _) = step {
                batch = id;
            }
            if call(kit, mode, &mut sink, step, faults.clone()).await.is_err() {
                break;
            }
        }
        drop(sink);
        // The run came through: there is no such point.
        if passed.load(Ordering::SeqCst) <= at {
            return;
        }
        let mut again = None;
        for step in steps(batch) {
            let answer = call(kit, mode, &mut again, step, Faults::none()).await;
            answer.unwrap_or_else(|e| panic!("{step:?} must work after a fault: {e}"));
        }
        drop(again);
        let all: Vec<_> = (0..BATCHES).collect();
        kit.check(&format!("fault point number {at} must leave no trace once it is recovered from"), mode, &all).await;
        at += kit.shares;
    }
}
