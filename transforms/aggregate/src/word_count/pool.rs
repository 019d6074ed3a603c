//! Threads that count.
//!
//! Lines come through one bounded queue, from which each thread takes a piece when it has counted the last; each has a
//! [`Delta`] of its own. Whoever hands lines over waits without blocking while the queue is full. A thread that fails or
//! panics leaves its error behind for the next call; the others then let their pieces go, so that nobody waits for them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrow::array::StringArray;
use levada_connector_api::{Error, Result};
use tokio::sync::{Notify, mpsc};

use super::config::Split;
use super::delta::Delta;
use super::lower::lower_case;
use super::split::{count_lines, weight};
use super::state::State;

/// Words in the tables of one kind of all threads together before they are emptied: they are a cache, and take 23 to 82
/// bytes a word.
const CACHED_WORDS: usize = 512 * 1024;
/// Words that a table may have in any case.
const LEAST_WORDS: usize = 16 * 1024;

/// How lines become words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting {
    pub(super) split: Split,
    pub(super) lower_case: bool,
    /// The most words of a table that is kept.
    pub(super) limit: usize,
}

impl Counting {
    pub(super) fn new(split: Split, lower_case: bool, threads: usize) -> Self {
        Self { split, lower_case, limit: (CACHED_WORDS / threads.max(1)).max(LEAST_WORDS) }
    }

    /// Counts lines into `delta`; when it is full, `state` takes its counts.
    pub(super) fn count(self, lines: &StringArray, delta: &mut Delta, state: &Mutex<State>) -> Result<()> {
        let lowered = self.lower_case.then(|| lower_case(lines)).transpose()?;
        let lines = lowered.as_ref().unwrap_or(lines);
        let weight = weight(lines);
        if !delta.has_room_for(weight) {
            delta.take_into(&mut lock(state), self.limit)?;
        }
        delta.reserve(weight);
        count_lines(lines, self.split, delta);
        if delta.is_over(self.limit) {
            delta.take_into(&mut lock(state), self.limit)
        } else {
            delta.number(&mut lock(state))
        }
    }
}

/// Locks; what a panicking thread has left is not looked at any more, since its panic fails the transform.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece of work.
pub(super) enum Piece {
    Lines(StringArray),
    #[cfg(test)]
    Panic,
}

/// The threads.
pub(super) struct Pool {
    /// Closed by dropping it, which ends the threads.
    queue: Option<mpsc::Sender<Piece>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    counting: Counting,
    state: Arc<Mutex<State>>,
    queue: Mutex<mpsc::Receiver<Piece>>,
    deltas: Vec<Mutex<Delta>>,
    /// Pieces that are queued or being counted.
    pending: AtomicUsize,
    /// Woken when there are none left.
    idle: Notify,
    /// Set by the first failure, and at the end: pieces are no longer counted.
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Pool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// The system does not give one.
    pub(super) fn start(threads: usize, counting: Counting, state: Arc<Mutex<State>>) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(threads * 2);
        let shared = Arc::new(Shared {
            counting,
            state,
            queue: Mutex::new(receiver),
            deltas: (0..threads).map(|_| Mutex::new(Delta::new())).collect(),
            pending: AtomicUsize::new(0),
            idle: Notify::new(),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let mut pool = Self { queue: Some(sender), shared, threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("word-count-{number}"))
                .spawn(move || shared.run(number))
                .map_err(|error| Error::io("starting a thread of the word count", error))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Hands a piece over. Waits while the queue is full.
    ///
    /// # Errors
    /// An earlier piece has failed.
    pub(super) async fn send(&self, piece: Piece) -> Result<()> {
        self.check()?;
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        // Counted only once there is a place: a caller that gives up while it waits has sent nothing.
        let place = queue.reserve().await.map_err(|_| ended())?;
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        place.send(piece);
        Ok(())
    }

    /// Waits until all pieces are counted and moves the counts into the state.
    ///
    /// # Errors
    /// A piece has failed.
    pub(super) async fn drain(&self) -> Result<()> {
        while self.shared.pending.load(Ordering::Acquire) > 0 {
            // A wake-up between the two lines is kept, and an old one only costs another turn.
            self.shared.idle.notified().await;
        }
        self.check()?;
        let mut state = lock(&self.shared.state);
        for delta in &self.shared.deltas {
            lock(delta).take_into(&mut state, self.shared.counting.limit)?;
        }
        Ok(())
    }

    /// Forgets all words: the state has been replaced.
    pub(super) fn clear(&self) {
        self.shared.deltas.iter().for_each(|delta| lock(delta).clear());
    }

    /// The memory of the tables, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.shared.deltas.iter().map(|delta| lock(delta).memory()).sum()
    }

    fn check(&self) -> Result<()> {
        if !self.shared.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(lock(&self.shared.failure).take().unwrap_or_else(ended))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::warn!("a thread of the word count ended with a panic");
            }
        }
    }
}

impl Shared {
    fn run(&self, number: usize) {
        let Some(delta) = self.deltas.get(number) else { return };
        loop {
            // One thread waits in the queue, the others for its place.
            let next = lock(&self.queue).blocking_recv();
            let Some(piece) = next else { return };
            if !self.stopped.load(Ordering::Acquire) {
                let counted = catch_unwind(AssertUnwindSafe(|| self.count(piece, delta)));
                if let Err(error) = counted.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
                    lock(&self.failure).get_or_insert(error);
                    self.stopped.store(true, Ordering::Release);
                }
            }
            self.done();
        }
    }

    fn count(&self, piece: Piece, delta: &Mutex<Delta>) -> Result<()> {
        match piece {
            Piece::Lines(lines) => self.counting.count(&lines, &mut lock(delta), &self.state),
            #[cfg(test)]
            Piece::Panic => panic!("a test wants it"),
        }
    }

    fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_one();
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::panicked("a thread of the word count", panic)
}

fn ended() -> Error {
    Error::internal("the word count has failed before and takes no more lines")
}
