//! From what a user writes to a store.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use levada_connector_api::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::DurableLocal;
use crate::error::to_error;
use crate::staged::{blocking, create_folders, sync_folder};

/// Schemes that are meant as such even without `//`.
const REMOTE: [&str; 12] =
    ["s3", "s3a", "s3n", "hdfs", "viewfs", "webhdfs", "gs", "az", "abfs", "abfss", "http", "https"];

/// A place in a store.
#[derive(Clone, Debug)]
pub struct Location {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The place in it.
    pub path: Path,
    /// The place as the user wrote it: for messages.
    pub url: String,
    /// The place as a local path, if it is one.
    pub local: Option<PathBuf>,
}

impl Location {
    /// Creates the folder that this is, where the store has folders, so that it survives a power cut. That also shows
    /// whether it can be used.
    ///
    /// # Errors
    /// It cannot be created; the error names it.
    pub async fn create_folder(&self) -> Result<()> {
        let Some(folder) = self.local.clone() else { return Ok(()) };
        let place = folder.display().to_string();
        blocking(move || create_folders(&folder)).await.map_err(|e| to_error(place, e))
    }

    /// Makes the deletion of files in `folder` durable. A store without folders has nothing to do.
    ///
    /// # Errors
    /// The folder cannot be flushed; the error names it.
    pub async fn flush_folder(&self, folder: &Path) -> Result<()> {
        if self.local.is_none() {
            return Ok(());
        }
        let place = format!("/{folder}");
        let folder = DurableLocal::new().file(folder).map_err(|e| to_error(&place, e))?;
        blocking(move || sync_folder(&folder)).await.map_err(|e| to_error(&place, e))
    }

    /// What to call the file or folder at `path` of this store in messages.
    pub fn name(&self, path: &Path) -> String {
        match (&self.local, self.url.split_once("://")) {
            (None, Some((scheme, _))) => format!("{scheme}://…/{path}"),
            _ => format!("/{path}"),
        }
    }
}

/// The store and place that `location` names: a path, or a URL.
///
/// # Errors
/// The text is no path or URL, or of a scheme that this build does not have.
pub fn resolve(location: &str) -> Result<Location> {
    let local = match location.split_once("://") {
        None => match location.strip_prefix("file:") {
            Some(path) => PathBuf::from(path),
            None => match location.split_once(':') {
                Some((scheme, _)) if REMOTE.contains(&scheme) => return Err(not_built_in(location, scheme)),
                _ => PathBuf::from(location),
            },
        },
        Some(("file", _)) => url::Url::parse(location)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| Error::config(format!("'{location}' is no file URL")).hint("write it as file:///folder"))?,
        Some((scheme, _)) => return Err(not_built_in(location, scheme)),
    };
    let absolute = normalize(&std::path::absolute(&local).map_err(|e| Error::io(local.display(), e))?);
    let path = Path::from_absolute_path(&absolute)
        .map_err(|e| Error::config(format!("'{location}' cannot be used as a path: {e}")))?;
    Ok(Location { store: Arc::new(DurableLocal::new()), path, url: location.to_owned(), local: Some(absolute) })
}

fn not_built_in(location: &str, scheme: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("'{location}': stores of '{scheme}:' are not built in yet"))
        .hint("use a local path")
}

/// Resolves `.` and `..` by the text alone, as a shell's `cd -L` does: the path need not exist yet.
fn normalize(path: &FsPath) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_are_local_and_other_schemes_are_named() {
        for text in ["/tmp/a", "file:/tmp/a", "file:///tmp/a", "/tmp/b/../a", "/tmp/./a/"] {
            assert_eq!(resolve(text).unwrap().local.as_deref(), Some(FsPath::new("/tmp/a")), "{text}");
        }
        for (text, scheme) in [("s3://bucket/x", "'s3:'"), ("hdfs:/x", "'hdfs:'"), ("x://y", "'x:'")] {
            let error = resolve(text).unwrap_err();
            assert!(error.to_string().contains(scheme) && error.kind() == ErrorKind::Unsupported, "{error}");
        }
        assert_eq!(resolve("/tmp/a:b").unwrap().local.as_deref(), Some(FsPath::new("/tmp/a:b")));
    }
}
