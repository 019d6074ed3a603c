//! Errors that say what failed, where, what to do about it, and whether trying again can help.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;

/// The result of every fallible call of this interface.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as the runtime and its users must tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong: nothing will change until a person changes it.
    Config,
    /// A record could not be decoded, transformed or written. The message names its place.
    Data,
    /// A file, disk or stream failed.
    Io,
    /// A service could not be reached or refused for now.
    Unavailable,
    /// What was expected is not there: a file, topic or table.
    NotFound,
    /// A newer run of the same task has taken over. This run must stop and must not be restarted.
    Fenced,
    /// A checkpoint is damaged or does not fit what it is read for.
    Corrupt,
    /// The plugin does not offer what was asked of it.
    Unsupported,
    /// The operation was cancelled by a stop.
    Cancelled,
    /// A plugin panicked.
    Panic,
    /// A bug: an invariant of the runtime or a plugin does not hold.
    Internal,
}

impl ErrorKind {
    /// The kind's name in logs and machine-readable answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Data => "data",
            Self::Io => "io",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not-found",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
            Self::Internal => "internal",
        }
    }
}

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It cannot: the task fails until somebody changes something.
    Permanent,
    /// It did not happen and may succeed later.
    Retriable,
    /// It may or may not have happened (a commit whose answer was lost): recover from what is durable, then go on.
    Indeterminate,
}

/// An error with its kind, its retry verdict, a message, and the places it came through.
///
/// Messages are lowercase and without a final period. [`Error::context`] adds the place from the inside out;
/// [`Error::hint`] the remedy.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: String,
    context: Vec<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. I/O and unavailability are retriable unless said otherwise, everything else is permanent.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::Panic => Retry::Retriable,
            _ => Retry::Permanent,
        };
        Self(Box::new(Inner { kind, retry, message: message.into(), context: Vec::new(), hint: None, source: None }))
    }

    /// A configuration error about no single key. For a key use [`config::ConfigError`](crate::config::ConfigError).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A record that cannot be handled. The message names the record's place.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// Something is damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A broken invariant.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Something the plugin does not offer.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// An I/O error at `place`, usually a path. What an operating system says in so many words has a remedy, and is
    /// permanent where nothing but a change of the path helps.
    pub fn io(place: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let new = match error.kind() {
            Io::NotFound => Self::new(ErrorKind::NotFound, format!("{place}: not found")),
            Io::PermissionDenied => Self::new(ErrorKind::Io, format!("{place}: permission denied"))
                .hint("grant the user that runs levada access to it"),
            Io::StorageFull | Io::QuotaExceeded => {
                Self::new(ErrorKind::Io, format!("{place}: no space left")).hint("free some space")
            }
            // What somebody must change: another attempt meets the same.
            Io::NotADirectory | Io::AlreadyExists => {
                Self::new(ErrorKind::Io, format!("{place}: a file is there, or on the way to it, and no folder"))
                    .with_retry(Retry::Permanent)
                    .hint("name another place, or move the file away")
            }
            Io::IsADirectory => Self::new(ErrorKind::Io, format!("{place}: a folder is there, and no file"))
                .with_retry(Retry::Permanent)
                .hint("name another place, or move the folder away"),
            Io::ReadOnlyFilesystem => Self::new(ErrorKind::Io, format!("{place}: the file system can only be read"))
                .with_retry(Retry::Permanent)
                .hint("name a place that can be written to, or mount it so"),
            Io::InvalidFilename => {
                Self::new(ErrorKind::Io, format!("{place}: the name is too long for the file system"))
                    .with_retry(Retry::Permanent)
                    .hint("name another place")
            }
            _ => Self::new(ErrorKind::Io, format!("{place}: {error}")),
        };
        new.source(error)
    }

    /// A panic of `who`, with the message that it carried.
    pub fn panicked(who: &str, payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
        Self::new(ErrorKind::Panic, format!("{who} panicked: {text}"))
    }

    /// Sets the retry verdict.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Adds the place that the error passed through, from the inside out: `context("sink 'Files'")`.
    pub fn context(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// Adds what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error below.
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The retry verdict.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The message alone, without places and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The places that it came through, from the inside out.
    pub fn places(&self) -> &[String] {
        &self.0.context
    }

    /// The remedy, if one is known.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {:?}] {self}", self.0.kind.as_str(), self.0.retry)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|e| e.as_ref() as _)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(ErrorKind::Internal, error.to_string()).source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_from_the_outside_in_and_the_hint_comes_last() {
        let error =
            Error::data("'x' is not an int").context("column 'age'").context("people.csv, line 3").hint("fix it");
        assert_eq!(error.to_string(), "people.csv, line 3: column 'age': 'x' is not an int (fix it)");
    }

    #[test]
    fn a_full_disk_can_be_tried_again_and_a_wrong_key_cannot() {
        let full = Error::io("/data", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(full.retry(), Retry::Retriable);
        assert_eq!(Error::config("no").retry(), Retry::Permanent);
        use std::io::ErrorKind as Io;
        for kind in
            [Io::NotADirectory, Io::AlreadyExists, Io::IsADirectory, Io::ReadOnlyFilesystem, Io::InvalidFilename]
        {
            let error = Error::io("/data", std::io::Error::from(kind));
            assert_eq!(error.retry(), Retry::Permanent, "{error}");
            assert!(error.remedy().is_some(), "{error}");
        }
    }
}
