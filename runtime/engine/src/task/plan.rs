//! Checking a chain before it runs.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::SchemaRef;
use levada_connector_api::{BindContext, Bound, Error, OutputMode, Result, Transform};

use super::inputs::Inputs;
use crate::PipelineSpec;

/// What a pipeline reads and what it yields.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The columns of each source.
    pub inputs: Vec<SchemaRef>,
    /// What the sink is given.
    pub output: SchemaRef,
    /// The first transform that keeps state.
    pub stateful: Option<String>,
}

/// Checks that the pipeline's parts fit each other, without running it. The source may look at its data for a schema.
///
/// # Errors
/// A part cannot work on what the one before yields, or the chain cannot give the output mode.
pub async fn plan(spec: &PipelineSpec) -> Result<Plan> {
    let mut inputs = Inputs::make(spec)?;
    Ok(bind(spec, &mut inputs).await?.plan)
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Port {
    /// The source of that number.
    Source(usize),
    /// The step of that number.
    Step(usize),
}

/// A transform in its place. Its inputs stand before it.
pub(crate) struct Step {
    pub(crate) alias: String,
    pub(crate) transform: Box<dyn Transform>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) stateful: bool,
    /// Its place as it was configured; what was split off a transform has that one's.
    order: usize,
}

/// A chain that was checked.
pub(crate) struct Chain {
    pub(crate) steps: Vec<Step>,
    /// Whose rows go to the sink.
    pub(crate) output: Port,
    /// Whether a moved watermark may close something.
    pub(crate) closes: bool,
    pub(crate) plan: Plan,
}

/// What a port yields.
#[derive(Clone)]
struct Yield {
    schema: SchemaRef,
    aggregated: bool,
}

pub(crate) async fn bind(spec: &PipelineSpec, inputs: &mut Inputs) -> Result<Chain> {
    let sources = inputs.schemas().await?;
    let mut steps = place(spec)?;
    push_filters_down(spec, &sources, &mut steps)?;
    let bounds = bind_steps(spec, &sources, &mut steps)?;
    let output = match steps.len() {
        0 => Port::Source(0),
        count => Port::Step(count - 1),
    };
    let last = yielded(output, &sources, &bounds);
    if spec.output_mode == OutputMode::Complete && !last.aggregated {
        return Err(Error::config(
            "output.mode = 'complete': there is no aggregation whose result could be kept complete",
        )
        .hint("use append or update, or add an aggregating transform such as WordCount"));
    }
    let sink = &spec.sink;
    let at_sink = |e: Error| e.context(format!("sink '{}'", sink.plugin.name()));
    sink.plugin.check(&sink.config, &last.schema).map_err(at_sink)?;
    for (step, bound) in steps.iter_mut().zip(&bounds) {
        step.stateful = bound.0.stateful;
    }
    // What is aggregated is kept for ever in complete mode; what else has a state may forget some of it.
    let forgets = |bound: &Bound| bound.stateful && (spec.output_mode != OutputMode::Complete || !bound.aggregates);
    let closes = bounds.iter().any(|bound| forgets(&bound.0));
    let stateful = steps.iter().find(|step| step.stateful).map(|step| step.alias.clone());
    Ok(Chain { steps, output, closes, plan: Plan { inputs: sources, output: last.schema, stateful } })
}

/// How many transforms from `at` on are of one plugin, each read by the next and by nobody else.
fn run_length(spec: &PipelineSpec, at: usize) -> usize {
    let Some(first) = spec.transforms.get(at) else { return 0 };
    let next_reads = |number: usize| {
        let (Some(one), Some(next)) = (spec.transforms.get(number), spec.transforms.get(number + 1)) else {
            return false;
        };
        let by_name = spec.transforms.iter().filter(|other| other.inputs.contains(&one.alias)).count();
        let follows = match next.inputs.as_slice() {
            [] => by_name == 0,
            [only] => *only == one.alias && by_name == 1,
            _ => false,
        };
        follows && next.plugin.name() == first.plugin.name()
    };
    1 + (at..).take_while(|number| next_reads(*number)).count()
}

/// Makes the transforms and joins each to its inputs.
fn place(spec: &PipelineSpec) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    // The step that does the work of each transform.
    let mut step_of: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(stage) = spec.transforms.get(at) {
        let port = |name: &String| {
            let step = spec.transforms.iter().zip(&step_of).find(|(other, _)| other.alias == *name);
            let step = step.map(|(_, step)| Port::Step(*step));
            step.or_else(|| spec.sources.iter().position(|source| source.alias == *name).map(Port::Source))
        };
        let mut inputs: Vec<Port> = stage.inputs.iter().filter_map(port).collect();
        if inputs.is_empty() {
            inputs.push(match steps.len() {
                0 if spec.sources.len() > 1 => {
                    return Err(Error::config(format!(
                        "transforms.{}.inputs: missing; there are several sources",
                        stage.alias
                    ))
                    .hint("name the one that it reads, or all of them for a Union"));
                }
                0 => Port::Source(0),
                count => Port::Step(count - 1),
            });
        }
        let transform = stage.plugin.create(&stage.config).map_err(|e| in_step(&stage.alias, e))?;
        let mut made = (transform, stage, 1);
        let run = spec.transforms.get(at..at + run_length(spec, at)).unwrap_or_default();
        for stage in run.iter().skip(1) {
            stage.plugin.create(&stage.config).map_err(|e| in_step(&stage.alias, e))?;
        }
        let parts: Vec<_> = run.iter().map(|stage| (stage.alias.as_str(), &stage.config)).collect();
        // The longest part of the run that can be one.
        for count in (2..=run.len()).rev() {
            if let (Some(parts), Some(last)) = (parts.get(..count), run.get(count - 1))
                && let Some(chained) = stage.plugin.chain(parts)
            {
                made = (chained, last, count);
                break;
            }
        }
        let (transform, stage, count) = made;
        step_of.extend(std::iter::repeat_n(steps.len(), count));
        let order = steps.len();
        steps.push(Step { alias: stage.alias.clone(), transform, inputs, stateful: false, order });
        at += count;
    }
    let count = steps.len();
    let read = |port: Port| steps.iter().any(|step| step.inputs.contains(&port));
    for (at, source) in spec.sources.iter().enumerate() {
        if !read(Port::Source(at)) && (count > 0 || spec.sources.len() > 1) {
            return Err(Error::config(format!("nothing reads the source '{}'", source.alias))
                .hint("name it in the 'inputs' of a Union, or remove it from 'sources'"));
        }
    }
    for (at, step) in steps.iter().enumerate() {
        if at + 1 < count && !read(Port::Step(at)) {
            return Err(Error::config(format!("nothing reads what the transform '{}' yields", step.alias))
                .hint("name it in the 'inputs' of a later one, or remove it"));
        }
    }
    Ok(steps)
}

/// Tells the transforms and the sources which columns are looked at by anybody.
pub(crate) fn spare(chain: &mut Chain, inputs: &mut Inputs) {
    // Of each port the columns that somebody wants; `None`: all.
    let mut wanted: HashMap<Port, Option<BTreeSet<String>>> = HashMap::from([(chain.output, None)]);
    for (at, step) in chain.steps.iter_mut().enumerate().rev() {
        let own = match wanted.get(&Port::Step(at)) {
            Some(Some(names)) => Some(names.iter().cloned().collect::<Vec<_>>()),
            _ => None,
        };
        step.transform.wanted(own.as_deref());
        let reads = step.transform.reads(own.as_deref());
        for port in &step.inputs {
            let known = wanted.entry(*port).or_insert_with(|| Some(BTreeSet::new()));
            match (known.as_mut(), &reads) {
                (Some(names), Some(reads)) => names.extend(reads.iter().cloned()),
                _ => *known = None,
            }
        }
    }
    for (port, names) in wanted {
        if let (Port::Source(at), Some(names)) = (port, names) {
            inputs.only(at, &names.into_iter().collect::<Vec<_>>());
        }
    }
}

/// Moves conditions to before the watermarks below them, as far as they go, as Spark's optimizer does.
fn push_filters_down(spec: &PipelineSpec, sources: &[SchemaRef], steps: &mut Vec<Step>) -> Result<()> {
    let mut at = 0;
    while at + 1 < steps.len() {
        at += 1;
        let bounds = bind_steps(spec, sources, steps)?;
        let Some(Step { inputs, order, .. }) = steps.get(at) else { continue };
        let (&[Port::Step(below)], order) = (inputs.as_slice(), *order) else { continue };
        let alone = steps.iter().flat_map(|step| &step.inputs).filter(|port| **port == Port::Step(below)).count() == 1;
        // A condition passes only what stood below it from the beginning: two of them would pass each other for ever.
        let lower = steps.get(below).is_some_and(|step| step.order < order);
        if !alone || !lower || !has_watermark(below, steps, &bounds) {
            continue;
        }
        let (before, after) = steps.split_at_mut(at);
        let (Some(passed), Some(filter)) = (before.get(below), after.first_mut()) else { continue };
        let alias = filter.alias.clone();
        let inputs = passed.inputs.clone();
        let moved = filter.transform.split_off(inputs.len(), &|column| passed.transform.origin(column));
        if moved.len() < inputs.len() {
            continue;
        }
        for (number, transform) in moved.into_iter().enumerate() {
            insert(
                steps,
                below + number,
                (below + number, number),
                Step { alias: alias.clone(), transform, inputs: Vec::new(), stateful: false, order },
            );
        }
        // What was moved goes on from there.
        at = below.saturating_sub(1);
    }
    Ok(())
}

/// Puts `step` at `at`, between input `number` of the step that stood at `place` and what that reads.
fn insert(steps: &mut Vec<Step>, at: usize, (place, number): (usize, usize), mut step: Step) {
    for other in steps.iter_mut() {
        for port in &mut other.inputs {
            if let Port::Step(to) = port
                && *to >= at
            {
                *to += 1;
            }
        }
    }
    if let Some(port) = steps.get_mut(place).and_then(|passed| passed.inputs.get_mut(number)) {
        step.inputs = vec![*port];
        *port = Port::Step(at);
    }
    steps.insert(at, step);
}

/// Whether a step, or one that its rows come through, puts a watermark on a column.
fn has_watermark(at: usize, steps: &[Step], bounds: &[(Bound, bool)]) -> bool {
    let own = bounds.get(at).is_some_and(|(bound, _)| bound.watermark.is_some());
    own || steps.get(at).is_some_and(|step| {
        step.inputs.iter().any(|port| matches!(port, Port::Step(below) if has_watermark(*below, steps, bounds)))
    })
}

fn bind_steps(spec: &PipelineSpec, sources: &[SchemaRef], steps: &mut [Step]) -> Result<Vec<(Bound, bool)>> {
    let mut bounds: Vec<(Bound, bool)> = Vec::new();
    for step in steps {
        let inputs: Vec<Yield> = step.inputs.iter().map(|port| yielded(*port, sources, &bounds)).collect();
        let aggregated = inputs.iter().any(|input| input.aggregated);
        let context = BindContext { alias: step.alias.clone(), output_mode: spec.output_mode, aggregated };
        let schemas: Vec<SchemaRef> = inputs.into_iter().map(|input| input.schema).collect();
        let bound = step.transform.bind_all(&schemas, &context).map_err(|e| in_step(&step.alias, e))?;
        let aggregated = aggregated || bound.aggregates;
        bounds.push((bound, aggregated));
    }
    Ok(bounds)
}

fn yielded(port: Port, sources: &[SchemaRef], bounds: &[(Bound, bool)]) -> Yield {
    let nothing = || Yield { schema: arrow::datatypes::Schema::empty().into(), aggregated: false };
    match port {
        Port::Source(at) => sources.get(at).map(|schema| Yield { schema: schema.clone(), aggregated: false }),
        Port::Step(at) => {
            bounds.get(at).map(|(bound, aggregated)| Yield { schema: bound.schema.clone(), aggregated: *aggregated })
        }
    }
    .unwrap_or_else(nothing)
}

fn in_step(alias: &str, error: Error) -> Error {
    error.context(format!("transform '{alias}'"))
}
