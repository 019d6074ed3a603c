//! Files that are written aside and published when they are complete.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures::FutureExt as _;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

/// What staged files end with. They begin with a dot, too: no reader takes them for data.
const STAGED: &str = ".staged";

static NEXT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn is_staged(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with('.') && name.ends_with(STAGED))
}

/// What a staged file is to be called in the end: `.NAME.PROCESS-NUMBER.staged`.
fn target_name(staged: &str) -> Option<&str> {
    staged.strip_prefix('.')?.strip_suffix(STAGED)?.rsplit_once('.').map(|(name, _)| name)
}

/// Deletes what a killed process left staged in `folder` for files whose names are `ours`.
///
/// # Errors
/// The folder cannot be read or a file not be deleted. A folder that does not exist is empty.
pub fn remove_staged(folder: &FsPath, ours: impl Fn(&str) -> bool) -> levada_connector_api::Result<usize> {
    use levada_connector_api::Error;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io(folder.display(), error)),
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder.display(), e))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if target_name(name).is_some_and(&ours) {
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                // A writer that was dropped a moment ago has cleaned up after itself.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(path.display(), error)),
            }
        }
    }
    Ok(removed)
}

/// The I/O error stays in the chain: [`to_error`](crate::to_error) finds it there.
pub(crate) fn failed(path: &FsPath, error: std::io::Error) -> object_store::Error {
    let place = path.display().to_string();
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path: place, source: error.into() },
        std::io::ErrorKind::NotFound => object_store::Error::NotFound { path: place, source: error.into() },
        std::io::ErrorKind::PermissionDenied => {
            object_store::Error::PermissionDenied { path: place, source: error.into() }
        }
        _ => object_store::Error::Generic { store: "local", source: error.into() },
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// A file that is being written aside. Dropped before it is published, it is deleted.
pub(crate) struct Staged {
    target: PathBuf,
    path: PathBuf,
    file: Option<File>,
    /// Bytes that nothing has begun to flush.
    unflushed: usize,
    flushing: Option<JoinHandle<std::io::Result<()>>>,
}

/// From so many bytes on, flushing begins while more is written, so that publishing a large file does not wait long.
const FLUSH_AHEAD: usize = 4 << 20;

impl Staged {
    pub(crate) fn create(target: PathBuf) -> Result<Self> {
        let name = target.file_name().and_then(|name| name.to_str()).unwrap_or("file");
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(format!(".{name}.{}-{unique}{STAGED}", std::process::id()));
        let file = match File::create_new(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(folder) = target.parent() {
                    create_folders(folder)?;
                }
                File::create_new(&path)
            }
            other => other,
        };
        let file = file.map_err(|e| failed(&path, e))?;
        Ok(Self { target, path, file: Some(file), unflushed: 0, flushing: None })
    }

    pub(crate) fn write(&mut self, payload: &PutPayload) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for bytes in payload {
            file.write_all(bytes).map_err(|e| failed(&self.path, e))?;
        }
        self.unflushed += payload.content_length();
        if self.unflushed >= FLUSH_AHEAD && self.flushing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.flushed().map_err(|e| failed(&self.path, e))?;
            self.unflushed = 0;
            let file = self.file.as_ref().map(File::try_clone).transpose().map_err(|e| failed(&self.path, e))?;
            // Without a thread the whole is flushed at the end.
            let flush = move || file.map_or(Ok(()), |file| file.sync_data());
            self.flushing = std::thread::Builder::new().name("flush".to_owned()).spawn(flush).ok();
        }
        Ok(())
    }

    /// Waits for the flushing that has begun. Its error must be kept: the system tells each failure once.
    fn flushed(&mut self) -> std::io::Result<()> {
        let Some(flushing) = self.flushing.take() else { return Ok(()) };
        flushing.join().unwrap_or_else(|_| Err(std::io::Error::other("flushing panicked")))
    }

    /// Makes the file visible under its name, durably; fails if the name is taken and `create` is set.
    pub(crate) fn publish(mut self, create: bool) -> Result<PutResult> {
        self.flushed().map_err(|e| failed(&self.path, e))?;
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(|e| failed(&self.path, e))?;
        }
        if create {
            fs::hard_link(&self.path, &self.target).map_err(|e| failed(&self.target, e))?;
            // The staged name goes when `self` is dropped.
        } else {
            fs::rename(&self.path, &self.target).map_err(|e| failed(&self.target, e))?;
            self.path = PathBuf::new();
        }
        sync_folder_of(&self.target)?;
        Ok(PutResult { e_tag: None, version: None })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // The next run's clean-up takes what cannot be deleted now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a folder and those above it, durably.
pub(crate) fn create_folders(folder: &FsPath) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(folder);
    while let Some(path) = at.filter(|path| !path.exists()) {
        missing.push(path.to_owned());
        at = path.parent();
    }
    fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    missing.iter().try_for_each(|path| sync_folder_of(path))
}

/// Flushes the folder that `path` lies in: only then is the file's name durable, or its absence.
pub(crate) fn sync_folder_of(path: &FsPath) -> Result<()> {
    sync_folder(path.parent().unwrap_or(FsPath::new("/")))
}

pub(crate) fn sync_folder(folder: &FsPath) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))
}

/// A file in parts, made visible by `complete`. Dropped before that, it is deleted.
pub(crate) struct Upload(Arc<std::sync::Mutex<Option<Staged>>>);

impl Upload {
    pub(crate) fn new(staged: Staged) -> Self {
        Self(Arc::new(std::sync::Mutex::new(Some(staged))))
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upload")
    }
}

fn ended() -> object_store::Error {
    object_store::Error::Generic { store: "local", source: "the upload has ended".into() }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let staged = self.0.clone();
        // Parts are written in the order of their calls: each holds the lock for its whole write, and callers wait for
        // one part before they send the next.
        blocking(move || {
            let mut staged = staged.lock().map_err(|_| ended())?;
            staged.as_mut().ok_or_else(ended)?.write(&data)
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.0.lock().map_err(|_| ended())?.take().ok_or_else(ended)?;
        blocking(move || staged.publish(false)).await
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.0.lock().map_err(|_| ended())?.take();
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }
}
