//! Instances whose table is called directly.
#![allow(unsafe_code, reason = "the plugin's functions are called here")]

use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use levada_connector_api::{Error, ErrorKind, Result, TaskContext};

use super::pending_ffi::{self, Pending};
use super::services_ffi::TaskLink;
use super::{Answer, Crossing, DirectClass, Instance, watchdog};
use crate::abi::{Batch, Str, op};
use crate::columns_ffi::{Receiver, Sender, Sent};

/// An operation under way, as the watchdog sees it.
#[derive(Clone, Copy)]
pub(super) struct Busy {
    pub(super) id: u64,
    pub(super) op: u32,
    pub(super) since: Instant,
    pub(super) cancelled: Option<Instant>,
}

/// The part of an instance that operations under way and the watchdog share.
pub(super) struct Shared {
    class: Arc<DirectClass>,
    handle: *mut c_void,
    busy: Mutex<Option<Busy>>,
    /// Whether the handle is still there: the watchdog may want to cancel while the owner ends it.
    alive: Mutex<bool>,
    receiver: Mutex<Receiver>,
    /// The owner has gone while an operation was under way.
    orphan: AtomicBool,
    /// It is never called again and never freed.
    quarantined: AtomicBool,
    /// Freed after the handle.
    _task: Arc<TaskLink>,
}

// SAFETY: a handle may be used from any thread, by one operation at a time, which `busy` sees to.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn busy(&self) -> MutexGuard<'_, Option<Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation has ended.
    pub(super) fn idle(&self) {
        *self.busy() = None;
        if self.is_orphan() {
            watchdog::look();
        }
    }

    /// Takes batches of the plugin over.
    ///
    /// # Safety
    /// `list` is null, or points to `n` batches as the interface says.
    pub(super) unsafe fn receive(&self, list: *mut Batch, n: usize) -> Result<Vec<Crossing>> {
        // SAFETY: the caller's promise.
        unsafe { self.receiver.lock().unwrap_or_else(PoisonError::into_inner).receive(list, n) }
    }

    pub(super) fn place(&self, number: u32) -> String {
        self.class.place(op::name(number))
    }

    pub(super) fn class_name(&self) -> &str {
        &self.class.name
    }

    pub(super) fn is_orphan(&self) -> bool {
        self.orphan.load(Ordering::SeqCst)
    }

    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::SeqCst)
    }

    pub(super) fn quarantine(&self) {
        self.quarantined.store(true, Ordering::SeqCst);
    }

    fn alive(&self) -> MutexGuard<'_, bool> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks an operation to end.
    pub(super) fn cancel(&self, id: u64) {
        let alive = self.alive();
        if let Some(cancel) = self.class.table.cancel.filter(|_| *alive) {
            // SAFETY: the handle lives, and stays so until the lock is released.
            unsafe { cancel(self.handle, id) };
        }
    }

    /// Ends the instance, when nothing is under way.
    pub(super) fn destroy(&self) {
        let mut alive = self.alive();
        if let Some(destroy) = self.class.table.destroy.filter(|_| std::mem::replace(&mut *alive, false)) {
            // SAFETY: nothing is under way, and nobody uses the handle after this.
            unsafe { destroy(self.handle) };
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct DirectInstance {
    shared: Arc<Shared>,
    task: Arc<TaskLink>,
    sender: Sender,
    /// The thread on which a blocking class is called.
    thread: Option<mpsc::Sender<Job>>,
    lost: bool,
}

/// A submit to be made, on whichever thread.
struct Submit {
    shared: Arc<Shared>,
    id: u64,
    op: u32,
    args: Vec<u8>,
    batches: Sent,
}

impl Submit {
    fn make(mut self) {
        let Some(submit) = self.shared.class.table.submit else { return };
        let (list, n) = (self.batches.list.as_mut_ptr(), self.batches.list.len());
        let user = self.id as usize as *mut c_void;
        let args = Str::of(&self.args);
        // SAFETY: the handle lives and is idle; arguments and list are valid for the call, and what the plugin leaves of
        // the batches is released after it.
        let refused = unsafe { submit(self.shared.handle, self.op, self.id, args, list, n, pending_ffi::done, user) };
        if refused != op::OK {
            self.shared.idle();
            Pending::give_up(self.id, crate::wire::error_of(refused, "the operation was refused", b""));
        }
    }
}

impl DirectInstance {
    pub(super) fn new(class: Arc<DirectClass>, handle: *mut c_void, task: Arc<TaskLink>) -> Self {
        let shared = Arc::new(Shared {
            class,
            handle,
            busy: Mutex::new(None),
            alive: Mutex::new(true),
            receiver: Mutex::default(),
            orphan: AtomicBool::new(false),
            quarantined: AtomicBool::new(false),
            _task: task.clone(),
        });
        watchdog::watch(&shared);
        Self { shared, task, sender: Sender::default(), thread: None, lost: false }
    }

    fn begin(&mut self, number: u32, args: Vec<u8>, batches: Vec<Crossing>) -> Result<Operation<'_>> {
        if self.lost || self.shared.is_quarantined() {
            return Err(Error::new(ErrorKind::Cancelled, "an operation before this one was given up"));
        }
        let batches = self.sender.send(batches)?;
        let (id, pending) = Pending::begin(self.shared.clone());
        *self.shared.busy() = Some(Busy { id, op: number, since: Instant::now(), cancelled: None });
        let submit = Submit { shared: self.shared.clone(), id, op: number, args, batches };
        if self.shared.class.table.flags & op::CLASS_BLOCKING == 0 {
            submit.make();
        } else if let Err(error) = self.on_thread(Box::new(move || submit.make())) {
            self.shared.idle();
            Pending::give_up(id, error);
        }
        Ok(Operation { instance: self, id, pending, done: false })
    }

    fn on_thread(&mut self, job: Job) -> Result<()> {
        let thread = match &self.thread {
            Some(thread) => thread,
            None => {
                let (send, receive) = mpsc::channel::<Job>();
                let work = move || receive.into_iter().for_each(|job| job());
                let named = std::thread::Builder::new().name("levada-plugin-blocking".to_owned());
                named.spawn(work).map_err(|e| Error::io("a thread for a blocking plugin", e))?;
                self.thread.insert(send)
            }
        };
        thread.send(job).map_err(|_| Error::internal("the thread of a blocking plugin has ended"))
    }
}

impl Instance for DirectInstance {
    fn set_context(&mut self, context: &TaskContext) {
        // An instance is opened once.
        let _ = self.task.0.set(context.clone());
    }

    fn place(&self, op: u32) -> String {
        self.shared.place(op)
    }

    fn call<'a>(&'a mut self, op: u32, args: Vec<u8>, batches: Vec<Crossing>) -> BoxFuture<'a, Result<Answer>> {
        let shared = self.shared.clone();
        match self.begin(op, args, batches) {
            Ok(operation) => operation.map(move |result| result.map_err(|e| e.context(shared.place(op)))).boxed(),
            Err(error) => futures::future::ready(Err(error.context(shared.place(op)))).boxed(),
        }
    }
}

impl Drop for DirectInstance {
    fn drop(&mut self) {
        if self.shared.is_quarantined() {
            return;
        }
        // Between the look and the mark the operation may end: the watchdog looks again.
        self.shared.orphan.store(true, Ordering::SeqCst);
        if self.shared.busy().is_some() {
            watchdog::look();
            return;
        }
        let shared = self.shared.clone();
        if !watchdog::leave(&shared) {
            return;
        }
        if self.thread.is_some() {
            // `done` may have been called from within a submit that has not returned yet.
            let _ = self.on_thread(Box::new(move || shared.destroy()));
        } else {
            shared.destroy();
        }
    }
}

/// An operation's future.
struct Operation<'a> {
    instance: &'a mut DirectInstance,
    id: u64,
    pending: Arc<Pending>,
    done: bool,
}

impl Future for Operation<'_> {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.pending.poll(context);
        self.done = self.done || result.is_ready();
        result
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.instance.lost = true;
        let shared = &self.instance.shared;
        let under_way = match shared.busy().as_mut() {
            Some(busy) if busy.id == self.id => {
                busy.cancelled.get_or_insert_with(Instant::now);
                true
            }
            _ => false,
        };
        if under_way {
            shared.cancel(self.id);
        }
    }
}
