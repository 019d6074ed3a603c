//! A local store whose writes survive a power cut.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// What staged files end with. They begin with a dot, too: no reader takes them for data.
const STAGED: &str = ".staged";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Reads, lists and deletes as [`LocalFileSystem`]; writes aside, flushes the file, renames it, and flushes the folder.
#[derive(Debug, Clone)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
}

impl DurableLocal {
    /// The local file system from its root.
    pub fn new() -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()) }
    }

    fn file(&self, location: &Path) -> Result<PathBuf> {
        self.inner.path_to_filesystem(location)
    }
}

impl Default for DurableLocal {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DurableLocal")
    }
}

/// Deletes what a killed process left staged in `folder` for files whose names begin with `prefix`.
///
/// # Errors
/// The folder cannot be read or a file not be deleted. A folder that does not exist is empty.
pub fn remove_staged(folder: &FsPath, prefix: &str) -> levada_connector_api::Result<usize> {
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
        if name.starts_with(&format!(".{prefix}")) && name.ends_with(STAGED) {
            fs::remove_file(&path).map_err(|e| Error::io(path.display(), e))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn failed(path: &FsPath, error: std::io::Error) -> object_store::Error {
    let place = path.display().to_string();
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path: place, source: error.into() },
        std::io::ErrorKind::NotFound => object_store::Error::NotFound { path: place, source: error.into() },
        std::io::ErrorKind::PermissionDenied => {
            object_store::Error::PermissionDenied { path: place, source: error.into() }
        }
        _ => object_store::Error::Generic {
            store: "local",
            source: levada_connector_api::Error::io(place, error).into(),
        },
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// A file that is being written aside. Dropped before it is published, it is deleted.
struct Staged {
    target: PathBuf,
    path: PathBuf,
    file: Option<File>,
}

impl Staged {
    fn create(target: PathBuf) -> Result<Self> {
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
        Ok(Self { target, path, file: Some(file) })
    }

    fn write(&mut self, payload: &PutPayload) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for bytes in payload {
            file.write_all(bytes).map_err(|e| failed(&self.path, e))?;
        }
        Ok(())
    }

    /// Makes the file visible under its name, durably; fails if the name is taken and `create` is set.
    fn publish(mut self, create: bool) -> Result<PutResult> {
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
        sync_folder(&self.target)?;
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

fn create_folders(folder: &FsPath) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(folder);
    while let Some(path) = at.filter(|path| !path.exists()) {
        missing.push(path.to_owned());
        at = path.parent();
    }
    fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    missing.iter().try_for_each(|path| sync_folder(path))
}

/// Flushes the folder that `path` lies in: only then is the file's name durable.
fn sync_folder(path: &FsPath) -> Result<()> {
    let folder = path.parent().unwrap_or(FsPath::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))
}

/// A file in parts, made visible by `complete`.
struct Upload(Arc<std::sync::Mutex<Option<Staged>>>);

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

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(object_store::Error::NotImplemented {
                    operation: "conditional update".to_owned(),
                    implementer: "DurableLocal".to_owned(),
                });
            }
        };
        let file = self.file(location)?;
        blocking(move || {
            let mut staged = Staged::create(file)?;
            staged.write(&payload)?;
            staged.publish(create)
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let file = self.file(location)?;
        let staged = blocking(move || Staged::create(file)).await?;
        Ok(Box::new(Upload(Arc::new(std::sync::Mutex::new(Some(staged))))))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).try_filter(|meta| futures::future::ready(!is_staged(&meta.location))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listing = self.inner.list_with_delimiter(prefix).await?;
        listing.objects.retain(|meta| !is_staged(&meta.location));
        Ok(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        let file = self.file(to)?;
        blocking(move || {
            File::open(&file).and_then(|file| file.sync_all()).map_err(|e| failed(&file, e))?;
            sync_folder(&file)
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        let (from, to) = (self.file(from)?, self.file(to)?);
        blocking(move || {
            sync_folder(&to)?;
            sync_folder(&from)
        })
        .await
    }
}

fn is_staged(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with('.') && name.ends_with(STAGED))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, DurableLocal, Path) {
        let folder = tempfile::tempdir().unwrap();
        let base = Path::from_absolute_path(folder.path()).unwrap();
        (folder, DurableLocal::new(), base)
    }

    #[tokio::test]
    async fn what_is_put_can_be_read_and_a_name_can_be_taken_once() {
        let (_folder, store, base) = place();
        let path = base.clone().join("a").join("b.txt");
        store.put(&path, "one".into()).await.unwrap();
        store.put(&path, "two".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "two");
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let error = store.put_opts(&path, "three".into(), create).await.unwrap_err();
        assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
        let listed: Vec<_> = store.list(Some(&base)).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
    }

    #[tokio::test]
    async fn parts_are_seen_only_when_they_are_complete_and_leftovers_can_be_removed() {
        let (folder, store, base) = place();
        let path = base.clone().join("part-1.json");
        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("a".into()).await.unwrap();
        upload.put_part("b".into()).await.unwrap();
        let listed: Vec<_> = store.list(Some(&base)).try_collect().await.unwrap();
        assert!(listed.is_empty());
        upload.complete().await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "ab");

        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("c".into()).await.unwrap();
        // As a killed process leaves it: nothing runs when it is forgotten.
        std::mem::forget(upload);
        assert_eq!(remove_staged(folder.path(), "part-2").unwrap(), 0);
        assert_eq!(remove_staged(folder.path(), "part-1").unwrap(), 1);
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "ab");

        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("c".into()).await.unwrap();
        drop(upload);
        assert_eq!(remove_staged(folder.path(), "part-1").unwrap(), 0);
    }
}
