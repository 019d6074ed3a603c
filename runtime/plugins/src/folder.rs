//! Folders of libraries, and their classes in a registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use levada_connector_api::{Error, Registry, Result};
use levada_plugin::host::{DirectClass, Instance, Link, add_to};

use crate::cache::Cache;
use crate::process::ProcessLink;
use crate::{Scanned, Scanner};

/// Where instances of a library's classes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// In this process: a batch crosses in microseconds.
    #[default]
    None,
    /// Each in a process of its own: one that dies takes only its task with it.
    Process,
}

/// How libraries are found and loaded.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders with libraries, and libraries.
    pub paths: Vec<PathBuf>,
    /// Where they run.
    pub isolation: Isolation,
    /// Where scans' answers are kept; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// How scans and isolated instances are started.
    pub scanner: Scanner,
}

/// What was found.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Libraries and their classes.
    pub libraries: Vec<(PathBuf, Scanned)>,
    /// What could not be used, each with the path and the remedy.
    pub problems: Vec<Error>,
}

fn libraries(paths: &[PathBuf], problems: &mut Vec<Error>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_file() {
            found.push(path.clone());
            continue;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(e) => {
                problems
                    .push(Error::io(format!("plugin path {}", path.display()), e).hint("name a folder with libraries"));
                continue;
            }
        };
        let mut own: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        own.retain(|path| path.extension().is_some_and(|e| e == std::env::consts::DLL_EXTENSION) && path.is_file());
        // The same order everywhere: which of two classes of one name is used must not depend on the file system.
        own.sort();
        found.extend(own);
    }
    // One file on two ways is one library.
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| path.canonicalize().is_ok_and(|path| seen.insert(path)));
    found
}

/// Finds the libraries, scans those that are new, and adds their classes to `registry`. A library that cannot be used is
/// reported, and the others are used.
pub fn load(registry: &mut Registry, options: &Options) -> LoadReport {
    let mut report = LoadReport::default();
    let paths = libraries(&options.paths, &mut report.problems);
    let mut cache = Cache::open(options.cache.as_deref());
    let mut found: BTreeMap<usize, Result<Scanned>> = BTreeMap::new();
    let mut new = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        match cache.find(path) {
            Ok((_, Some(scanned))) => drop(found.insert(i, Ok(scanned.clone()))),
            Ok((hash, None)) => new.push((i, path, hash)),
            Err(e) => drop(found.insert(i, Err(Error::io(format!("plugin {}", path.display()), e)))),
        }
    }
    for (i, hash, scanned) in scan_all(&options.scanner, new) {
        if let Ok(scanned) = &scanned {
            cache.keep(hash, scanned.clone());
        }
        found.insert(i, scanned);
    }
    if let Err(error) = cache.save() {
        tracing::debug!(%error, "the answers of plugin scans cannot be kept");
    }
    for (path, scanned) in paths.into_iter().zip(found.into_values()) {
        match scanned {
            Ok(scanned) => add(registry, options, path, scanned, &mut report),
            Err(error) => report.problems.push(error),
        }
    }
    report
}

/// Scans libraries, as many at a time as there are processors.
fn scan_all(scanner: &Scanner, new: Vec<(usize, &PathBuf, String)>) -> Vec<(usize, String, Result<Scanned>)> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(new.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((i, path, hash)) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let scanned = scanner.scan(path);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((*i, hash.clone(), scanned));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn add(registry: &mut Registry, options: &Options, path: PathBuf, scanned: Scanned, report: &mut LoadReport) {
    for info in &scanned.classes {
        let link: Box<dyn Link> = match options.isolation {
            Isolation::None => Box::new(LazyLink {
                path: path.clone(),
                class: info.class.clone(),
                seen: fs::metadata(&path).and_then(|meta| Ok((meta.len(), meta.modified()?))).ok(),
                direct: OnceLock::new(),
            }),
            Isolation::Process => Box::new(ProcessLink {
                scanner: options.scanner.clone(),
                path: path.clone(),
                class: info.class.clone(),
                asked: Mutex::default(),
            }),
        };
        if let Err(error) = add_to(registry, info.clone(), link) {
            report.problems.push(error.context(format!("plugin {}", path.display())));
        }
    }
    report.libraries.push((path, scanned));
}

/// A class whose library is loaded when it is first used.
struct LazyLink {
    path: PathBuf,
    class: String,
    /// The file when it was scanned.
    seen: Option<(u64, std::time::SystemTime)>,
    direct: OnceLock<Arc<DirectClass>>,
}

impl LazyLink {
    fn direct(&self) -> Result<&Arc<DirectClass>> {
        if let Some(direct) = self.direct.get() {
            return Ok(direct);
        }
        let now = fs::metadata(&self.path).and_then(|meta| Ok((meta.len(), meta.modified()?))).ok();
        if now != self.seen {
            let error = Error::config("the library was replaced after it was found");
            return Err(error
                .hint("start again to use the new one")
                .context(format!("plugin {}", self.path.display())));
        }
        let class = class_of(&self.path, &self.class)?;
        Ok(self.direct.get_or_init(|| class))
    }
}

/// A class of a library, which is loaded.
pub(crate) fn class_of(path: &Path, name: &str) -> Result<Arc<DirectClass>> {
    let found = crate::open(path)?.into_iter().find(|class| class.name() == name);
    found.ok_or_else(|| Error::config(format!("plugin {}: it has no class '{name}' any more", path.display())))
}

impl Link for LazyLink {
    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>> {
        self.direct()?.query(query, args)
    }

    fn create(&self, args: &[u8]) -> Result<Box<dyn Instance>> {
        self.direct()?.create(args)
    }
}
