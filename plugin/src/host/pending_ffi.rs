//! Operations under way. A plugin is given a number, not a pointer, so that one that answers twice, or too late, does no
//! harm.
#![allow(unsafe_code, reason = "the function that plugins call when they are done")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use levada_connector_api::{Error, Result};

use super::Answer;
use super::class_ffi::taken;
use super::instance_ffi::Shared;
use super::services_ffi::count;
use crate::abi::{Outcome, op};
use crate::memory_ffi::read_table;

enum State {
    Waiting(Option<Waker>),
    Done(Result<Answer>),
    Taken,
}

/// An operation under way, as its future sees it.
pub(super) struct Pending {
    state: Mutex<State>,
    shared: Arc<Shared>,
}

/// A table of operations, in parts, so that tasks do not wait for each other.
const PARTS: usize = 16;
static NEXT: AtomicU64 = AtomicU64::new(1);
type Part = Mutex<HashMap<u64, Arc<Pending>>>;
static TABLE: LazyLock<[Part; PARTS]> = LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));

fn part(id: u64) -> Option<std::sync::MutexGuard<'static, HashMap<u64, Arc<Pending>>>> {
    let part = TABLE.get((id % PARTS as u64) as usize)?;
    Some(part.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Takes an operation out of the table: whoever does it ends the operation.
fn remove(id: u64) -> Option<Arc<Pending>> {
    part(id)?.remove(&id)
}

impl Pending {
    /// Enters an operation into the table.
    pub(super) fn begin(shared: Arc<Shared>) -> (u64, Arc<Self>) {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let pending = Arc::new(Self { state: Mutex::new(State::Waiting(None)), shared });
        if let Some(mut part) = part(id) {
            part.insert(id, pending.clone());
        }
        (id, pending)
    }

    /// Ends operation `id` from the host's side: what the plugin says later is not heard. False: it has ended before.
    pub(super) fn give_up(id: u64, error: Error) -> bool {
        let Some(pending) = remove(id) else { return false };
        pending.end(Err(error));
        true
    }

    fn end(&self, result: Result<Answer>) {
        let before =
            std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Done(result));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Answer>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Poll::Ready(result),
            State::Waiting(_) => {
                *state = State::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Ready(Err(Error::internal("the answer was taken before"))),
        }
    }
}

/// What plugins call when an operation is done.
pub(super) unsafe extern "C" fn done(user: *mut c_void, outcome: *mut Outcome) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let pending = remove(user as usize as u64);
        // SAFETY: null, or an outcome that is valid for the call.
        let table = unsafe { read_table(outcome) };
        let result = match table {
            None => Err(Error::internal("it was done with a null pointer")),
            // SAFETY: an outcome whose content is ours now.
            Some(table) => unsafe { open(outcome, table, pending.as_deref()) },
        };
        let Some(pending) = pending else {
            count("levada_plugin_late_answers", String::new());
            tracing::warn!("a plugin was done with an operation twice, or after it was given up");
            return;
        };
        pending.shared.idle();
        pending.end(result);
    }));
    if ended.is_err() {
        tracing::error!("a plugin's answer could not be taken");
    }
}

/// Takes what is in an outcome, and releases it. Nobody asked: it is released only.
unsafe fn open(outcome: *mut Outcome, mut table: Outcome, pending: Option<&Pending>) -> Result<Answer> {
    let batches = match pending {
        // SAFETY: as many batches as the outcome says.
        Some(pending) => unsafe { pending.shared.receive(table.batches, table.n_batches) },
        None => Ok(Vec::new()),
    };
    // The table is a copy. What is taken from it must not be released again by its owner, so it is taken from the original;
    // an original that is shorter has not got it.
    let size = table.struct_size as usize;
    let release = table.release.take();
    let payload = taken(op::OK, &mut table);
    // SAFETY: the original has as many bytes as it says; the fields are within them.
    unsafe {
        if size >= std::mem::offset_of!(Outcome, message) + size_of::<crate::abi::Buf>() {
            (*outcome).message.release = None;
        }
        if size >= std::mem::offset_of!(Outcome, payload) + size_of::<crate::abi::Buf>() {
            (*outcome).payload.release = None;
        }
        if let Some(release) = release {
            release(outcome);
        }
    }
    Ok(Answer { payload: payload?, batches: batches? })
}
