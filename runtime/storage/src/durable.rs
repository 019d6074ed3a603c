//! A local store whose writes survive a power cut.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::staged::{Staged, Upload, blocking, failed, is_staged, sync_folder_of};

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

    pub(crate) fn file(&self, location: &Path) -> Result<PathBuf> {
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
        Ok(Box::new(Upload::new(staged)))
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
            sync_folder_of(&file)
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        let (from, to) = (self.file(from)?, self.file(to)?);
        blocking(move || {
            sync_folder_of(&to)?;
            sync_folder_of(&from)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;
    use crate::remove_staged;

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
        assert_eq!(remove_staged(folder.path(), |name| name == "part-2.json").unwrap(), 0);
        assert_eq!(remove_staged(folder.path(), |name| name == "part-1.json").unwrap(), 1);
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "ab");

        let mut upload = store.put_multipart(&path).await.unwrap();
        upload.put_part("c".into()).await.unwrap();
        drop(upload);
        assert_eq!(remove_staged(folder.path(), |name| name == "part-1.json").unwrap(), 0);
    }
}
