//! What each operation does.

use std::collections::BTreeMap;
use std::time::Duration;

use levada_connector_api::{
    BatchInfo, BindContext, Commit, Emitted, Error, Offsets, PollLimit, Result, Sink, Source, StateImage, StateKind,
    StateSection, Transform,
};

use super::Object;
use super::instance_ffi::Working;
use super::services_ffi::{self, Task};
use crate::abi::op;
use crate::columns_ffi::Crossing;
use crate::wire::{
    self, BatchArgs, BeginArgs, BindArgs, BoundWire, CheckpointArgs, EmittedWire, OpenArgs, PollArgs, PolledWire,
    ProcessArgs, SectionWire, StateKindWire, StateWire,
};

/// What an operation was given.
pub(super) struct Given {
    pub(super) op: u32,
    pub(super) args: Vec<u8>,
    pub(super) batches: Vec<Crossing>,
}

impl Given {
    fn args<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        wire::decode(&self.args, &format!("the arguments of {}", op::name(self.op)))
    }

    fn one(&mut self) -> Result<Crossing> {
        match (self.batches.pop(), self.batches.is_empty()) {
            (Some(batch), true) => Ok(batch),
            _ => Err(Error::internal(format!("{} takes one batch", op::name(self.op)))),
        }
    }

    fn unknown<T>(&self) -> Result<T> {
        Err(Error::unsupported(format!("operation {} is not known to this plugin", self.op)))
    }
}

type Answer = Result<(Vec<u8>, Vec<Crossing>)>;

pub(super) async fn operate(working: &mut Working, given: Given) -> Answer {
    let task = working.task;
    match &mut working.object {
        Object::Source(object) => source(object.as_mut(), task, given).await,
        Object::Transform(object) => transform(object.as_mut(), task, given).await,
        Object::Sink(object) => sink(object.as_mut(), task, given).await,
    }
}

fn nothing() -> Answer {
    Ok((Vec::new(), Vec::new()))
}

async fn source(source: &mut dyn Source, task: Task, given: Given) -> Answer {
    match given.op {
        op::SOURCE_SCHEMA => Ok((Vec::new(), vec![Crossing::schema(source.schema().await?)])),
        op::SOURCE_OPEN => {
            let args: OpenArgs = given.args()?;
            source.open(&services_ffi::context(args.context, task), &args.from).await?;
            nothing()
        }
        op::SOURCE_POLL => {
            let args: PollArgs = given.args()?;
            let limit = PollLimit {
                batch_id: args.batch_id,
                rows: args.rows,
                bytes: args.bytes,
                wait: Duration::from_millis(args.wait_ms),
                until: args.until.map(std::sync::Arc::new),
            };
            let polled = source.poll(&limit).await?;
            let answer = PolledWire {
                ranges: polled.ranges,
                rejected: polled.rejected.into_iter().map(Into::into).collect(),
                bytes: polled.bytes,
                status: polled.status.into(),
            };
            Ok((wire::encode(&answer)?, polled.batches.into_iter().map(Crossing::batch).collect()))
        }
        op::SOURCE_LATEST => Ok((wire::encode(&source.latest().await?)?, Vec::new())),
        op::SOURCE_COMMIT => {
            source.commit(&given.args::<Offsets>()?).await?;
            nothing()
        }
        op::SOURCE_CLOSE => {
            source.close().await?;
            nothing()
        }
        _ => given.unknown(),
    }
}

fn emitted(emitted: Emitted, mut answer: EmittedWire) -> Answer {
    answer.rejected = emitted.rejected.into_iter().map(Into::into).collect();
    let payload = if answer.is_empty() { Vec::new() } else { wire::encode(&answer)? };
    Ok((payload, emitted.batches.into_iter().map(Crossing::batch).collect()))
}

async fn transform(transform: &mut dyn Transform, task: Task, mut given: Given) -> Answer {
    match given.op {
        op::TRANSFORM_BIND => {
            let args: BindArgs = given.args()?;
            let mut context = BindContext::new(args.alias, args.output_mode);
            context.aggregated = args.aggregated;
            let inputs: Vec<_> = given.batches.into_iter().map(|batch| batch.schema).collect();
            let bound = match inputs.as_slice() {
                [input] => transform.bind(input, &context)?,
                inputs => transform.bind_all(inputs, &context)?,
            };
            let columns = bound.schema.fields().iter();
            let origins: BTreeMap<_, _> =
                columns.filter_map(|f| Some((f.name().clone(), transform.origin(f.name())?))).collect();
            let answer = BoundWire {
                stateful: bound.stateful,
                aggregates: bound.aggregates,
                watermark: bound.watermark,
                origins,
            };
            Ok((wire::encode(&answer)?, vec![Crossing::schema(bound.schema)]))
        }
        op::TRANSFORM_OPEN => {
            let args: OpenArgs = given.args()?;
            transform.open(&services_ffi::context(args.context, task)).await?;
            nothing()
        }
        op::TRANSFORM_BEGIN => {
            let args: BeginArgs = given.args()?;
            transform.begin(&BatchInfo { batch_id: args.batch_id, watermark: args.watermark, late: args.late })?;
            nothing()
        }
        op::TRANSFORM_PROCESS => {
            let input = if given.args.is_empty() { None } else { given.args::<ProcessArgs>()?.input };
            let batch = given.one()?.into_batch()?;
            let out = match input {
                Some(input) => transform.process_input(input, batch).await?,
                None => transform.process(batch).await?,
            };
            emitted(out, EmittedWire::default())
        }
        op::TRANSFORM_FINISH => {
            let args: BatchArgs = given.args()?;
            let out = transform.finish(args.batch_id).await?;
            let answer = EmittedWire {
                rejected: Vec::new(),
                event_time: transform.event_time().map(Into::into),
                stats: transform.stats().map(Into::into),
                metrics: transform.metrics(),
            };
            emitted(out, answer)
        }
        op::TRANSFORM_CHECKPOINT => {
            let kind = match given.args::<CheckpointArgs>()?.kind {
                StateKindWire::Delta => StateKind::Delta,
                StateKindWire::Snapshot => StateKind::Snapshot,
            };
            let Some(image) = transform.checkpoint(kind).await? else { return nothing() };
            let (answer, batches) = state_to_wire(image);
            Ok((wire::encode(&answer)?, batches))
        }
        op::TRANSFORM_RESTORE => {
            let state: StateWire = given.args()?;
            transform.restore(state_from_wire(state, given.batches)?).await?;
            nothing()
        }
        _ => given.unknown(),
    }
}

pub(crate) fn state_to_wire(image: StateImage) -> (StateWire, Vec<Crossing>) {
    let kind = match image.kind {
        StateKind::Delta => StateKindWire::Delta,
        StateKind::Snapshot => StateKindWire::Snapshot,
    };
    let section = |section: &StateSection| SectionWire { partition: section.partition, batches: section.batches.len() };
    let sections = image.sections.iter().map(section).collect();
    let batches = image.sections.into_iter().flat_map(|section| section.batches).map(Crossing::rows).collect();
    (StateWire { kind, fingerprint: image.fingerprint, sections }, batches)
}

pub(crate) fn state_from_wire(state: StateWire, batches: Vec<Crossing>) -> Result<StateImage> {
    let wrong = || Error::internal("the state's sections do not fit its batches");
    let mut batches = batches.into_iter();
    let mut sections = Vec::with_capacity(state.sections.len().min(1024));
    for section in state.sections {
        let mut own = Vec::new();
        for _ in 0..section.batches {
            own.push(batches.next().and_then(|batch| batch.rows).ok_or_else(wrong)?);
        }
        sections.push(StateSection { partition: section.partition, batches: own });
    }
    if batches.next().is_some() {
        return Err(wrong());
    }
    let kind = match state.kind {
        StateKindWire::Delta => StateKind::Delta,
        StateKindWire::Snapshot => StateKind::Snapshot,
    };
    Ok(StateImage { kind, fingerprint: state.fingerprint, sections })
}

async fn sink(sink: &mut dyn Sink, task: Task, mut given: Given) -> Answer {
    match given.op {
        op::SINK_OPEN => {
            let args: OpenArgs = given.args()?;
            let schema = given.one()?.schema;
            let mode = args.mode.ok_or_else(|| Error::internal("open of a sink needs the output mode"))?;
            let commit = sink.open(&services_ffi::context(args.context, task), schema, mode).await?;
            Ok((wire::encode(&commit)?, Vec::new()))
        }
        op::SINK_WRITE => {
            let args: BatchArgs = given.args()?;
            sink.write(args.batch_id, given.one()?.into_batch()?).await?;
            nothing()
        }
        op::SINK_PREPARE => {
            let rejected = sink.prepare(given.args::<BatchArgs>()?.batch_id).await?;
            emitted(Emitted { batches: Vec::new(), rejected }, EmittedWire::default())
        }
        op::SINK_COMMIT => {
            sink.commit(&given.args::<Commit>()?).await?;
            nothing()
        }
        op::SINK_ABORT => {
            sink.abort(given.args::<BatchArgs>()?.batch_id).await?;
            nothing()
        }
        op::SINK_CLOSE => {
            sink.close().await?;
            nothing()
        }
        _ => given.unknown(),
    }
}
