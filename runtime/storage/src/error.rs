//! Errors of stores as Levada's.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use levada_connector_api::{Error, ErrorKind};

/// A store's error at `place`, usually a path: an I/O error below it gives the kind, the message and the remedy.
pub fn to_error(place: impl Display, error: object_store::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<io::Error>() {
            // It cannot be cloned: what tells it apart is its number, or else its kind and text.
            let copy = match found.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(found.kind(), found.to_string()),
            };
            return Error::io(place, copy);
        }
        cause = current.source();
    }
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{place}: {error}")).source(error)
}

#[cfg(test)]
mod tests {
    use levada_connector_api::Retry;

    use super::*;

    #[test]
    fn the_error_below_gives_kind_and_remedy() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = to_error("/data/x", object_store::Error::Generic { store: "local", source: full.into() });
        assert_eq!(error.retry(), Retry::Retriable);
        assert!(error.to_string().starts_with("/data/x: no space left (free some space"), "{error}");
        let odd = object_store::Error::Generic { store: "s3", source: "slow down".into() };
        assert!(to_error("s3://b/x", odd).to_string().contains("slow down"));
    }
}
