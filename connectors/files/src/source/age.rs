//! Files that are too old to be new.

use std::collections::HashSet;
use std::time::Duration;

use levada_connector_api::Offset;

use super::listing::FileEntry;

/// `max.file.age`: how much older than the newest file read a file may be that has not been read. As in Spark, the
/// machine's clock does not count, and before anything was read every file is new.
pub(crate) struct Age {
    most: Option<i64>,
    newest: Option<i64>,
    /// Files that were reported.
    told: HashSet<String>,
}

impl Age {
    pub(crate) fn new(most: Option<Duration>) -> Self {
        let most = most.map(|most| i64::try_from(most.as_millis()).unwrap_or(i64::MAX));
        Self { most, newest: None, told: HashSet::new() }
    }

    /// These files have been read from.
    pub(crate) fn seen<'a>(&mut self, offsets: impl IntoIterator<Item = &'a Offset>) {
        let times = offsets.into_iter().filter_map(|offset| offset.notes.get("mtime")?.as_i64());
        self.newest = times.chain(self.newest).max();
    }

    /// Whether a file that was not read may be read. One that may not is reported once.
    pub(crate) fn admits(&mut self, entry: &FileEntry, label: impl FnOnce() -> String) -> bool {
        let (Some(most), Some(newest)) = (self.most, self.newest) else { return true };
        let behind = newest.saturating_sub(entry.mtime);
        if behind <= most {
            return true;
        }
        if self.told.insert(entry.name.clone()) {
            tracing::warn!(
                file = label(),
                behind_ms = behind,
                max_file_age_ms = most,
                "a file is older than max.file.age allows: it is left out"
            );
        }
        false
    }
}
