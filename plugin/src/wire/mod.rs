//! What crosses the boundary as JSON. Fields that one side does not know are ignored; fields that are missing have defaults.

mod bytes;
mod definition;
mod error;
mod messages;

pub(crate) use definition::Described;
pub(crate) use error::{ErrorWire, code_of, error_of, from_wire};
pub(crate) use messages::*;

use levada_connector_api::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal(format!("a message to a plugin cannot be written: {e}")))
}

/// Reads JSON. No bytes are `null`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let bytes = if bytes.is_empty() { b"null" } else { bytes };
    serde_json::from_slice(bytes).map_err(|e| Error::internal(format!("{what} is not what the interface says: {e}")))
}
