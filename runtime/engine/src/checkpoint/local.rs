//! A checkpoint in a local folder: one file a segment, written on and flushed, under a lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use levada_connector_api::{Error, ErrorKind, Result};
use levada_storage::{Location, blocking};
use tokio_util::sync::CancellationToken;

use super::store::SegmentStore;

/// Holds the folder's lock as long as it lives, or something that it has begun still runs.
pub(crate) struct LocalStore {
    folder: PathBuf,
    lock: Arc<Lock>,
    open: Option<Open>,
}

/// The folder's lock. Whatever writes on another thread has a share of it: who asked may be gone before the write is done,
/// and the next run must not begin before that.
struct Lock {
    file: Option<File>,
    released: CancellationToken,
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.file.take());
        self.released.cancel();
    }
}

struct Open {
    segment: u64,
    file: File,
    path: PathBuf,
    /// Where the records end, and the next one goes.
    length: u64,
    /// Up to where the file has room: zeros behind the records. See [`make_room`](Self::make_room).
    room: u64,
    /// How much was appended where there was no room.
    grown: u64,
    /// How many bytes are known to be durable; kept in a small file beside the segments, so that a segment which was cut
    /// behind our back is told from one whose last record was torn by a crash.
    mark: File,
}

impl LocalStore {
    /// Opens and locks `folder`; makes it if need be.
    pub(crate) async fn open(location: &Location, folder: PathBuf) -> Result<Self> {
        location.create_folder().await?;
        blocking(move || {
            let path = folder.join("lock");
            let mut lock = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|e| Error::io(path.display(), e))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = lock.read_to_string(&mut holder);
                    let who = holder.trim();
                    let by = if who.is_empty() { String::new() } else { format!(" (process {who})") };
                    return Err(Error::new(
                        ErrorKind::Fenced,
                        format!("checkpoint {} is in use by another run{by}", folder.display()),
                    )
                    .hint("stop that run first, or give this pipeline a checkpoint.location of its own"));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io(path.display(), e)),
            }
            // The process id is for the message above only.
            let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
            for staged in list(&folder)?.into_iter().filter(|name| name.ends_with(".staged")) {
                let staged = folder.join(staged);
                fs::remove_file(&staged).map_err(|e| Error::io(staged.display(), e))?;
            }
            let lock = Arc::new(Lock { file: Some(lock), released: CancellationToken::new() });
            Ok(Self { folder, lock, open: None })
        })
        .await
    }

    /// Runs `work` on a thread that may block, under the lock until it is done.
    async fn locked<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let lock = self.lock.clone();
        blocking(move || {
            let result = work();
            drop(lock);
            result
        })
        .await
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:010}.log"))
    }

    fn mark_path(folder: &Path) -> PathBuf {
        folder.join("durable")
    }

    /// Runs `work` on the open segment on a thread that may block.
    async fn with_open(&mut self, work: impl FnOnce(&mut Open) -> std::io::Result<()> + Send + 'static) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Err(Error::internal("no checkpoint segment is open"));
        };
        let (open, result) = self
            .locked(move || {
                let result = work(&mut open).map_err(|e| Error::io(open.path.display(), e));
                Ok((open, result))
            })
            .await?;
        // After a failed write the length is not known: the run ends, and the next one cuts off what is not whole.
        self.open = result.is_ok().then_some(open);
        result
    }
}

/// How much room is made at once.
const ROOM: u64 = 1 << 20;
/// A log that has grown by so much in small records gets room.
const SMALL: u64 = 64 << 10;

impl Open {
    /// Writes behind the last record.
    fn append(&mut self, bytes: &[Bytes]) -> std::io::Result<()> {
        let size: u64 = bytes.iter().map(|part| part.len() as u64).sum();
        if self.length + size > self.room {
            // Large records are flushed with their size in any case.
            self.grown = if size < SMALL { self.grown + size } else { 0 };
            if self.grown >= SMALL || (size < SMALL && self.room > self.length) {
                self.make_room();
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
    /// written: on ext4 every few seconds for up to a second.
    fn make_room(&mut self) {
        let zeros = vec![0; ROOM as usize];
        match self.file.write_all_at(&zeros, self.length).and_then(|()| self.file.sync_all()) {
            Ok(()) => self.room = self.length + ROOM,
            // The disk may still have room for the record itself.
            Err(_) => {
                let _ = self.file.set_len(self.length);
                self.room = 0;
            }
        }
        self.grown = 0;
    }

    /// The same segment as it is now, for another thread. When that one's mark comes last it is an older one.
    fn share(&self) -> std::io::Result<Self> {
        let (file, mark) = (self.file.try_clone()?, self.mark.try_clone()?);
        Ok(Self { file, mark, path: self.path.clone(), ..*self })
    }

    fn acknowledge(&mut self) -> std::io::Result<()> {
        let mut mark = [0u8; 24];
        let parts = [self.segment.to_le_bytes(), self.length.to_le_bytes()];
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

fn read_mark(folder: &Path) -> Option<(u64, u64)> {
    let bytes = fs::read(LocalStore::mark_path(folder)).ok()?;
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let crc = u64::from(crc32fast::hash(bytes.get(..16)?));
    (word(16)? == crc).then_some(())?;
    Some((word(0)?, word(8)?))
}

fn open_mark(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(LocalStore::mark_path(folder))
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder.display(), e))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder.display(), e))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

#[async_trait]
impl SegmentStore for LocalStore {
    async fn segments(&mut self) -> Result<Vec<u64>> {
        let folder = self.folder.clone();
        let (names, mark) = self.locked(move || Ok((list(&folder)?, read_mark(&folder)))).await?;
        let mut segments: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        segments.sort_unstable();
        // The mark is written after the segment is durable: one that it names and that is not there was taken away.
        let last = segments.last().copied().unwrap_or(0);
        if let Some((marked, _)) = mark.filter(|(marked, _)| *marked > last) {
            return Err(Error::corrupt(format!(
                "checkpoint {} has no segment {marked}, which was durable",
                self.folder.display()
            ))
            .hint(format!(
                "bring {} back; or start anew with another checkpoint.location",
                self.path(marked).display()
            )));
        }
        Ok(segments)
    }

    async fn read(&mut self, segment: u64) -> Result<(Bytes, usize)> {
        let (path, folder) = (self.path(segment), self.folder.clone());
        self.locked(move || {
            let content = fs::read(&path).map_err(|e| Error::io(path.display(), e))?;
            let durable = match read_mark(&folder) {
                Some((marked, length)) if marked == segment => usize::try_from(length).unwrap_or(usize::MAX),
                _ => 0,
            };
            Ok((content.into(), durable))
        })
        .await
    }

    async fn create(&mut self, segment: u64, content: Vec<Bytes>) -> Result<()> {
        let (path, folder) = (self.path(segment), self.folder.clone());
        // The log will go on as it went.
        let with_room = self.open.as_ref().is_some_and(|open| open.room > 0);
        let open = self
            .locked(move || {
                let staged = path.with_extension("staged");
                let write = || {
                    let file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
                    let mark = open_mark(&folder)?;
                    let mut open = Open { segment, file, path: path.clone(), length: 0, room: 0, grown: 0, mark };
                    open.append(&content)?;
                    if with_room {
                        open.make_room();
                    }
                    open.file.sync_all()?;
                    fs::rename(&staged, &path)?;
                    File::open(&folder)?.sync_all()?;
                    open.acknowledge()?;
                    Ok(open)
                };
                write().map_err(|e| {
                    let _ = fs::remove_file(&staged);
                    Error::io(path.display(), e)
                })
            })
            .await?;
        self.open = Some(open);
        Ok(())
    }

    async fn resume(&mut self, segment: u64, whole: usize) -> Result<()> {
        let (path, folder) = (self.path(segment), self.folder.clone());
        let open = self
            .locked(move || {
                let resume = || {
                    let file = OpenOptions::new().write(true).open(&path)?;
                    // What is behind the records may be room, or torn.
                    file.set_len(whole as u64)?;
                    file.sync_all()?;
                    let (length, mark) = (whole as u64, open_mark(&folder)?);
                    let mut open = Open { segment, file, path: path.clone(), length, room: 0, grown: 0, mark };
                    open.acknowledge()?;
                    Ok(open)
                };
                resume().map_err(|e| Error::io(path.display(), e))
            })
            .await?;
        self.open = Some(open);
        Ok(())
    }

    async fn append(&mut self, bytes: Vec<Bytes>, sync: bool) -> Result<()> {
        self.with_open(move |open| {
            open.append(&bytes)?;
            if sync {
                open.file.sync_data()?;
                open.acknowledge()?;
            }
            Ok(())
        })
        .await
    }

    fn sync(&mut self) -> Result<BoxFuture<'static, Result<()>>> {
        let Some(open) = &self.open else {
            return Err(Error::internal("no checkpoint segment is open"));
        };
        let mut open = open.share().map_err(|e| Error::io(open.path.display(), e))?;
        let lock = self.lock.clone();
        let work = blocking(move || {
            let synced = open.file.sync_data().and_then(|()| open.acknowledge());
            drop(lock);
            synced.map_err(|e| Error::io(open.path.display(), e))
        });
        Ok(work.boxed())
    }

    async fn remove(&mut self, segment: u64) -> Result<()> {
        let path = self.path(segment);
        self.locked(move || fs::remove_file(&path).map_err(|e| Error::io(path.display(), e))).await
    }

    fn released(&self) -> Option<CancellationToken> {
        Some(self.lock.released.clone())
    }

    fn name(&self, segment: u64) -> String {
        self.path(segment).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;

    /// Records are found where they end, not where the file does, and room is cut off before more is written.
    #[tokio::test]
    async fn a_log_with_room_reads_back_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let place = levada_storage::resolve(folder.path().to_str().unwrap()).unwrap();
        let header = Bytes::copy_from_slice(&super::super::frame::header());
        let record = |number: u32, size: usize| {
            let line = format!(r#"{{"type":"commit","x":{number}}}"#);
            // The last bytes of a record may be zeros, too.
            super::super::frame::encode(line.as_bytes(), vec![Bytes::from(vec![0; size])]).unwrap()
        };
        let length = |open: &LocalStore| fs::metadata(open.path(1)).unwrap().len();
        let mut written = 0;
        for run in 0..3 {
            let mut store = LocalStore::open(&place, folder.path().to_owned()).await.unwrap();
            match run {
                0 => store.create(1, vec![header.clone()]).await.unwrap(),
                _ => {
                    let (content, durable) = store.read(1).await.unwrap();
                    let frames = super::super::frame::decode("1", &content, durable).unwrap();
                    assert_eq!(frames.payloads.len(), written as usize);
                    assert!(content.len() as u64 > frames.whole as u64 + ROOM / 2, "there was room");
                    store.resume(1, frames.whole).await.unwrap();
                    assert_eq!(length(&store), frames.whole as u64);
                }
            }
            for _ in 0..300 {
                store.append(record(written, 500), written % 3 == 0).await.unwrap();
                written += 1;
            }
            let before = length(&store);
            store.append(record(written, 500), true).await.unwrap();
            assert_eq!(length(&store), before, "it lies in the room");
            store.append(record(written + 1, 3 << 20), true).await.unwrap();
            for number in 2..200 {
                store.append(record(written + number, 500), true).await.unwrap();
            }
            written += 200;
        }
    }

    /// Who asked for a write may be gone before it is done. The next run must not begin to write meanwhile.
    #[tokio::test]
    async fn what_nobody_waits_for_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let place = levada_storage::resolve(folder.path().to_str().unwrap()).unwrap();
        let open = || LocalStore::open(&place, folder.path().to_owned());
        let store = open().await.unwrap();
        let released = store.released().unwrap();
        let (begun, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        {
            let write = store.locked(move || {
                begun.send(()).unwrap();
                let _ = goes_on.recv();
                Ok(())
            });
            let mut write = Box::pin(write);
            assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            begins.recv().unwrap();
        }
        drop(store);
        assert_eq!(open().await.err().unwrap().kind(), ErrorKind::Fenced);
        go_on.send(()).unwrap();
        released.cancelled().await;
        open().await.unwrap();
    }
}
