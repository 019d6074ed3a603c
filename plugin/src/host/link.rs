//! The way to a class, direct or through another process.

use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use levada_connector_api::{Batch, Error, Result, TaskContext};
use serde::de::DeserializeOwned;

use super::Crossing;
use crate::wire;

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

    /// Where an operation is done, for messages: plugin, class and operation.
    fn place(&self, op: u32) -> String;

    /// Runs an operation. Its future may be dropped only when the instance is dropped next.
    fn call<'a>(&'a mut self, op: u32, args: Vec<u8>, batches: Vec<Crossing>) -> BoxFuture<'a, Result<Answer>>;
}

impl dyn Instance {
    /// Runs an operation whose answer is a message.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, number: u32, args: Vec<u8>) -> Result<T> {
        let answer = self.call(number, args, Vec::new()).await?;
        self.read(number, &answer.payload)
    }

    /// Runs an operation that answers nothing.
    pub(super) async fn tell(&mut self, number: u32, args: Vec<u8>) -> Result<()> {
        self.call(number, args, Vec::new()).await.map(drop)
    }

    /// Reads an operation's answer.
    pub(super) fn read<T: DeserializeOwned>(&self, number: u32, payload: &[u8]) -> Result<T> {
        wire::decode(payload, "its answer").map_err(|e| e.context(self.place(number)))
    }

    /// The rows of an operation's answer.
    pub(super) fn rows(&self, number: u32, batches: Vec<Crossing>) -> Result<Vec<Batch>> {
        let rows: Result<_> = batches.into_iter().map(Crossing::into_batch).collect();
        rows.map_err(|e| e.context(self.place(number)))
    }

    /// The schema of an operation's answer.
    pub(super) fn schema(&self, number: u32, batches: Vec<Crossing>) -> Result<SchemaRef> {
        let schema = batches.into_iter().next().map(|batch| batch.schema);
        schema.ok_or_else(|| Error::internal("it told no schema").context(self.place(number)))
    }
}
