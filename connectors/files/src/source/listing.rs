//! Which files there are, in the order in which they are read.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;

use futures::TryStreamExt as _;
use globset::{GlobBuilder, GlobMatcher};
use levada_connector_api::{Error, Result};
use levada_storage::{Location, blocking};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::walk::{is_hidden, walk};

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
    /// The order of reading: by time, then by name.
    pub(crate) fn sort(entries: &mut [Self]) {
        entries.sort_by(|a, b| (a.mtime, &a.name).cmp(&(b.mtime, &b.name)));
    }
}

/// Where files are looked for.
pub(crate) struct Listing {
    pub(crate) base: Location,
    pattern: Option<GlobMatcher>,
    recursive: bool,
    /// The path as the user wrote it.
    pub(crate) text: String,
    /// Entries that were reported.
    told: Mutex<HashSet<PathBuf>>,
}

impl Listing {
    pub(crate) fn new(text: &str, recursive: bool) -> Result<Self> {
        let special = |part: &str| part.contains(['*', '?', '[', '{']);
        if !text.split('/').any(special) {
            return Ok(Self {
                base: levada_storage::resolve(text)?,
                pattern: None,
                recursive,
                text: text.to_owned(),
                told: Mutex::default(),
            });
        }
        let mut parts = text.split('/');
        let fixed: Vec<&str> = parts.by_ref().take_while(|part| !special(part)).collect();
        let pattern = text.get(fixed.iter().map(|part| part.len() + 1).sum()..).unwrap_or_default();
        let base = match fixed.join("/") {
            empty if empty.is_empty() && text.starts_with('/') => "/".to_owned(),
            empty if empty.is_empty() => ".".to_owned(),
            base => base,
        };
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|e| Error::config(format!("path = '{text}': the pattern cannot be read: {e}")))?;
        let pattern = Some(glob.compile_matcher());
        Ok(Self {
            base: levada_storage::resolve(&base)?,
            pattern,
            recursive: true,
            text: text.to_owned(),
            told: Mutex::default(),
        })
    }

    /// All files, sorted. Names that begin with `_` or `.` are not data, as in Spark.
    pub(crate) async fn list(&self) -> Result<Vec<FileEntry>> {
        let failed = |error: object_store::Error| {
            levada_storage::to_error(&self.text, error).context("the folder cannot be listed")
        };
        if let Some(local) = &self.base.local {
            match std::fs::metadata(local) {
                Err(error) => return Err(Error::io(&self.text, error).hint("make the folder, or correct 'path'")),
                Ok(meta) if meta.is_file() => {
                    let meta = self.base.store.head(&self.base.path).await.map_err(failed)?;
                    let name = self.base.path.filename().unwrap_or_default().to_owned();
                    let mtime = meta.last_modified.timestamp_millis();
                    return Ok(vec![FileEntry { name, size: meta.size, mtime }]);
                }
                Ok(_) => return self.list_local(local.clone()).await,
            }
        }
        let objects: Vec<_> = if self.recursive {
            self.base.store.list(Some(&self.base.path)).try_collect().await.map_err(failed)?
        } else {
            self.base.store.list_with_delimiter(Some(&self.base.path)).await.map_err(failed)?.objects
        };
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let Some(name) = self.name_of(&object.location).filter(|name| self.admits(name)) else { continue };
            entries.push(FileEntry { name, size: object.size, mtime: object.last_modified.timestamp_millis() });
        }
        FileEntry::sort(&mut entries);
        Ok(entries)
    }

    async fn list_local(&self, folder: PathBuf) -> Result<Vec<FileEntry>> {
        let depth = match &self.pattern {
            // Below the last part of a pattern nothing can match.
            Some(pattern) if !pattern.glob().glob().contains("**") => pattern.glob().glob().matches('/').count(),
            _ if self.recursive => usize::MAX,
            _ => 0,
        };
        let found = blocking(move || walk(&folder, depth)).await;
        let found = found.map_err(|error| error.context("the folder cannot be listed"))?;
        for (path, reason) in found.odd {
            if self.told.lock().is_ok_and(|mut told| told.insert(path.clone())) {
                tracing::warn!(file = %path.display(), "left out: {reason}");
            }
        }
        let mut entries = found.files;
        entries.retain(|entry| self.admits(&entry.name));
        FileEntry::sort(&mut entries);
        Ok(entries)
    }

    /// The name of a file below the base, if it is there.
    pub(crate) fn name_of(&self, place: &Path) -> Option<String> {
        let parts = place.prefix_match(&self.base.path)?;
        Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
    }

    /// Whether the file of this name is to be read.
    pub(crate) fn admits(&self, name: &str) -> bool {
        let hidden = name.is_empty() || name.split('/').any(is_hidden);
        let deep = !self.recursive && name.contains('/');
        !hidden && !deep && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    /// The place of the file `name`.
    pub(crate) fn path(&self, name: &str) -> Path {
        if self.base.path.filename() == Some(name) && self.base.local.as_ref().is_some_and(|p| p.is_file()) {
            return self.base.path.clone();
        }
        // The name is as the store gave it: joining it part by part would escape it again.
        Path::parse(format!("{}/{name}", self.base.path)).unwrap_or_else(|_| self.base.path.clone().join(name))
    }

    /// How to call the file `name` in messages.
    pub(crate) fn label(&self, name: &str) -> String {
        format!("/{}", self.path(name))
    }
}
