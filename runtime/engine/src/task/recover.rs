//! Recovery: what the sink holds against what the checkpoint says, and the state of exactly that batch.

use levada_connector_api::{Commit, Error, Guarantee, Result, TaskContext};

use super::plan::Step;
use crate::PipelineSpec;
use crate::checkpoint::{Checkpoint, Recovered, StateEntry, decode_image};

/// Settles whether the pending batch is in the sink.
///
/// # Errors
/// Sink and checkpoint do not belong together: one of them was replaced, restored or deleted.
pub(crate) async fn reconcile(
    spec: &PipelineSpec,
    checkpoint: &mut Checkpoint,
    recovered: &mut Recovered,
    held: Option<Commit>,
) -> Result<()> {
    let capabilities = spec.sink.plugin.capabilities(&spec.sink.config);
    if capabilities.guarantee != Guarantee::Transactional {
        return Ok(());
    }
    let held = held.map(|commit| commit.batch_id);
    let pending = recovered.pending.as_ref().map(|prepared| prepared.batch_id);
    if held.is_some() && held == pending {
        if let Some(prepared) = &recovered.pending {
            checkpoint.commit(prepared.batch_id, &prepared.ranges).await?;
        }
        return recovered.settle();
    }
    if held == recovered.last {
        return Ok(());
    }
    let hint = match held {
        // Of what it keeps its progress in, its own messages say more.
        None => {
            "where the sink keeps its progress (Kafka: the progress topic, databases: the table of offsets) it was deleted or has \
             expired, or the target is another one: bring it back, or use a new checkpoint.location and a new name"
        }
        Some(_) => {
            "they do not belong together: bring back the one that was replaced, or use a new checkpoint.location and a new name"
        }
    };
    let show = |batch: Option<u64>| batch.map_or("no batch".to_owned(), |batch| format!("batch {batch}"));
    Err(Error::corrupt(format!(
        "the sink holds {} of pipeline '{}', but its checkpoint stands at {}",
        show(held),
        spec.name,
        show(recovered.last)
    ))
    .hint(hint))
}

/// Gives the transforms their state back.
///
/// # Errors
/// State does not fit its transform, or there is state of a transform that is no longer in the chain.
pub(crate) async fn restore(steps: &mut [Step], context: &TaskContext, state: &[StateEntry]) -> Result<()> {
    for step in steps.iter_mut() {
        step.transform.open(context).await.map_err(|e| e.context(format!("transform '{}'", step.alias)))?;
    }
    for entry in state {
        let Some(step) = steps.iter_mut().find(|step| step.stateful && step.alias == entry.transform) else {
            return Err(Error::corrupt(format!(
                "the checkpoint has state of a transform '{}' that the pipeline no longer has",
                entry.transform
            ))
            .hint("bring it back under that alias, or start anew with another checkpoint.location and name"));
        };
        let place = |e: Error| e.context(format!("transform '{}'", step.alias));
        let image = decode_image(entry).map_err(place)?;
        step.transform.restore(image).await.map_err(place)?;
    }
    Ok(())
}
