//! A checkpoint in an object store: a folder a segment, an object a record, none ever overwritten. No store is built in yet
//! that would use it: see `levada_storage::resolve`.
//!
//! Two runs of one task both want to write the record with the next number: one of them wins, and the other is fenced.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use levada_connector_api::{Error, ErrorKind, Result, Retry};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use super::store::SegmentStore;

pub(crate) struct RemoteStore {
    store: Arc<dyn ObjectStore>,
    base: Path,
    /// The open segment and the number of its next record.
    open: Option<(u64, u64)>,
    /// How many records each segment had when it was read.
    records: std::collections::BTreeMap<u64, u64>,
}

impl RemoteStore {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, base: Path) -> Self {
        Self { store, base, open: None, records: std::collections::BTreeMap::new() }
    }

    fn folder(&self, segment: u64) -> Path {
        self.base.clone().join(format!("{segment:010}"))
    }

    fn object(&self, segment: u64, record: u64) -> Path {
        self.folder(segment).join(format!("{record:010}"))
    }

    async fn put_new(&self, path: &Path, content: Vec<Bytes>) -> Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, content.into_iter().collect(), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Err(Error::new(ErrorKind::Fenced, format!("checkpoint record {path} was written by another run"))
                    .hint("only one run may use a checkpoint"))
            }
            Err(error) => Err(failed(path, error).with_retry(Retry::Indeterminate)),
        }
    }
}

fn failed(path: &Path, error: object_store::Error) -> Error {
    levada_storage::to_error(path, error).context("checkpoint")
}

#[async_trait]
impl SegmentStore for RemoteStore {
    async fn segments(&mut self) -> Result<Vec<u64>> {
        let listing = self.store.list_with_delimiter(Some(&self.base)).await.map_err(|e| failed(&self.base, e))?;
        let mut segments: Vec<u64> =
            listing.common_prefixes.iter().filter_map(|p| p.filename()?.parse().ok()).collect();
        segments.sort_unstable();
        Ok(segments)
    }

    async fn read(&mut self, segment: u64) -> Result<(Bytes, usize)> {
        let folder = self.folder(segment);
        let mut objects: Vec<_> = self.store.list(Some(&folder)).try_collect().await.map_err(|e| failed(&folder, e))?;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        let mut content = Vec::new();
        for (number, object) in objects.iter().enumerate() {
            if object.location != self.object(segment, number as u64) {
                return Err(Error::corrupt(format!("checkpoint {folder}: record {number} is missing"))
                    .hint("restore it from a backup, or start anew with another checkpoint.location and name"));
            }
            let bytes = match self.store.get(&object.location).await {
                Ok(object) => object.bytes().await,
                Err(error) => Err(error),
            };
            content.extend_from_slice(&bytes.map_err(|e| failed(&object.location, e))?);
        }
        self.records.insert(segment, objects.len() as u64);
        // Every object is whole, so every byte was durable.
        let durable = content.len();
        Ok((content.into(), durable))
    }

    async fn create(&mut self, segment: u64, content: Vec<Bytes>) -> Result<()> {
        self.put_new(&self.object(segment, 0), content).await?;
        self.open = Some((segment, 1));
        Ok(())
    }

    async fn resume(&mut self, segment: u64, _whole: usize) -> Result<()> {
        let next = self.records.get(&segment).copied().unwrap_or(0);
        self.open = Some((segment, next));
        Ok(())
    }

    async fn append(&mut self, bytes: Vec<Bytes>, _sync: bool) -> Result<()> {
        let Some((segment, next)) = self.open else {
            return Err(Error::internal("no checkpoint segment is open"));
        };
        self.put_new(&self.object(segment, next), bytes).await?;
        self.open = Some((segment, next + 1));
        Ok(())
    }

    fn sync(&mut self) -> Result<BoxFuture<'static, Result<()>>> {
        Ok(futures::future::ready(Ok(())).boxed())
    }

    async fn remove(&mut self, segment: u64) -> Result<()> {
        let folder = self.folder(segment);
        let objects: Vec<_> = self.store.list(Some(&folder)).try_collect().await.map_err(|e| failed(&folder, e))?;
        for object in objects {
            self.store.delete(&object.location).await.map_err(|e| failed(&object.location, e))?;
        }
        Ok(())
    }

    fn name(&self, segment: u64) -> String {
        self.folder(segment).to_string()
    }
}
