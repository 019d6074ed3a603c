//! A class of its own making, which completes operations in every way that there is: whatever the host does meanwhile, each
//! operation ends once, and no handle is destroyed under an operation.
#![allow(unsafe_code, reason = "the test is a plugin that keeps to no rules but those of memory")]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use crate::abi::{Batch, Class, Done, Outcome, Str, op};
use crate::host::{DirectClass, Link, wait};

static CREATED: AtomicU64 = AtomicU64::new(0);
static DESTROYED: AtomicU64 = AtomicU64::new(0);
static DESTROYED_BUSY: AtomicU64 = AtomicU64::new(0);
static OVERLAPPED: AtomicU64 = AtomicU64::new(0);

struct Handle {
    busy: AtomicBool,
    waiting: Mutex<Option<(Done, usize)>>,
}

struct Work(Done, usize, usize, bool);

fn complete(done: Done, user: usize, handle: usize) {
    // SAFETY: the host destroys a handle only when nothing is under way, and this is.
    unsafe { (*(handle as *const Handle)).busy.store(false, SeqCst) };
    answer(done, user);
}

fn answer(done: Done, user: usize) {
    let mut outcome = Outcome::empty();
    // SAFETY: the outcome is valid for the call.
    unsafe { done(user as *mut c_void, &raw mut outcome) };
}

fn worker() -> &'static mpsc::Sender<Work> {
    static WORKER: OnceLock<mpsc::Sender<Work>> = OnceLock::new();
    WORKER.get_or_init(|| {
        let (send, receive) = mpsc::channel::<Work>();
        std::thread::spawn(move || {
            for Work(done, user, handle, twice) in receive {
                complete(done, user, handle);
                if twice {
                    answer(done, user);
                }
            }
        });
        send
    })
}

unsafe extern "C" fn query(_: *const Class, _: u32, _: Str, _: *mut Outcome) -> i32 {
    op::UNSUPPORTED
}

unsafe extern "C" fn create(_: *const Class, _: *mut c_void, _: Str, out: *mut *mut c_void, _: *mut Outcome) -> i32 {
    CREATED.fetch_add(1, SeqCst);
    let handle = Box::new(Handle { busy: AtomicBool::new(false), waiting: Mutex::new(None) });
    // SAFETY: the host's place for the handle.
    unsafe { out.write(Box::into_raw(handle).cast()) };
    0
}

#[allow(clippy::too_many_arguments, reason = "the interface has as many")]
unsafe extern "C" fn submit(
    handle: *mut c_void,
    how: u32,
    _: u64,
    _: Str,
    _: *mut Batch,
    _: usize,
    done: Done,
    user: *mut c_void,
) -> i32 {
    let (user, at) = (user as usize, handle as usize);
    // SAFETY: a live handle.
    let handle = unsafe { &*handle.cast::<Handle>() };
    if how == 5 {
        return op::RETRIABLE;
    }
    if handle.busy.swap(true, SeqCst) {
        OVERLAPPED.fetch_add(1, SeqCst);
    }
    match how {
        0 => complete(done, user, at),
        1 => {
            complete(done, user, at);
            answer(done, user);
        }
        2 | 3 => drop(worker().send(Work(done, user, at, how == 3))),
        // Only a cancel ends it.
        _ => *handle.waiting.lock().unwrap() = Some((done, user)),
    }
    0
}

unsafe extern "C" fn cancel(handle: *mut c_void, _: u64) {
    // SAFETY: a live handle.
    let waiting = unsafe { &*handle.cast::<Handle>() }.waiting.lock().unwrap().take();
    if let Some((done, user)) = waiting {
        drop(worker().send(Work(done, user, handle as usize, true)));
    }
}

unsafe extern "C" fn destroy(handle: *mut c_void) {
    // SAFETY: the last use of the handle.
    let handle = unsafe { Box::from_raw(handle.cast::<Handle>()) };
    DESTROYED.fetch_add(1, SeqCst);
    DESTROYED_BUSY.fetch_add(u64::from(handle.busy.load(SeqCst)), SeqCst);
}

fn class() -> Arc<DirectClass> {
    static TABLE: OnceLock<Class> = OnceLock::new();
    let table = TABLE.get_or_init(|| Class {
        struct_size: size_of::<Class>() as u32,
        kind: op::TRANSFORM,
        flags: 0,
        name: Str::of(b"Wild"),
        version: Str::of(b"1"),
        query: Some(query),
        create: Some(create),
        submit: Some(submit),
        cancel: Some(cancel),
        destroy: Some(destroy),
    });
    // SAFETY: the table lives for ever.
    Arc::new(unsafe { DirectClass::of(table, "wild 1") }.unwrap())
}

#[test]
fn operations_end_once_whatever_happens_meanwhile() {
    let operations: u64 = if std::env::var_os("LEVADA_STRESS").is_some() { 1_000_000 } else { 100_000 };
    let class = class();
    let work = |mut random: u64| {
        let mut instance = class.create(b"{}").unwrap();
        for _ in 0..operations / 4 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (how, drops) = ((random >> 33) as u32 % 6, random >> 61 == 0);
            let mut call = instance.call(how, Vec::new(), Vec::new());
            let ended = match how == 4 || drops {
                true => (&mut call).now_or_never(),
                false => Some(wait(&mut call)),
            };
            drop(call);
            match ended {
                Some(result) => assert_eq!(result.is_err(), how == 5, "{result:?}"),
                // What was dropped under way is given up, and a new one is made.
                None => instance = class.create(b"{}").unwrap(),
            }
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..5 {
            scope.spawn(move || work(seed));
        }
    });
    let end = Instant::now() + Duration::from_secs(20);
    while CREATED.load(SeqCst) != DESTROYED.load(SeqCst) && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(CREATED.load(SeqCst), DESTROYED.load(SeqCst), "each handle is destroyed once");
    assert_eq!((DESTROYED_BUSY.load(SeqCst), OVERLAPPED.load(SeqCst)), (0, 0));
}
