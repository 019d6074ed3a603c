//! Errors across the boundary: a code and a message, and in the payload what only Rust plugins tell.

use levada_connector_api::{Error, ErrorKind, Retry};
use serde::{Deserialize, Serialize};

use crate::abi::op;

const KINDS: [ErrorKind; 11] = [
    ErrorKind::Config,
    ErrorKind::Data,
    ErrorKind::Io,
    ErrorKind::Unavailable,
    ErrorKind::NotFound,
    ErrorKind::Fenced,
    ErrorKind::Corrupt,
    ErrorKind::Unsupported,
    ErrorKind::Cancelled,
    ErrorKind::Panic,
    ErrorKind::Internal,
];

/// The payload of an outcome that is an error. C plugins may leave it out.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorWire {
    pub(crate) kind: String,
    pub(crate) retry: String,
    pub(crate) hint: Option<String>,
    pub(crate) context: Vec<String>,
}

impl ErrorWire {
    pub(crate) fn of(error: &Error) -> Self {
        let retry = match error.retry() {
            Retry::Permanent => "permanent",
            Retry::Retriable => "retriable",
            Retry::Indeterminate => "indeterminate",
        };
        Self {
            kind: error.kind().as_str().to_owned(),
            retry: retry.to_owned(),
            hint: error.remedy().map(str::to_owned),
            context: error.places().to_vec(),
        }
    }
}

/// The code that says most of an error.
pub(crate) fn code_of(error: &Error) -> i32 {
    match (error.kind(), error.retry()) {
        (ErrorKind::Fenced, _) => op::FENCED,
        (ErrorKind::Panic, _) => op::PANIC,
        (ErrorKind::Cancelled, _) => op::CANCELLED,
        (ErrorKind::Unsupported, _) => op::UNSUPPORTED,
        (ErrorKind::Config, _) => op::CONFIG,
        (_, Retry::Indeterminate) => op::INDETERMINATE,
        (_, Retry::Retriable) => op::RETRIABLE,
        (ErrorKind::Data, _) => op::DATA,
        _ => op::FATAL,
    }
}

/// The error that an outcome tells.
pub(crate) fn error_of(code: i32, message: &str, payload: &[u8]) -> Error {
    from_wire(code, message, serde_json::from_slice(payload).unwrap_or_default())
}

/// The error of a code, and of what is known beyond it.
pub(crate) fn from_wire(code: i32, message: &str, wire: ErrorWire) -> Error {
    let (kind, retry) = match code {
        op::RETRIABLE => (ErrorKind::Unavailable, Retry::Retriable),
        op::CONFIG => (ErrorKind::Config, Retry::Permanent),
        op::DATA => (ErrorKind::Data, Retry::Permanent),
        op::CANCELLED => (ErrorKind::Cancelled, Retry::Permanent),
        op::UNSUPPORTED => (ErrorKind::Unsupported, Retry::Permanent),
        op::PANIC => (ErrorKind::Panic, Retry::Retriable),
        op::INDETERMINATE => (ErrorKind::Unavailable, Retry::Indeterminate),
        op::FENCED => (ErrorKind::Fenced, Retry::Permanent),
        _ => (ErrorKind::Internal, Retry::Permanent),
    };
    let kind = KINDS.into_iter().find(|known| known.as_str() == wire.kind).unwrap_or(kind);
    let retry = match wire.retry.as_str() {
        "permanent" => Retry::Permanent,
        "retriable" => Retry::Retriable,
        "indeterminate" => Retry::Indeterminate,
        _ => retry,
    };
    let message = if message.is_empty() { format!("it failed with code {code}") } else { message.to_owned() };
    let mut error = Error::new(kind, message).with_retry(retry);
    for place in wire.context {
        error = error.context(place);
    }
    if let Some(hint) = wire.hint {
        error = error.hint(hint);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_as_it_was() {
        let error =
            Error::data("'x' is no int").context("a.csv").context("p").hint("fix it").with_retry(Retry::Retriable);
        let payload = serde_json::to_vec(&ErrorWire::of(&error)).unwrap();
        let back = error_of(code_of(&error), error.message(), &payload);
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
    }

    #[test]
    fn a_code_alone_is_enough() {
        let error = error_of(op::INDETERMINATE, "", b"");
        assert_eq!((error.retry(), error.message()), (Retry::Indeterminate, "it failed with code 8"));
        assert_eq!(error_of(77, "odd", b"not json").kind(), ErrorKind::Internal);
    }
}
