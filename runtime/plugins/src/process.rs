//! Instances in processes of their own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use levada_connector_api::{Error, ErrorKind, Result, TaskContext};
use levada_plugin::abi::op;
use levada_plugin::host::{Answer, Crossing, Instance, Link, Settings, patience};

use crate::Scanner;
use crate::frame::{self, Ask, Reply, Unread};

/// A class that lives in processes of its own.
pub(crate) struct ProcessLink {
    pub(crate) scanner: Scanner,
    pub(crate) path: PathBuf,
    pub(crate) class: String,
    /// The process that is asked about the class itself, once there was a question.
    pub(crate) asked: Mutex<Option<(UnixStream, Process)>>,
}

/// A child process, which ends with this.
pub(crate) struct Process {
    child: Mutex<Child>,
    place: String,
    /// Whether it is asked something.
    busy: AtomicBool,
    /// It has ended, or is silent, or says what nobody understands: it is not asked again.
    broken: AtomicBool,
}

/// How long a child may take to end its instance.
const LAST: Duration = Duration::from_secs(2);

impl Process {
    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the child, and waits for what it answers to `what`.
    fn ask(&self, stream: &mut UnixStream, what: &str, ask: Ask, batches: &[Crossing]) -> Result<Answer> {
        self.busy.store(true, Ordering::SeqCst);
        let answer = self.answer(stream, what, ask, batches);
        self.busy.store(false, Ordering::SeqCst);
        answer
    }

    fn answer(&self, stream: &mut UnixStream, what: &str, ask: Ask, batches: &[Crossing]) -> Result<Answer> {
        // What cannot be written has no reader any more, and reading tells why.
        let _ = frame::write(stream, ask, batches);
        loop {
            let unread = match frame::read::<Reply>(stream) {
                Ok((reply, batches)) => match reply.into_result() {
                    Some(payload) => return Ok(Answer { payload: payload?, batches }),
                    None => continue,
                },
                Err(unread) => unread,
            };
            self.broken.store(true, Ordering::SeqCst);
            let error = match unread {
                Unread::Ended => return Err(self.ended(what)),
                Unread::Silent => Error::new(ErrorKind::Unavailable, "the plugin's process does not answer"),
                Unread::Broken(error) => error,
            };
            return Err(error.context(format!("{}, {what}", self.place)));
        }
    }

    /// Waits until the child has ended; `None`: it is still there.
    fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            let status = self.child().try_wait().ok().flatten();
            if status.is_some() || Instant::now() > end {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&self, what: &str) -> Error {
        // It has closed its end: it is ending, or has ended.
        let status = self.wait(Duration::from_secs(1));
        let how = status.map_or("it no longer answers".to_owned(), |status| status.to_string());
        let error = Error::new(ErrorKind::Panic, format!("the plugin's process has ended: {how}"));
        error.context(format!("{}, {what}", self.place))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        // A child that is still there has nothing to finish: what counts was committed.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl ProcessLink {
    fn start(&self) -> Result<(Process, UnixStream)> {
        let (child, stream) = self.scanner.start("serve", &self.path, Some(&self.class))?;
        let place = format!("plugin {}, class '{}'", self.path.display(), self.class);
        Ok((
            Process { child: Mutex::new(child), place, busy: AtomicBool::new(false), broken: AtomicBool::new(false) },
            stream,
        ))
    }
}

fn text(args: &[u8]) -> String {
    String::from_utf8_lossy(args).into_owned()
}

impl Link for ProcessLink {
    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut stream, process) = match asked.take() {
            Some(asked) => asked,
            None => {
                let (process, stream) = self.start()?;
                let _ = stream.set_read_timeout(Some(self.scanner.deadline));
                (stream, process)
            }
        };
        let answer = process.ask(&mut stream, "query", Ask::Query { query, args: text(args) }, &[]);
        if !process.broken.load(Ordering::SeqCst) {
            *asked = Some((stream, process));
        }
        answer.map(|answer| answer.payload)
    }

    fn create(&self, args: &[u8]) -> Result<Box<dyn Instance>> {
        let (process, mut stream) = self.start()?;
        // The child watches over its operations itself; only one that cannot even do that is silent for longer.
        let Settings { operation, cancel, .. } = patience();
        let _ = stream.set_read_timeout(Some(operation + cancel + Duration::from_secs(5)));
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask::Create { args: text(args), operation_ms: ms(operation), cancel_ms: ms(cancel) };
        process.ask(&mut stream, "create", ask, &[])?;
        let process = Arc::new(process);
        let (send, receive) = mpsc::channel::<Job>();
        let own = process.clone();
        let work = move || {
            for Job { op, args, batches, answer } in receive {
                // Nobody waits any more when the instance was dropped meanwhile.
                let _ = answer.send(own.ask(&mut stream, op::name(op), Ask::Call { op, args }, &batches));
            }
            // Without anybody who asks, the child ends its instance, and then itself.
            drop(stream);
            own.wait(LAST);
        };
        let thread = std::thread::Builder::new().name("levada-plugin-process".to_owned());
        thread.spawn(work).map_err(|e| Error::io("a thread for a plugin's process", e))?;
        Ok(Box::new(ProcessInstance { process, jobs: send }))
    }
}

struct Job {
    op: u32,
    args: String,
    batches: Vec<Crossing>,
    answer: oneshot::Sender<Result<Answer>>,
}

struct ProcessInstance {
    process: Arc<Process>,
    jobs: mpsc::Sender<Job>,
}

impl Instance for ProcessInstance {
    fn set_context(&mut self, _: &TaskContext) {
        // The clock and the fault points of the task stay on this side.
    }

    fn place(&self, op: u32) -> String {
        format!("{}, {}", self.process.place, op::name(op))
    }

    fn call<'a>(&'a mut self, op: u32, args: Vec<u8>, batches: Vec<Crossing>) -> BoxFuture<'a, Result<Answer>> {
        let (answer, answered) = oneshot::channel();
        let job = Job { op, args: text(&args), batches, answer };
        // Without the thread that asks, nobody answers.
        let sent = self.jobs.send(job).is_ok();
        async move {
            let answer = if sent { answered.await.ok() } else { None };
            answer.unwrap_or_else(|| Err(self.process.ended(op::name(op))))
        }
        .boxed()
    }
}

impl Drop for ProcessInstance {
    fn drop(&mut self) {
        // Where the thread waits for an answer, the end of the process is one.
        if self.process.busy.load(Ordering::SeqCst) {
            let _ = self.process.child().kill();
        }
    }
}
