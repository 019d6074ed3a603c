//! Errors of evaluation.

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use levada_connector_api::Error;

use crate::ast::around;

/// Why a row cannot be evaluated, in one line, without the wrappings of the libraries.
pub(crate) fn reason(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::Execution(message) => message.clone(),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ComputeError(message)
            | ArrowError::CastError(message)
            | ArrowError::InvalidArgumentError(message)
            | ArrowError::ParseError(message) => message.clone(),
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    }
}

/// An evaluation error of the expression `text`.
pub(crate) fn evaluation(text: &str, error: &DataFusionError) -> Error {
    Error::data(reason(error)).context(format!("expression \"{}\"", around(text, 0)))
}
