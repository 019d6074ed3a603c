//! What the server and the connection say, as errors with a kind, a verdict and a remedy.

use levada_connector_api::{Error, ErrorKind, Retry};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// What a statement was for, for the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    /// Anything that is undone when it fails.
    Work,
    /// The commit: when its answer is lost it may have happened.
    Commit,
}

/// The error at `place`: `table car_info`.
pub(crate) fn from(place: &str, error: tokio_postgres::Error, during: During) -> Error {
    let new = match error.as_db_error() {
        Some(db) => from_server(db, during),
        None if during == During::Work && is_refused_here(&error) => refused_here(&error),
        None => {
            // The outer message is only a heading: "error communicating with the server".
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = match error.is_closed() {
                true => "the connection to the server was lost".to_owned(),
                false if error.to_string().ends_with(&cause) => error.to_string(),
                false => format!("{error}{cause}"),
            };
            let retry = if during == During::Commit { Retry::Indeterminate } else { Retry::Retriable };
            Error::new(ErrorKind::Unavailable, message).with_retry(retry)
        }
    };
    new.context(place).source(error)
}

/// Whether it failed before a server had its say, by what this side was told or was not.
fn is_refused_here(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    // Neither has a code or a kind of its own.
    text.contains("invalid configuration") || cause_of(error).contains("server does not support TLS")
}

fn refused_here(error: &tokio_postgres::Error) -> Error {
    let (text, cause) = (error.to_string(), cause_of(error));
    let new = Error::config(if cause.is_empty() || text.ends_with(&cause) { text } else { cause.clone() });
    if cause.contains("TLS") {
        new.hint("switch ssl on at the server, or set sslmode=disable or prefer in connection.url")
    } else if cause.contains("password missing") {
        new.hint("set connection.password")
    } else {
        new.hint("correct connection.url, connection.user and connection.password")
    }
}

fn cause_of(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

fn from_server(db: &DbError, during: During) -> Error {
    let code = db.code();
    let class = code.code().get(..2).unwrap_or_default();
    let mut message = db.message().to_owned();
    if let Some(detail) = db.detail() {
        message = format!("{message}: {detail}");
    }
    let error = |kind| Error::new(kind, format!("{message} (SQLSTATE {})", code.code()));
    let fatal = matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) || matches!(class, "08" | "57");
    match class {
        _ if during == During::Commit && fatal => error(ErrorKind::Unavailable).with_retry(Retry::Indeterminate),
        "28" => error(ErrorKind::Config).hint("check connection.user and connection.password, and the server's pg_hba.conf"),
        "3D" => error(ErrorKind::NotFound).hint("create the database, or correct connection.url"),
        "42" if *code == SqlState::INSUFFICIENT_PRIVILEGE => error(ErrorKind::Config).hint(
            "grant the user SELECT, INSERT, UPDATE and DELETE on the table and on the offsets table, and for auto.create \
             CREATE on their schema",
        ),
        "42" if *code == SqlState::UNDEFINED_TABLE => {
            error(ErrorKind::NotFound).hint("it was there when the task began; create it again, or set auto.create")
        }
        "42" if *code == SqlState::UNDEFINED_COLUMN || *code == SqlState::DATATYPE_MISMATCH => {
            error(ErrorKind::Config).hint("the table was changed while the task ran; restart the task")
        }
        "42" => error(ErrorKind::Config),
        "22" | "23" => {
            let new = error(ErrorKind::Data);
            match *code {
                _ if *code == SqlState::UNIQUE_VIOLATION => {
                    new.hint("set insert.mode to upsert with pk.fields, or remove the duplicate")
                }
                _ if *code == SqlState::INVALID_BINARY_REPRESENTATION => {
                    new.hint("the table was changed while the task ran; restart the task")
                }
                _ if *code == SqlState::NOT_NULL_VIOLATION => {
                    new.hint("drop the NOT NULL, or give the column a value with a Select")
                }
                _ => new,
            }
        }
        "53" if *code == SqlState::DISK_FULL => {
            error(ErrorKind::Unavailable).hint("free some space at the server; the task goes on by itself")
        }
        "53" => error(ErrorKind::Unavailable).hint("the server is short of resources; the task tries again"),
        "57" if *code == SqlState::QUERY_CANCELED => error(ErrorKind::Unavailable)
            .hint("raise the user's statement_timeout, or make the micro-batches smaller with batch.max.rows"),
        "08" | "57" => error(ErrorKind::Unavailable),
        // A deadlock, a serialization failure, a lock that was not to be had: it did not happen and may succeed later.
        "55" if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            error(ErrorKind::Config).hint("a view must be one that takes rows")
        }
        "40" | "55" => error(ErrorKind::Unavailable),
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION => error(ErrorKind::Unavailable)
            .hint("the server is read-only, a standby perhaps: name the primary, or add target_session_attrs=read-write"),
        // A view's WITH CHECK OPTION, and what triggers raise.
        "44" | "P0" => error(ErrorKind::Data),
        "0A" => error(ErrorKind::Unsupported),
        _ if fatal => error(ErrorKind::Unavailable),
        _ => error(ErrorKind::Io).with_retry(Retry::Permanent),
    }
}

/// `COPY t, line 7, column x` → 7 and `x`: where in what was sent the server has found a fault.
pub(crate) fn copy_line(error: &tokio_postgres::Error) -> Option<(u64, Option<String>)> {
    let place = error.as_db_error()?.where_()?;
    // What was being read when stands above it: `JSON data, line 1: {`.
    let after = place.lines().find_map(|line| line.strip_prefix("COPY "))?.split_once(", line ")?.1;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let (line, rest) = after.split_at(digits);
    let column = rest.strip_prefix(", column ").map(|rest| {
        let end = rest.find(": ").unwrap_or(rest.len());
        rest.get(..end).unwrap_or(rest).lines().next().unwrap_or_default().to_owned()
    });
    Some((line.parse().ok()?, column))
}

/// Whether the server has something against a row, and would have it again.
pub(crate) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| match code.code().get(..2) {
        // The table is not what it was: that is no row's fault.
        _ if *code == SqlState::INVALID_BINARY_REPRESENTATION => false,
        Some("22" | "23" | "44" | "P0") => true,
        _ => false,
    })
}

/// Whether another transaction may have got in the way: with a newer run's rows, or the same batch's.
pub(crate) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code().get(..2), Some("23" | "40")))
}
