//! Whether a model was replaced.

use std::path::Path;
use std::time::SystemTime;

/// How the files of a model looked: cheap to ask for, other after a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look(Vec<(u64, SystemTime)>);

impl Look {
    /// The look of what is at `path`; none if it is not there, or only in part.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let mut all = Vec::new();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let metadata = std::fs::metadata(&path).ok()?;
            all.push((metadata.len(), metadata.modified().ok()?));
            if metadata.is_dir() {
                let mut entries: Vec<_> = std::fs::read_dir(&path)
                    .ok()?
                    .map(|entry| entry.map(|e| e.path()))
                    .collect::<Result<_, _>>()
                    .ok()?;
                entries.sort();
                open.extend(entries);
            }
        }
        Some(Self(all))
    }
}
