//! Instances: operations begin, are cancelled, and end exactly once.
#![allow(unsafe_code, reason = "the functions of the C interface, as a plugin offers them")]

use std::ffi::c_void;
use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::FutureExt as _;
use futures::future::{Either, select};
use levada_connector_api::{Error, ErrorKind, Result};
use tokio::sync::Notify;

use super::class_ffi::{failure, guarded, panic_error};
use super::operate::{Given, operate};
use super::services_ffi::Task;
use super::{Object, runtime};
use crate::abi::{Batch, Buf, Done, Outcome, Str};
use crate::columns_ffi::{Crossing, Receiver, Sender, Sent};
use crate::memory_ffi::count_live;

/// What an operation works on. It leaves the instance for the time of the operation.
pub(super) struct Working {
    pub(super) object: Object,
    pub(super) task: Task,
    sender: Sender,
    receiver: Receiver,
}

#[derive(Default)]
struct Slot {
    working: Option<Working>,
    /// The operation under way, and how it is told to end.
    busy: Option<(u64, Arc<Notify>)>,
}

/// What a handle points at.
struct Instance(Mutex<Slot>);

impl Instance {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn into_handle(object: Object, task: *mut c_void) -> *mut c_void {
    let working = Working { object, task: Task(task), sender: Sender::default(), receiver: Receiver::default() };
    let instance = Instance(Mutex::new(Slot { working: Some(working), busy: None }));
    Arc::into_raw(Arc::new(instance)).cast_mut().cast()
}

/// Borrows the instance behind a handle.
unsafe fn instance(handle: *mut c_void) -> Option<Arc<Instance>> {
    if handle.is_null() {
        return None;
    }
    let handle = handle.cast_const().cast::<Instance>();
    // SAFETY: handles are what `into_handle` made, and are used before they are destroyed only.
    unsafe {
        Arc::increment_strong_count(handle);
        Some(Arc::from_raw(handle))
    }
}

/// Drops what is the author's: a panic in it goes no further.
fn drop_guarded(value: Working) {
    let inside = runtime().ok().map(|runtime| runtime.enter());
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!("{}", panic_error(panic).context("while it was dropped"));
    }
    drop(inside);
}

/// The host's `done`, which is called exactly once whatever happens to the operation.
struct Completion {
    done: Option<Done>,
    user: *mut c_void,
}

// SAFETY: the interface lets `done` be called on any thread.
unsafe impl Send for Completion {}

impl Completion {
    fn call(&mut self, mut outcome: Outcome) {
        if let Some(done) = self.done.take() {
            // SAFETY: the first and only call, with its own `user`; the outcome is valid for the call.
            unsafe { done(self.user, &raw mut outcome) };
            release_rest(&mut outcome);
        }
    }

    fn succeed(mut self, payload: Vec<u8>, batches: Sent) {
        let mut batches = batches;
        count_live(1);
        let outcome = Outcome {
            payload: Buf::of(payload),
            batches: batches.list.as_mut_ptr(),
            n_batches: batches.list.len(),
            ..Outcome::empty()
        };
        self.call(outcome);
        drop(batches);
        count_live(-1);
    }

    fn fail(mut self, error: &Error) {
        self.call(failure(error));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.done.is_some() {
            self.call(failure(&Error::new(ErrorKind::Cancelled, "the operation was dropped before it was done")));
        }
    }
}

/// Releases what the receiver has left in an outcome of ours.
fn release_rest(outcome: &mut Outcome) {
    // SAFETY: buffers of ours, or emptied by the receiver.
    unsafe {
        drop(outcome.message.take());
        drop(outcome.payload.take());
    }
}

#[allow(clippy::too_many_arguments, reason = "the interface has as many")]
pub(super) unsafe extern "C" fn submit(
    handle: *mut c_void,
    op: u32,
    op_id: u64,
    args: Str,
    batches: *mut Batch,
    n_batches: usize,
    done: Done,
    user: *mut c_void,
) -> i32 {
    let completion = Completion { done: Some(done), user };
    // A panic here would be one of this file; the completion's drop tells it.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise: a handle, arguments for the call, batches that are ours now.
        if let Err((error, completion)) = unsafe { begin(handle, op, op_id, args, batches, n_batches, completion) } {
            completion.fail(&error);
        }
    }));
    0
}

unsafe fn begin(
    handle: *mut c_void,
    op: u32,
    op_id: u64,
    args: Str,
    batches: *mut Batch,
    n_batches: usize,
    completion: Completion,
) -> Result<(), (Error, Completion)> {
    let refuse = |message: &str, completion| Err((Error::internal(message), completion));
    // SAFETY: a live handle.
    let Some(instance) = (unsafe { instance(handle) }) else { return refuse("the handle is null", completion) };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(e) => return Err((Error::io("the plugin's runtime", e), completion)),
    };
    let cancel = Arc::new(Notify::new());
    let working = {
        let mut slot = instance.slot();
        if slot.busy.is_some() {
            return refuse("another operation is under way on the same handle", completion);
        }
        let Some(working) = slot.working.take() else {
            return refuse(
                "an operation before this one panicked or was cancelled; the instance is of no more use",
                completion,
            );
        };
        slot.busy = Some((op_id, cancel.clone()));
        working
    };
    let mut working = working;
    // SAFETY: batches as the interface says.
    let batches = match unsafe { working.receiver.receive(batches, n_batches) } {
        Ok(batches) => batches,
        Err(error) => {
            let mut slot = instance.slot();
            (slot.working, slot.busy) = (Some(working), None);
            return Err((error, completion));
        }
    };
    // SAFETY: valid for the call.
    let args = unsafe { args.bytes() }.to_vec();
    let inline = matches!(working.object, Object::Transform(_));
    let mut work = Box::pin(run(instance, working, cancel, Given { op, args, batches }, completion));
    if inline {
        // A transform mostly only computes: its first step is done here, and there is mostly no other.
        let _inside = runtime.enter();
        if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Ok(());
        }
    }
    runtime.spawn(work);
    Ok(())
}

/// An operation from its beginning to its end.
async fn run(instance: Arc<Instance>, mut working: Working, cancel: Arc<Notify>, given: Given, completion: Completion) {
    let result = {
        let work = AssertUnwindSafe(operate(&mut working, given)).catch_unwind();
        let stop = cancel.notified();
        match select(std::pin::pin!(work), std::pin::pin!(stop)).await {
            Either::Left((Ok(result), _)) => Ok(result),
            Either::Left((Err(panic), _)) => Err(panic_error(panic)),
            Either::Right(_) => Err(Error::new(ErrorKind::Cancelled, "the operation was cancelled")),
        }
    };
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            drop_lost(&instance, working);
            return completion.fail(&error);
        }
    };
    let answer = result.and_then(|(payload, batches): (Vec<u8>, Vec<Crossing>)| {
        guarded(|| Ok((payload, working.sender.send(batches)?)))
    });
    // The host may begin the next operation from within `done`.
    {
        let mut slot = instance.slot();
        (slot.working, slot.busy) = (Some(working), None);
    }
    drop(instance);
    match answer {
        Ok((payload, batches)) => completion.succeed(payload, batches),
        Err(error) => completion.fail(&error),
    }
}

/// After a panic or a cancel nobody knows what state the object is in.
fn drop_lost(instance: &Instance, working: Working) {
    drop_guarded(working);
    instance.slot().busy = None;
}

pub(super) unsafe extern "C" fn cancel(handle: *mut c_void, op_id: u64) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a live handle.
        let Some(instance) = (unsafe { instance(handle) }) else { return };
        let notify = instance.slot().busy.as_ref().filter(|(id, _)| *id == op_id).map(|(_, notify)| notify.clone());
        if let Some(notify) = notify {
            notify.notify_one();
        }
    }));
}

pub(super) unsafe extern "C" fn destroy(handle: *mut c_void) {
    if handle.is_null() {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a handle of `into_handle`, which is not used after this.
        let instance = unsafe { Arc::from_raw(handle.cast_const().cast::<Instance>()) };
        let working = instance.slot().working.take();
        if let Some(working) = working {
            drop_guarded(working);
        }
    }));
}
