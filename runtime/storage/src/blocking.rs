//! Work that may block, away from the threads that must not.

use levada_connector_api::{Error, ErrorKind, Result};

/// Runs `work` on a thread that may block. It runs to its end even if nobody waits for it any more.
///
/// # Errors
/// That of `work`; or `Panic`, with its message.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::panicked("work in the background", error.into_panic().as_ref())),
        Err(error) => Err(Error::new(ErrorKind::Cancelled, format!("the runtime has ended: {error}"))),
    }
}
