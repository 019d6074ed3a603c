//! The way to a class, direct or through another process.

use futures::future::BoxFuture;
use levada_connector_api::{Result, TaskContext};

use super::Crossing;

/// What an operation answers.
#[derive(Debug, Default)]
pub struct Answer {
    /// JSON, or nothing.
    pub payload: Vec<u8>,
    /// Rows.
    pub batches: Vec<Crossing>,
}

/// A way to a class.
pub trait Link: Send + Sync {
    /// Asks something about the class.
    ///
    /// # Errors
    /// What the class answers, or that it cannot be reached.
    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>>;

    /// Makes an instance.
    ///
    /// # Errors
    /// As for `query`.
    fn create(&self, args: &[u8]) -> Result<Box<dyn Instance>>;
}

/// An instance of a class. Dropping it ends it.
pub trait Instance: Send {
    /// Says which task it works for, before it is opened.
    fn set_context(&mut self, context: &TaskContext);

    /// Runs an operation. Its future may be dropped only when the instance is dropped next.
    fn call<'a>(&'a mut self, op: u32, args: Vec<u8>, batches: Vec<Crossing>) -> BoxFuture<'a, Result<Answer>>;
}
