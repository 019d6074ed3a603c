//! A checkpoint in a local folder: one file a segment, written on and flushed, under a lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use levada_connector_api::{Error, ErrorKind, Result};
use levada_storage::{Location, blocking};
use tokio_util::sync::CancellationToken;

use super::segment::{Segment, read_mark};
use super::store::SegmentStore;

/// Holds the folder's lock as long as it lives, or something that it has begun still runs.
pub(crate) struct LocalStore {
    folder: PathBuf,
    lock: Arc<Lock>,
    open: Option<Segment>,
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

    /// Runs `work` on the open segment on a thread that may block.
    async fn with_open(
        &mut self,
        work: impl FnOnce(&mut Segment) -> std::io::Result<()> + Send + 'static,
    ) -> Result<()> {
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
                "bring {} back; or start anew with another checkpoint.location and name",
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
        let path = self.path(segment);
        // The log will go on as it went.
        let with_room = self.open.as_ref().is_some_and(Segment::has_room);
        let open = self
            .locked(move || {
                Segment::create(segment, &path, &content, with_room).map_err(|e| Error::io(path.display(), e))
            })
            .await?;
        self.open = Some(open);
        Ok(())
    }

    async fn resume(&mut self, segment: u64, whole: usize) -> Result<()> {
        let path = self.path(segment);
        let open = self
            .locked(move || Segment::resume(segment, &path, whole as u64).map_err(|e| Error::io(path.display(), e)))
            .await?;
        self.open = Some(open);
        Ok(())
    }

    async fn append(&mut self, bytes: Vec<Bytes>, sync: bool) -> Result<()> {
        self.with_open(move |open| {
            open.append(&bytes)?;
            if sync { open.sync() } else { Ok(()) }
        })
        .await
    }

    fn sync(&mut self) -> Result<BoxFuture<'static, Result<()>>> {
        let Some(open) = &self.open else {
            return Err(Error::internal("no checkpoint segment is open"));
        };
        let open = open.share().map_err(|e| Error::io(open.path.display(), e))?;
        let lock = self.lock.clone();
        let work = blocking(move || {
            let synced = open.sync();
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
                    assert!(
                        content.len() as u64 > frames.whole as u64 + super::super::segment::ROOM / 2,
                        "there was room"
                    );
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
