//! Where a checkpoint log lies.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use levada_connector_api::Result;
use tokio_util::sync::CancellationToken;

use super::local::LocalStore;
use super::remote::RemoteStore;

/// The place of a checkpoint log: segments, numbered from 1, that only grow.
///
/// A store belongs to one run of one task. That there is never a second one is the store's business: a local folder is
/// locked; an object store refuses to overwrite, so that the run which comes second fails as
/// [`Fenced`](levada_connector_api::ErrorKind::Fenced).
#[async_trait]
pub trait SegmentStore: Send {
    /// The numbers of the segments, rising.
    async fn segments(&mut self) -> Result<Vec<u64>>;

    /// The content of a segment, and how many bytes of it are known to have been durable.
    async fn read(&mut self, segment: u64) -> Result<(Bytes, usize)>;

    /// Makes a new segment with this content, given in parts, whole or not at all, and durable; appends go to it from now on.
    async fn create(&mut self, segment: u64, content: Vec<Bytes>) -> Result<()>;

    /// Opens an existing segment to append to it after `whole` bytes; what follows them is cut off.
    async fn resume(&mut self, segment: u64, whole: usize) -> Result<()>;

    /// Appends a record's bytes, given in parts, to the open segment; durable on return if `sync`.
    async fn append(&mut self, bytes: Vec<Bytes>, sync: bool) -> Result<()>;

    /// Makes everything durable that was appended so far, while more may be appended.
    fn sync(&mut self) -> Result<BoxFuture<'static, Result<()>>>;

    /// Deletes a segment.
    async fn remove(&mut self, segment: u64) -> Result<()>;

    /// What is cancelled when nothing of this store is at work any more, also what nobody waits for: another one can then be
    /// opened. `None` where that needs no waiting.
    fn released(&self) -> Option<CancellationToken> {
        None
    }

    /// What to call a segment in messages.
    fn name(&self, segment: u64) -> String;
}

/// Opens the store at `location`: a folder, or a URL that [`levada_storage::resolve`] knows.
///
/// # Errors
/// The location cannot be used, or another process uses it.
pub async fn open_store(location: &str) -> Result<Box<dyn SegmentStore>> {
    let resolved = levada_storage::resolve(location)?;
    Ok(match resolved.local.clone() {
        Some(folder) => Box::new(LocalStore::open(&resolved, folder).await?),
        None => Box::new(RemoteStore::new(resolved.store, resolved.path)),
    })
}
