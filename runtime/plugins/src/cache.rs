//! What scans have found, by the hash of a library's content; and the hashes, by what the file system says of the file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Scanned;

/// Changes when an old answer must not be used any more.
const VERSION: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Cache {
    version: u32,
    /// Hashes, by path.
    files: BTreeMap<PathBuf, Seen>,
    /// Answers, by hash.
    libraries: BTreeMap<String, Scanned>,
    #[serde(skip)]
    place: Option<PathBuf>,
    #[serde(skip)]
    changed: bool,
}

/// A file as it was when its content was hashed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    size: u64,
    /// Nanoseconds: of a file that is copied over another within a second.
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    hash: String,
}

impl Cache {
    /// Reads the cache. One that is damaged or of another version is empty: it is only a cache.
    pub(crate) fn open(place: Option<&Path>) -> Self {
        let text = place.and_then(|place| fs::read(place).ok());
        let read: Option<Self> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let cache = read.filter(|cache| cache.version == VERSION).unwrap_or_default();
        Self { version: VERSION, place: place.map(Path::to_owned), ..cache }
    }

    /// What a scan has found in the file as it is now, and the file's key.
    pub(crate) fn find(&mut self, path: &Path) -> std::io::Result<(String, Option<&Scanned>)> {
        let meta = fs::metadata(path)?;
        let seen = Seen {
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            hash: String::new(),
        };
        let known = self.files.get(path).filter(|known| Seen { hash: String::new(), ..(*known).clone() } == seen);
        let hash = match known {
            Some(known) => known.hash.clone(),
            None => {
                let hash = hash(path)?;
                self.files.insert(path.to_owned(), Seen { hash: hash.clone(), ..seen });
                self.changed = true;
                hash
            }
        };
        let found = self.libraries.get(&hash);
        Ok((hash, found))
    }

    pub(crate) fn keep(&mut self, hash: String, scanned: Scanned) {
        self.libraries.insert(hash, scanned);
        self.changed = true;
    }

    /// Writes the cache, if something has changed: another process sees the old one or the new one.
    pub(crate) fn save(mut self) -> std::io::Result<()> {
        let Some(place) = self.place.take().filter(|_| self.changed) else { return Ok(()) };
        self.files.retain(|path, _| path.exists());
        let used: std::collections::BTreeSet<_> = self.files.values().map(|seen| seen.hash.as_str()).collect();
        self.libraries.retain(|hash, _| used.contains(hash.as_str()));
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = place.with_extension(format!("{}.new", std::process::id()));
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(&self)?)?;
        drop(file);
        fs::rename(new, place)
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let (mut hash, mut file, mut buffer) = (Sha256::new(), fs::File::open(path)?, vec![0; 1 << 17]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
