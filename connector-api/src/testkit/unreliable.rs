//! A sink that fails by a plan.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::{Batch, Commit, Error, ErrorKind, OutputMode, Result, Retry, Sink, TaskContext};

/// A call of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Sink::open`].
    Open,
    /// [`Sink::write`].
    Write,
    /// [`Sink::commit`].
    Commit,
    /// [`Sink::abort`].
    Abort,
    /// [`Sink::close`].
    Close,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen, and says so: retriable.
    Before,
    /// It happens, but what is reported is a timeout: indeterminate.
    After,
}

/// Which calls fail. Clones share one plan, so that it goes on over the sinks of several runs of a task.
#[derive(Clone)]
pub struct FailurePlan(Arc<Mutex<Plan>>);

struct Plan {
    calls: u64,
    rule: Box<dyn FnMut(u64, Call) -> Option<Fault> + Send>,
}

impl FailurePlan {
    /// Asks `rule` with the number of each call, from 0, and which it is.
    pub fn new(rule: impl FnMut(u64, Call) -> Option<Fault> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Plan { calls: 0, rule: Box::new(rule) })))
    }

    /// No call fails.
    pub fn none() -> Self {
        Self::new(|_, _| None)
    }

    /// The given calls fail: their numbers, from 0.
    pub fn at(faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        let faults: Vec<_> = faults.into_iter().collect();
        Self::new(move |number, _| faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault))
    }

    /// Each call fails with these probabilities. The same seed fails the same calls.
    pub fn seeded(seed: u64, before: f64, after: f64) -> Self {
        Self::new(move |number, _| {
            let drawn = (mix(seed ^ mix(number)) >> 11) as f64 / (1u64 << 53) as f64;
            match drawn {
                drawn if drawn < before => Some(Fault::Before),
                drawn if drawn < before + after => Some(Fault::After),
                _ => None,
            }
        })
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    fn next(&self, call: Call) -> Option<Fault> {
        let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = plan.calls;
        plan.calls += 1;
        (plan.rule)(number, call)
    }
}

/// The finalizer of splitmix64: numbers that are near each other become numbers that are not.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A sink around another that fails by a plan.
pub struct Unreliable {
    inner: Box<dyn Sink>,
    plan: FailurePlan,
}

impl Unreliable {
    /// Wraps `inner`.
    pub fn new(inner: Box<dyn Sink>, plan: FailurePlan) -> Self {
        Self { inner, plan }
    }
}

fn before(fault: Option<Fault>, call: Call) -> Result<()> {
    match fault {
        Some(Fault::Before) => Err(Error::new(ErrorKind::Unavailable, format!("{call:?} was refused, as planned"))),
        _ => Ok(()),
    }
}

fn after<T>(fault: Option<Fault>, call: Call, answer: T) -> Result<T> {
    match fault {
        Some(Fault::After) => Err(Error::new(ErrorKind::Unavailable, format!("{call:?} timed out, as planned"))
            .with_retry(Retry::Indeterminate)),
        _ => Ok(answer),
    }
}

#[async_trait]
impl Sink for Unreliable {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        let fault = self.plan.next(Call::Open);
        before(fault, Call::Open)?;
        after(fault, Call::Open, self.inner.open(context, schema, mode).await?)
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        let fault = self.plan.next(Call::Write);
        before(fault, Call::Write)?;
        after(fault, Call::Write, self.inner.write(batch_id, batch).await?)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let fault = self.plan.next(Call::Commit);
        before(fault, Call::Commit)?;
        after(fault, Call::Commit, self.inner.commit(commit).await?)
    }

    async fn abort(&mut self, batch_id: u64) -> Result<()> {
        let fault = self.plan.next(Call::Abort);
        before(fault, Call::Abort)?;
        after(fault, Call::Abort, self.inner.abort(batch_id).await?)
    }

    async fn close(&mut self) -> Result<()> {
        let fault = self.plan.next(Call::Close);
        before(fault, Call::Close)?;
        after(fault, Call::Close, self.inner.close().await?)
    }
}
