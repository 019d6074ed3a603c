//! Work that may block, away from the threads that must not.

use levada_connector_api::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;

/// Runs `work` on a thread that may block. It runs to its end even if nobody waits for it any more.
///
/// # Errors
/// That of `work`; or `Panic`, with its message.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Background::start(work).wait().await
}

/// Work that has begun elsewhere, and whose result is wanted later.
#[derive(Debug)]
pub struct Background<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> Background<T> {
    /// Starts `work` on a thread that may block. It runs to its end even if nobody waits for it. Call it within a tokio
    /// runtime.
    pub fn start(work: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self(tokio::task::spawn_blocking(work))
    }

    /// Starts `work` on one of the runtime's own threads, of which there are as many as cores: it computes for a few
    /// milliseconds at a time, and never waits for the disk or the network. With more threads that compute than cores they
    /// wait behind each other.
    pub fn compute(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// The work's result.
    ///
    /// # Errors
    /// That of the work; or `Panic`, with its message.
    pub async fn wait(self) -> Result<T> {
        match self.0.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                Err(Error::panicked("work in the background", error.into_panic().as_ref()))
            }
            Err(error) => Err(Error::new(ErrorKind::Cancelled, format!("the runtime has ended: {error}"))),
        }
    }
}
