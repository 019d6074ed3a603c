//! The process in which a library is scanned, or one instance of a class of it works.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use levada_connector_api::{Error, Result};
use levada_plugin::host::{Answer, ClassInfo, Crossing, Instance, Link as _, Settings, divert, settings, wait};

use crate::frame::{self, Ask, Reply};
use crate::scan::{Scanned, Told};

/// Runs as a child process: `scan LIBRARY` or `serve LIBRARY CLASS LEVEL`, speaking over the standard input.
pub fn child(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let Ok(stream) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let done = match arguments.as_slice() {
        [task, path] if task == "scan" => scan(Path::new(path), stream),
        [task, path, class, level] if task == "serve" => {
            serve(Path::new(path), &class.to_string_lossy(), level.to_string_lossy().parse().unwrap_or(0), stream)
        }
        _ => return ExitCode::from(2),
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(path: &Path) -> Result<Scanned> {
    let classes = crate::open(path)?;
    let build_info = classes.first().map(|class| class.build_info().to_owned()).unwrap_or_default();
    let place = |e: Error| e.context(format!("plugin {}", path.display()));
    let classes = classes.iter().map(ClassInfo::ask).collect::<Result<_>>().map_err(place)?;
    Ok(Scanned { build_info, classes })
}

fn scan(path: &Path, mut stream: UnixStream) -> Result<()> {
    let told = match look(path) {
        Ok(scanned) => Told::Library(scanned),
        Err(error) => {
            let hint = error.remedy().map(str::to_owned);
            let places: String = error.places().iter().rev().map(|place| format!("{place}: ")).collect();
            Told::Refused { message: format!("{places}{}", error.message()), hint }
        }
    };
    let text = serde_json::to_vec(&told).map_err(|e| Error::internal(e.to_string()))?;
    stream.write_all(&text).map_err(|e| Error::io("the answer of a scan", e))
}

fn text(payload: Vec<u8>) -> Result<String> {
    String::from_utf8(payload).map_err(|_| Error::internal("an answer is no UTF-8"))
}

/// How long an instance may take to end when the host has gone.
const LAST: Duration = Duration::from_secs(1);

/// What the host asks, read by a thread of its own: when the host goes, so does this process, whatever it is at.
fn asked(mut stream: UnixStream) -> std::io::Result<mpsc::Receiver<(Ask, Vec<Crossing>)>> {
    let (send, receive) = mpsc::channel();
    let reading = move || {
        while let Ok(asked) = frame::read::<Ask>(&mut stream) {
            if send.send(asked).is_err() {
                break;
            }
        }
        drop(send);
        std::thread::sleep(LAST);
        std::process::exit(0);
    };
    std::thread::Builder::new().name("levada-plugin-asked".to_owned()).spawn(reading)?;
    Ok(receive)
}

/// Serves one instance. What the plugin says goes to the host, from `level` on.
fn serve(path: &Path, class: &str, level: u32, stream: UnixStream) -> Result<()> {
    let failed = |e| Error::io("the stream to the host", e);
    let asked = asked(stream.try_clone().map_err(failed)?).map_err(failed)?;
    let out = Arc::new(Mutex::new(stream));
    let tell = move |reply: Reply, batches: &[Crossing]| {
        frame::write(&mut *out.lock().unwrap_or_else(PoisonError::into_inner), reply, batches)
    };
    let said = tell.clone();
    // Without anybody who listens, the process is about to end.
    divert(level, move |what| drop(said(Reply::Said(what), &[])));
    let mut instance: Option<Box<dyn Instance>> = None;
    for (ask, batches) in asked {
        let result = match ask {
            Ask::Query { query, args } => crate::folder::class_of(path, class)
                .and_then(|class| class.query(query, args.as_bytes()))
                .map(|payload| Answer { payload, batches: Vec::new() }),
            Ask::Create { args, operation_ms, cancel_ms } => {
                settings(Settings {
                    operation: Duration::from_millis(operation_ms),
                    cancel: Duration::from_millis(cancel_ms),
                    ..Settings::default()
                });
                crate::folder::class_of(path, class).and_then(|class| class.create(args.as_bytes())).map(|new| {
                    instance = Some(new);
                    Answer::default()
                })
            }
            Ask::Call { op, args } => match &mut instance {
                Some(instance) => wait(instance.call(op, args.into_bytes(), batches)),
                None => Err(Error::internal("there is no instance yet")),
            },
        };
        let answer = result.and_then(|answer| Ok((text(answer.payload)?, answer.batches)));
        match answer {
            Ok((payload, batches)) => tell(Reply::Done { payload }, &batches)?,
            Err(error) => tell(Reply::failed(&error), &[])?,
        }
    }
    Ok(())
}
