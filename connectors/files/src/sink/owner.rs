//! Whose files a folder has.
//!
//! A file's name is its batch's number, and numbers mean something only together with a checkpoint: those of another one
//! would overwrite each other. So each task writes down its checkpoint, in a file that nothing overwrites, before its first
//! batch, and a second checkpoint is refused, or gets a number that is in its files' names.

use levada_connector_api::{Error, Result, TaskContext};
use levada_storage::Location;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use serde_json::{Value, json};

use super::failed;

/// Finds the number of this task's checkpoint among those that write to the folder, or takes the next one. The first is 0.
///
/// # Errors
/// The folder is another's and not to be `shared`; or it cannot be read or written.
pub(crate) async fn claim(location: &Location, context: &TaskContext, shared: bool) -> Result<u32> {
    if context.checkpoint.is_empty() {
        return Ok(0);
    }
    for number in 0..u32::MAX {
        let path = location.path.clone().join(name(context.task, number));
        let other = match read(location, &path).await? {
            Some(other) => other,
            None if number > 0 && !shared => return refuse(location, context).await,
            None => match write(location, &path, context).await? {
                true => return Ok(number),
                // Somebody was faster.
                false => read(location, &path).await?.unwrap_or_default(),
            },
        };
        if other.checkpoint == context.checkpoint {
            return Ok(number);
        }
    }
    Err(Error::config(format!("{}: too many pipelines have written to it", location.url)))
}

/// The name of the file that says who the owner with this number is. Readers leave out what begins so.
pub(crate) fn name(task: u32, number: u32) -> String {
    match number {
        0 => format!("_owner-{task:05}"),
        number => format!("_owner-{task:05}-{number}"),
    }
}

#[derive(Default)]
struct Owner {
    pipeline: String,
    checkpoint: String,
}

async fn read(location: &Location, path: &Path) -> Result<Option<Owner>> {
    let bytes = match location.store.get(path).await {
        Ok(found) => found.bytes().await.map_err(|e| failed(path, e))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let found: Option<Value> = serde_json::from_slice(&bytes).ok();
    let text = |key: &str| Some(found.as_ref()?.get(key)?.as_str()?.to_owned());
    match (text("pipeline"), text("checkpoint")) {
        (Some(pipeline), Some(checkpoint)) => Ok(Some(Owner { pipeline, checkpoint })),
        _ => Err(Error::corrupt(format!("/{path}: it does not say whose files the folder has"))
            .hint("delete it if no other pipeline writes to the folder")),
    }
}

/// Answers whether the name was free.
async fn write(location: &Location, path: &Path, context: &TaskContext) -> Result<bool> {
    let text = json!({ "pipeline": context.pipeline, "checkpoint": context.checkpoint }).to_string() + "\n";
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match location.store.put_opts(path, text.into(), options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

async fn refuse(location: &Location, context: &TaskContext) -> Result<u32> {
    let path = location.path.clone().join(name(context.task, 0));
    let owner = read(location, &path).await?.unwrap_or_default();
    Err(Error::config(format!(
        "{} has files of pipeline '{}' with the checkpoint {}, and this is pipeline '{}' with the checkpoint {}: files of \
         the same batches would overwrite each other",
        location.url, owner.pipeline, owner.checkpoint, context.pipeline, context.checkpoint
    ))
    .hint("write to another path; to start anew, empty the folder; to write beside those files, set sink.shared to true"))
}
