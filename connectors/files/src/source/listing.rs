//! Which files there are, in the order in which they are read.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io::ErrorKind as Io;
use std::path::{Path as FsPath, PathBuf};
use std::time::UNIX_EPOCH;

use futures::TryStreamExt as _;
use globset::{GlobBuilder, GlobMatcher};
use levada_connector_api::{Error, Result};
use levada_storage::{Location, to_error};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::runtime::Handle;

/// A file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// Its path below the base: its name as a partition.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// When it was last modified, in milliseconds since the epoch.
    pub(crate) mtime: i64,
}

impl FileEntry {
    pub(crate) fn new(name: String, meta: &Metadata) -> Self {
        let mtime = match meta.modified().map(|time| time.duration_since(UNIX_EPOCH)) {
            Ok(Ok(after)) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Ok(Err(before)) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        Self { name, size: meta.len(), mtime }
    }
}

/// Where files are looked for.
#[derive(Clone)]
pub(crate) struct Listing {
    pub(crate) base: Location,
    /// What the path below the base must match.
    pattern: Option<GlobMatcher>,
    /// What the file's name must match.
    names: Option<GlobMatcher>,
    /// How many folders below the base are looked into.
    depth: usize,
    /// Files that cannot be named in a checkpoint, and were reported.
    odd: HashSet<PathBuf>,
}

impl Listing {
    /// `text` is a folder, a file, a pattern or a URL; `names` a pattern of file names.
    pub(crate) fn new(text: &str, names: Option<&str>, recursive: bool) -> Result<Self> {
        let names = names.map(|pattern| matcher("glob", pattern)).transpose()?;
        let make = |base: &str, pattern, depth| {
            let base = levada_storage::resolve(base)?;
            Ok(Self { base, pattern, names, depth, odd: HashSet::new() })
        };
        let special = |part: &str| part.contains(['*', '?', '[', '{']);
        if !text.split('/').any(special) {
            return make(text, None, if recursive { usize::MAX } else { 0 });
        }
        let fixed: Vec<&str> = text.split('/').take_while(|part| !special(part)).collect();
        let pattern = text.get(fixed.iter().map(|part| part.len() + 1).sum()..).unwrap_or_default();
        let base = match fixed.join("/") {
            empty if empty.is_empty() && text.starts_with('/') => "/".to_owned(),
            empty if empty.is_empty() => ".".to_owned(),
            base => base,
        };
        // Braces may hold slashes: how deep such a pattern reaches is not read from it.
        let bounded = !pattern.contains("**") && !pattern.contains('{');
        let depth = if bounded { pattern.matches('/').count() } else { usize::MAX };
        make(&base, Some(matcher("path", pattern)?), depth)
    }

    /// All files, sorted by time, then by name. Names that begin with `_` or `.` are not data, as in Spark. Blocks.
    pub(crate) fn list(&mut self, handle: &Handle) -> Result<Vec<FileEntry>> {
        let mut entries = match self.base.local.clone() {
            Some(base) => self.list_local(&base)?,
            None => self.list_remote(handle)?,
        };
        entries.sort_by(|a, b| (a.mtime, &a.name).cmp(&(b.mtime, &b.name)));
        Ok(entries)
    }

    fn list_local(&mut self, base: &FsPath) -> Result<Vec<FileEntry>> {
        let hint = |error: Error| error.hint("make the folder, or correct 'path'");
        let meta = fs::metadata(base).map_err(|e| {
            let missing = e.kind() == Io::NotFound;
            let error = Error::io(base.display(), e);
            if missing { hint(error) } else { error }
        })?;
        if meta.is_file() {
            let name = base.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(vec![FileEntry::new(name, &meta)]);
        }
        let mut entries = Vec::new();
        self.walk(base, "", self.depth, &mut entries)?;
        Ok(entries)
    }

    fn walk(&mut self, folder: &FsPath, below: &str, depth: usize, entries: &mut Vec<FileEntry>) -> Result<()> {
        let listed = match fs::read_dir(folder) {
            // Removed since its parent was listed.
            Err(error) if error.kind() == Io::NotFound && !below.is_empty() => return Ok(()),
            other => other.map_err(|e| Error::io(folder.display(), e))?,
        };
        for entry in listed {
            let entry = entry.map_err(|e| Error::io(folder.display(), e))?;
            let path = entry.path();
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                if self.odd.insert(path.clone()) {
                    tracing::warn!(file = %path.display(), "a file whose name is not UTF-8 is left out; rename it");
                }
                continue;
            };
            if is_hidden(name) {
                continue;
            }
            let name = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let Some(kind) = gone(entry.file_type(), &path)? else { continue };
            if kind.is_dir() || kind.is_symlink() {
                let Some(meta) = gone(fs::metadata(&path), &path)? else { continue };
                if meta.is_dir() {
                    if depth > 0 && !(kind.is_symlink() && leads_up(&path, folder)) {
                        self.walk(&path, &name, depth - 1, entries)?;
                    }
                    continue;
                }
            }
            if !self.wants(&name) {
                continue;
            }
            // Following a link, and leaving out what is neither file nor folder.
            if let Some(meta) = gone(fs::metadata(&path), &path)?.filter(Metadata::is_file) {
                entries.push(FileEntry::new(name, &meta));
            }
        }
        Ok(())
    }

    fn list_remote(&self, handle: &Handle) -> Result<Vec<FileEntry>> {
        let base = &self.base.path;
        let failed = |error| to_error(&self.base.url, error);
        let objects: Vec<_> = if self.depth > 0 {
            handle.block_on(self.base.store.list(Some(base)).try_collect()).map_err(failed)?
        } else {
            let listed = handle.block_on(self.base.store.list_with_delimiter(Some(base))).map_err(failed)?.objects;
            match listed.is_empty() {
                // The path may be a file.
                true => handle.block_on(self.base.store.head(base)).into_iter().collect(),
                false => listed,
            }
        };
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let name = match object.location.prefix_match(base) {
                Some(below) => below.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
                None => continue,
            };
            let name =
                if name.is_empty() { object.location.filename().unwrap_or_default().to_owned() } else { name };
            if !name.split('/').any(is_hidden) && self.wants(&name) {
                entries.push(FileEntry {
                    name,
                    size: object.size,
                    mtime: object.last_modified.timestamp_millis(),
                });
            }
        }
        Ok(entries)
    }

    fn wants(&self, name: &str) -> bool {
        let file = name.rsplit('/').next().unwrap_or(name);
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && self.names.as_ref().is_none_or(|pattern| pattern.is_match(file))
    }

    /// The local path of the file `name`, if it is local.
    pub(crate) fn local(&self, name: &str) -> Option<PathBuf> {
        let base = self.base.local.as_ref()?;
        let is_base = base.file_name().is_some_and(|own| own == name) && base.is_file();
        Some(if is_base { base.clone() } else { base.join(name) })
    }

    /// The place of the file `name` in the store.
    pub(crate) fn remote(&self, name: &str) -> Path {
        // The name is as the store gave it: joining it part by part would escape it again.
        let below = Path::parse(format!("{}/{name}", self.base.path));
        let below = below.unwrap_or_else(|_| self.base.path.clone().join(name));
        if self.base.path.filename() == Some(name) && self.depth == 0 { self.base.path.clone() } else { below }
    }

    /// How to call the file `name` in messages.
    pub(crate) fn label(&self, name: &str) -> String {
        match self.local(name) {
            Some(path) => path.display().to_string(),
            None => self.base.name(&self.remote(name)),
        }
    }
}

fn matcher(key: &str, pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|e| Error::config(format!("{key} = '{pattern}': the pattern cannot be read: {e}")))?;
    Ok(glob.compile_matcher())
}

/// Spark's rule: partition folders may begin with an underscore.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

/// `None` for what was removed since it was listed, and for links to nothing.
fn gone<T>(result: std::io::Result<T>, path: &FsPath) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => Err(Error::io(path.display(), error)),
    }
}

/// Whether a link leads to a folder that it lies in: following it would never end.
fn leads_up(link: &FsPath, folder: &FsPath) -> bool {
    match (fs::canonicalize(link), fs::canonicalize(folder)) {
        (Ok(target), Ok(folder)) => folder.starts_with(target),
        _ => true,
    }
}
