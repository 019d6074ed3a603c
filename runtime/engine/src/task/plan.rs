//! Checking a chain before it runs.

use arrow::datatypes::SchemaRef;
use levada_connector_api::{BindContext, Error, OutputMode, Result, Source, Transform};

use crate::PipelineSpec;

/// What a pipeline reads and what it yields.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The source's columns.
    pub input: SchemaRef,
    /// What the sink is given.
    pub output: SchemaRef,
}

/// Checks that the pipeline's parts fit each other, without running it. The source may look at its data for a schema.
///
/// # Errors
/// A part cannot work on what the one before yields, or the chain cannot give the output mode.
pub async fn plan(spec: &PipelineSpec) -> Result<Plan> {
    let mut source = make_source(spec)?;
    let (_, plan) = bind(spec, source.as_mut()).await?;
    Ok(plan)
}

pub(crate) fn make_source(spec: &PipelineSpec) -> Result<Box<dyn Source>> {
    let name = spec.source.plugin.name();
    spec.source.plugin.create(&spec.source.config).map_err(|e| e.context(format!("source '{name}'")))
}

pub(crate) struct Step {
    pub(crate) alias: String,
    pub(crate) transform: Box<dyn Transform>,
    pub(crate) stateful: bool,
}

pub(crate) async fn bind(spec: &PipelineSpec, source: &mut dyn Source) -> Result<(Vec<Step>, Plan)> {
    let name = spec.source.plugin.name();
    let input = source.schema().await.map_err(|e| e.context(format!("source '{name}'")))?;
    let mut schema = input.clone();
    let mut steps = Vec::new();
    let mut aggregates = false;
    for stage in &spec.transforms {
        let place = |e: Error| e.context(format!("transform '{}'", stage.alias));
        let mut transform = stage.plugin.create(&stage.config).map_err(place)?;
        let context = BindContext { alias: stage.alias.clone(), output_mode: spec.output_mode };
        let bound = transform.bind(&schema, &context).map_err(place)?;
        schema = bound.schema;
        aggregates |= bound.aggregates;
        steps.push(Step { alias: stage.alias.clone(), transform, stateful: bound.stateful });
    }
    if spec.output_mode == OutputMode::Complete && !aggregates {
        return Err(Error::config(
            "output.mode = 'complete': there is no aggregation whose result could be kept complete",
        )
        .hint("use append or update, or add an aggregating transform such as WordCount"));
    }
    Ok((steps, Plan { input, output: schema }))
}
