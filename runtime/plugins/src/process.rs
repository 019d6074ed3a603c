//! Instances in processes of their own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use levada_connector_api::{Error, ErrorKind, Result, TaskContext};
use levada_plugin::host::{Answer, Crossing, Instance, Link};

use crate::Scanner;
use crate::frame::{self, Ask, Reply};

/// A class that lives in processes of its own.
pub(crate) struct ProcessLink {
    pub(crate) scanner: Scanner,
    pub(crate) path: PathBuf,
    pub(crate) class: String,
}

/// A child process, which ends with this.
struct Process {
    child: Mutex<Child>,
    place: String,
}

impl Process {
    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the child, and waits for what it answers.
    fn ask(&self, stream: &mut UnixStream, ask: Ask, batches: &[Crossing]) -> Result<Answer> {
        let replied = frame::write(stream, ask, batches).and_then(|()| frame::read::<Reply>(stream));
        match replied {
            Ok(Some((reply, batches))) => Ok(Answer { payload: reply.into_result()?, batches }),
            Ok(None) | Err(_) => Err(self.ended()),
        }
    }

    fn ended(&self) -> Error {
        let mut child = self.child();
        // It has closed its end: it is ending, or has ended.
        let mut status = None;
        for _ in 0..200 {
            status = child.try_wait().ok().flatten();
            if status.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let how = status.map_or("it no longer answers".to_owned(), |status| status.to_string());
        Error::new(ErrorKind::Panic, format!("the plugin's process has ended: {how}")).context(self.place.clone())
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
        Ok((Process { child: Mutex::new(child), place }, stream))
    }
}

fn text(args: &[u8]) -> String {
    String::from_utf8_lossy(args).into_owned()
}

impl Link for ProcessLink {
    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>> {
        let (process, mut stream) = self.start()?;
        let _ = stream.set_read_timeout(Some(self.scanner.deadline));
        process.ask(&mut stream, Ask::Query { query, args: text(args) }, &[]).map(|answer| answer.payload)
    }

    fn create(&self, args: &[u8]) -> Result<Box<dyn Instance>> {
        let (process, mut stream) = self.start()?;
        process.ask(&mut stream, Ask::Create { args: text(args) }, &[])?;
        let process = Arc::new(process);
        let (send, receive) = mpsc::channel::<Job>();
        let own = process.clone();
        let work = move || {
            for Job { ask, batches, answer } in receive {
                // Nobody waits any more when the instance was dropped meanwhile.
                let _ = answer.send(own.ask(&mut stream, ask, &batches));
            }
        };
        let thread = std::thread::Builder::new().name("levada-plugin-process".to_owned());
        thread.spawn(work).map_err(|e| Error::io("a thread for a plugin's process", e))?;
        Ok(Box::new(ProcessInstance { process, jobs: send }))
    }
}

struct Job {
    ask: Ask,
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

    fn call<'a>(&'a mut self, op: u32, args: Vec<u8>, batches: Vec<Crossing>) -> BoxFuture<'a, Result<Answer>> {
        let (answer, answered) = oneshot::channel();
        let job = Job { ask: Ask::Call { op, args: text(&args) }, batches, answer };
        if self.jobs.send(job).is_err() {
            return futures::future::ready(Err(self.process.ended())).boxed();
        }
        async move { answered.await.unwrap_or_else(|_| Err(self.process.ended())) }.boxed()
    }
}

impl Drop for ProcessInstance {
    fn drop(&mut self) {
        // The thread may wait for an answer: the end of the process is one.
        let _ = self.process.child().kill();
    }
}
