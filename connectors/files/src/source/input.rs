//! The bytes of a file, decompressed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use levada_connector_api::{Error, Result, Retry};
use levada_storage::to_error;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Handle;

use super::listing::{FileEntry, Listing};

/// What is asked of an object store at once.
const REMOTE_BYTES: u64 = 8 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What `option` says of the file `name`.
    pub(crate) fn of(option: &str, name: &str) -> Self {
        let end = name.rsplit('.').next().map(str::to_ascii_lowercase);
        match (option, end.as_deref()) {
            ("gzip", _) | ("auto", Some("gz")) => Self::Gzip,
            ("zstd", _) | ("auto", Some("zst")) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// An open file.
pub(crate) struct Input {
    /// What the file is now.
    pub(crate) entry: FileEntry,
    pub(crate) compression: Compression,
    label: Arc<str>,
    bytes: Box<dyn Read + Send>,
}

impl Input {
    /// Opens the file `name`. Blocks.
    pub(crate) fn open(listing: &Listing, name: &str, option: &str, handle: &Handle) -> Result<Self> {
        let label: Arc<str> = listing.label(name).into();
        let compression = Compression::of(option, name);
        let (raw, entry): (Box<dyn Read + Send>, _) = match listing.local(name) {
            Some(path) => {
                let failed = |e| Error::io(&label, e);
                let file = File::open(&path).map_err(failed)?;
                let entry = FileEntry::new(name.to_owned(), &file.metadata().map_err(failed)?);
                (Box::new(file), entry)
            }
            None => {
                let path = listing.remote(name);
                let store = listing.base.store.clone();
                let meta = handle.block_on(store.head(&path)).map_err(|e| to_error(&label, e))?;
                let mtime = meta.last_modified.timestamp_millis();
                let entry = FileEntry { name: name.to_owned(), size: meta.size, mtime };
                let remote = Remote { store, path, handle: handle.clone(), at: 0, size: meta.size };
                (Box::new(BufReader::with_capacity(0, remote)), entry)
            }
        };
        let bytes: Box<dyn Read + Send> = match compression {
            Compression::None => raw,
            Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 17, raw))),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(raw).map_err(|e| Error::io(&label, e))?),
        };
        Ok(Self { entry, compression, label, bytes })
    }

    /// Appends up to `wanted` bytes to `buffer`; fewer only at the end.
    pub(crate) fn read(&mut self, wanted: usize, buffer: &mut Vec<u8>) -> Result<usize> {
        self.bytes.by_ref().take(wanted as u64).read_to_end(buffer).map_err(|e| self.broken(e))
    }

    /// Passes over bytes; answers how many there were.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<u64> {
        io::copy(&mut self.bytes.by_ref().take(bytes), &mut io::sink()).map_err(|e| self.broken(e))
    }

    fn broken(&self, error: io::Error) -> Error {
        // The operating system's errors have numbers; those of the decompressors do not.
        if self.compression == Compression::None || error.raw_os_error().is_some() {
            return Error::io(&self.label, error);
        }
        match error.downcast::<Error>() {
            Ok(remote) => remote,
            Err(error) => Error::data(format!("{}: the compressed data is damaged: {error}", self.label))
                .hint("replace the file, or remove it")
                .with_retry(Retry::Permanent),
        }
    }
}

/// An object of a store as a stream, asked for in ranges.
struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    handle: Handle,
    at: u64,
    size: u64,
}

impl Read for Remote {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.size.min(self.at.saturating_add((out.len() as u64).min(REMOTE_BYTES)));
        if end <= self.at {
            return Ok(0);
        }
        let range: Range<u64> = self.at..end;
        let bytes = self
            .handle
            .block_on(self.store.get_range(&self.path, range))
            .map_err(|e| io::Error::other(to_error(&self.path, e)))?;
        let count = bytes.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count as u64;
        Ok(count)
    }
}
