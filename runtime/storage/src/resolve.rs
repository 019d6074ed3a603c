//! From what a user writes to a store.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use levada_connector_api::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::DurableLocal;

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

/// The store and place that `location` names: a path, or a URL.
///
/// # Errors
/// The text is no path or URL, or of a scheme that this build does not have.
pub fn resolve(location: &str) -> Result<Location> {
    let local = match location.split_once("://") {
        None => match location.strip_prefix("file:") {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(location),
        },
        Some(("file", _)) => url::Url::parse(location)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or_else(|| Error::config(format!("'{location}' is no file URL")).hint("write it as file:///folder"))?,
        Some((scheme, _)) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("'{location}': this build has no store for '{scheme}:'"),
            )
            .hint("use a local path"));
        }
    };
    let absolute = normalize(&std::path::absolute(&local).map_err(|e| Error::io(local.display(), e))?);
    let path = Path::from_absolute_path(&absolute)
        .map_err(|e| Error::config(format!("'{location}' cannot be used as a path: {e}")))?;
    Ok(Location { store: Arc::new(DurableLocal::new()), path, url: location.to_owned(), local: Some(absolute) })
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
        let error = resolve("s3://bucket/x").unwrap_err();
        assert!(error.to_string().contains("'s3:'"), "{error}");
    }
}
