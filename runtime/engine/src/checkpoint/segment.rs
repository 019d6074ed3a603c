//! A segment of a checkpoint in a local folder: a file with room behind its records, and the mark of what is durable.

use std::fs::{self, File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// How much room is made at once.
pub(super) const ROOM: u64 = 1 << 20;
/// A log that has grown by so much in small records gets room.
const SMALL: u64 = 64 << 10;

/// The segment that is written on.
pub(super) struct Segment {
    number: u64,
    file: File,
    pub(super) path: PathBuf,
    /// Where the records end, and the next one goes.
    length: u64,
    /// Up to where the file has room: zeros behind the records. See [`make_room`](Self::make_room).
    room: u64,
    /// How much was appended where there was no room.
    grown: u64,
    /// Whether the disk had none: it is not asked again, since others need what it has left.
    full: bool,
    /// How many bytes are known to be durable; kept in a small file beside the segments, so that a segment which was cut
    /// behind our back is told from one whose last record was torn by a crash.
    mark: File,
}

impl Segment {
    /// Makes a segment with this content, whole or not at all, and durable. `with_room`: the log will go on in small records.
    pub(super) fn create(number: u64, path: &Path, content: &[Bytes], with_room: bool) -> Result<Self> {
        let staged = path.with_extension("staged");
        let make = || {
            let file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
            let mut segment = Self::at(number, file, path, 0)?;
            segment.append(content)?;
            if with_room {
                segment.make_room()?;
            }
            segment.file.sync_all()?;
            fs::rename(&staged, path)?;
            File::open(folder(path))?.sync_all()?;
            segment.acknowledge()?;
            Ok(segment)
        };
        make().inspect_err(|_| {
            let _ = fs::remove_file(&staged);
        })
    }

    /// Opens a segment whose records end at `length`. What is behind them is cut off: it may be room, or torn.
    pub(super) fn resume(number: u64, path: &Path, length: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()?;
        let segment = Self::at(number, file, path, length)?;
        segment.acknowledge()?;
        Ok(segment)
    }

    fn at(number: u64, file: File, path: &Path, length: u64) -> Result<Self> {
        let mark = OpenOptions::new().write(true).create(true).truncate(false).open(mark_path(folder(path)))?;
        Ok(Self { number, file, path: path.to_owned(), length, room: 0, grown: 0, full: false, mark })
    }

    /// Whether there is room behind the records, as there is when they are small.
    pub(super) fn has_room(&self) -> bool {
        self.room > 0
    }

    /// Writes behind the last record. After an error it is not known where the records end.
    pub(super) fn append(&mut self, bytes: &[Bytes]) -> Result<()> {
        let size: u64 = bytes.iter().map(|part| part.len() as u64).sum();
        if self.length + size > self.room {
            // Large records are flushed with their size in any case.
            self.grown = if size < SMALL { self.grown + size } else { 0 };
            if !self.full && (self.grown >= SMALL || (size < SMALL && self.room > self.length)) {
                self.make_room()?;
            }
        }
        for part in bytes {
            self.file.write_all_at(part, self.length)?;
            self.length += part.len() as u64;
        }
        Ok(())
    }

    /// Makes the file longer than it need be. A flush of what lies within the file's size is one of these very bytes; one
    /// that has to make a new size durable waits for the file system's journal, and with it for whatever others have
    /// written: on ext4 every few seconds, for up to a second.
    fn make_room(&mut self) -> Result<()> {
        self.grown = 0;
        let zeros = vec![0; ROOM as usize];
        if self.file.write_all_at(&zeros, self.length).is_err() {
            // The disk may have room for the record itself.
            (self.room, self.full) = (0, true);
            return self.file.set_len(self.length);
        }
        // What fails here may be records that were to be flushed later: nobody would hear of it again.
        self.file.sync_all()?;
        self.room = self.length + ROOM;
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data()?;
        self.acknowledge()
    }

    /// The same segment as it is now, for another thread. When that one's mark comes last it is an older one.
    pub(super) fn share(&self) -> Result<Self> {
        let (file, mark) = (self.file.try_clone()?, self.mark.try_clone()?);
        Ok(Self { file, mark, path: self.path.clone(), ..*self })
    }

    fn acknowledge(&self) -> Result<()> {
        let mut mark = [0u8; 24];
        let parts = [self.number.to_le_bytes(), self.length.to_le_bytes()];
        for (to, from) in mark.iter_mut().zip(parts.iter().flatten()) {
            *to = *from;
        }
        let crc = u64::from(crc32fast::hash(mark.get(..16).unwrap_or_default())).to_le_bytes();
        for (to, from) in mark.iter_mut().skip(16).zip(crc) {
            *to = from;
        }
        // Not flushed: after a power cut an older mark only checks less.
        self.mark.write_all_at(&mark, 0)
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn mark_path(folder: &Path) -> PathBuf {
    folder.join("durable")
}

/// The segment that was written on last in `folder`, and how many bytes of it are known to be durable.
pub(super) fn read_mark(folder: &Path) -> Option<(u64, u64)> {
    let bytes = fs::read(mark_path(folder)).ok()?;
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let crc = u64::from(crc32fast::hash(bytes.get(..16)?));
    (word(16)? == crc).then_some(())?;
    Some((word(0)?, word(8)?))
}
