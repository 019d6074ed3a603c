//! Files that are not what they were when they were read.

use levada_connector_api::{Error, ErrorKind, Offset, Result};

use super::listing::FileEntry;
use super::{Charset, ENCODING, FOLDER, FilesSource, PATH, is_done};

/// What is recorded once, with the first file that is read, and holds for all.
pub(super) struct Note {
    key: &'static str,
    value: String,
    recorded: bool,
}

impl Note {
    pub(super) fn new(key: &'static str, value: &str, recorded: Option<&str>) -> Self {
        Self { key, value: value.to_owned(), recorded: recorded.is_some() }
    }
}

impl FilesSource {
    /// What the checkpoint has in a note that holds for all files.
    pub(super) fn recorded(&self, key: &str) -> Option<&str> {
        self.seen.values().find_map(|offset| offset.notes.get(key)?.as_str())
    }

    /// The end of what was read of a file, with the notes that are not recorded yet or that this file's offset has.
    pub(super) fn with_notes(&mut self, mut end: Offset, start: Option<&Offset>) -> Offset {
        for note in &mut self.notes {
            if !note.recorded || start.is_some_and(|start| start.notes.contains_key(note.key)) {
                note.recorded = true;
                end = end.note(note.key, note.value.as_str());
            }
        }
        end
    }

    /// The folder below which files are named: as it was written, and whole.
    pub(super) fn folder(&self) -> (String, String) {
        let base = &self.listing.base;
        let written = base.url.trim_end_matches('/').to_owned();
        let Some(local) = &base.local else { return (written.clone(), written) };
        if !local.is_file() {
            return (written, format!("/{}", base.path));
        }
        let above = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        (above(&written).unwrap_or_else(|| ".".to_owned()), above(&format!("/{}", base.path)).unwrap_or_default())
    }

    /// Files have names below a folder: those of another one would be taken for them.
    ///
    /// # Errors
    /// The checkpoint is of another folder. A folder that was moved, with what is written in the pipeline, is the same.
    pub(super) fn check_folder(&self) -> Result<()> {
        let (path, folder) = self.folder();
        let (Some(old_path), Some(old_folder)) = (self.recorded(PATH), self.recorded(FOLDER)) else { return Ok(()) };
        if old_path == path || old_folder == folder {
            return Ok(());
        }
        let message =
            format!("the checkpoint is of the files below {old_folder}, and 'path' names those below {folder}");
        let hint = format!(
            "files of equal names would be taken for read: bring the old path '{old_path}' back, or start anew with \
             another checkpoint.location and name"
        );
        Err(Error::config(message).hint(hint))
    }

    /// The note of the encoding that positions were counted in: none for UTF-8.
    pub(super) fn with_encoding(&self, end: Offset) -> Offset {
        if self.charset == Charset::Utf8 { end } else { end.note(ENCODING, self.charset.name()) }
    }

    /// Positions are of the text as UTF-8: read in another encoding they would be elsewhere in it.
    ///
    /// # Errors
    /// Where reading begins or is to stop was recorded under another encoding.
    pub(super) fn check_encoding(&self, name: &str, recorded: &[Option<&Offset>]) -> Result<()> {
        let counted = |offset: &&&Offset| !matches!(offset.number(), None | Some(0 | u64::MAX));
        for offset in recorded.iter().flatten().filter(counted) {
            let old = offset.notes.get(ENCODING).and_then(serde_json::Value::as_str).unwrap_or("UTF-8");
            if old != self.charset.name() {
                let (label, now) = (self.listing.label(name), self.charset.name());
                let message =
                    format!("{label}: a part of the file was read as {old}, and 'encoding' is now another: {now}");
                return Err(Error::config(message).hint(format!(
                    "let files that were begun be finished with encoding={old}, or start anew with another \
                     checkpoint.location and name"
                )));
            }
        }
        Ok(())
    }

    /// Looks whether files that were read are still what they were, and whether those that were read in part are there.
    ///
    /// # Errors
    /// A file that was read in part is gone, or is shorter than it was.
    pub(super) fn check_seen(&mut self, entries: &[FileEntry]) -> Result<()> {
        self.report_growth(entries);
        // Only a start leaves files that are read in part and not open.
        for (name, seen) in self.seen.iter().filter(|(_, seen)| !is_done(seen)) {
            let Some(entry) = entries.iter().find(|entry| entry.name == *name) else {
                return Err(self.gone(name));
            };
            let (size, mtime) = (seen.note_u64("size"), seen.notes.get("mtime").and_then(serde_json::Value::as_i64));
            if let Some(before) = size.filter(|before| *before > entry.size) {
                return Err(shrunk(&self.listing.label(name), entry.size, before, ""));
            }
            if size == Some(entry.size) && mtime.is_some_and(|mtime| mtime != entry.mtime) {
                tracing::warn!(
                    file = %self.listing.label(name), position = seen.number(),
                    "a file was written again after a part of it was read: reading goes on where it stood"
                );
            }
        }
        Ok(())
    }

    /// A file is not there, though a part of it was committed.
    pub(super) fn gone(&self, name: &str) -> Error {
        let message = format!("{}: the file is gone, but only a part of it was committed", self.listing.label(name));
        let hint = "bring it back, or start anew with another checkpoint.location and name";
        Error::new(ErrorKind::NotFound, message).hint(hint)
    }

    /// A file is read once: what is added later is not seen, and that is worth a warning.
    fn report_growth(&mut self, entries: &[FileEntry]) {
        for entry in entries {
            let Some(seen) = self.seen.get(&entry.name).filter(|seen| is_done(seen)) else { continue };
            let before = seen.note_u64("size").unwrap_or(entry.size);
            if before != entry.size && self.grown.insert(entry.name.clone()) {
                tracing::warn!(
                    file = %self.listing.label(&entry.name), before, now = entry.size,
                    "a file changed after it was read: what is new in it is not read; write new data to new files"
                );
            }
        }
    }
}

/// A file is shorter than what was recorded of it: `least` is empty, or says that it had more than `before` bytes.
pub(super) fn shrunk(label: &str, at: u64, before: u64, least: &str) -> Error {
    Error::data(format!("{label}: the file ends at byte {at}, but it had {least}{before} bytes when it was recorded"))
        .hint(
            "files must not change once they are there: bring the old content back, or start anew with another \
         checkpoint.location and name",
        )
}
