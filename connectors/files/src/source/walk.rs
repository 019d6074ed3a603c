//! The files below a local folder. One entry that is no file, or cannot be named, must not keep the others from being read.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use levada_connector_api::{Error, Result};

use super::listing::FileEntry;

/// What a walk finds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: Vec<FileEntry>,
    /// Entries that are left out, with the reason.
    pub(super) odd: Vec<(PathBuf, &'static str)>,
}

/// Walks `folder` and the folders below it, `depth` levels at most. Names that begin with `_` or `.` are left out.
///
/// # Errors
/// A folder cannot be read; the error names it.
pub(super) fn walk(folder: &Path, depth: usize) -> Result<Found> {
    let mut found = Found::default();
    let own = std::fs::metadata(folder).map_err(|e| Error::io(folder.display(), e))?;
    into(folder, "", depth, &mut vec![(own.dev(), own.ino())], &mut found)?;
    Ok(found)
}

/// Whether an entry is no data, as in Spark.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.']) && !name.contains('=')
}

fn into(folder: &Path, prefix: &str, depth: usize, above: &mut Vec<(u64, u64)>, found: &mut Found) -> Result<()> {
    let at = |error: io::Error| Error::io(folder.display(), error);
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let path = entry.path();
        let raw = entry.file_name();
        let Some(own) = raw.to_str() else {
            found.odd.push((path, "its name is no UTF-8"));
            continue;
        };
        if is_hidden(own) {
            continue;
        }
        // Links are followed.
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(_) if entry.file_type().is_ok_and(|own| own.is_symlink()) => {
                found.odd.push((path, "the link leads nowhere"));
                continue;
            }
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(path.display(), error)),
        };
        let name = format!("{prefix}{own}");
        if meta.is_dir() {
            let place = (meta.dev(), meta.ino());
            if depth == 0 {
                continue;
            }
            if above.contains(&place) {
                found.odd.push((path, "the link leads to a folder above it"));
                continue;
            }
            above.push(place);
            match into(&path, &format!("{name}/"), depth - 1, above, found) {
                // It was removed meanwhile.
                Err(_) if !path.exists() => {}
                other => other?,
            }
            above.pop();
        } else if !meta.is_file() {
            found.odd.push((path, "it is no regular file"));
        } else if !can_be_named(&name) {
            found.odd.push((path, "its name has signs that no name of an object may have"));
        } else {
            found.files.push(FileEntry { name, size: meta.len(), mtime: millis(&meta) });
        }
    }
    Ok(())
}

/// Whether the store finds the file by this name: it keeps names with `#` and a number for what it has staged.
fn can_be_named(name: &str) -> bool {
    let staged =
        name.rsplit_once('#').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()));
    !staged && object_store::path::Path::parse(name).is_ok()
}

fn millis(meta: &Metadata) -> i64 {
    let Ok(time) = meta.modified() else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros().div_ceil(1000)).unwrap_or(i64::MAX),
    }
}
