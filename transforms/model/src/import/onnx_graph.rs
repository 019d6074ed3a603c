//! The operators around the trees of an ONNX model: those that change features, and those that pass answers on.

use std::collections::HashMap;

use levada_connector_api::{Error, Result};

use super::onnx_trees;
use super::protobuf::{GraphInput, Operator, Tensor};
use crate::head::Head;
use crate::model::{Format, Input, Invalid, Model};
use crate::prepare::{Op, Stage};

/// A feature on its way: the column that it comes from, and what was done to it.
type Feature = (usize, Vec<Op>);

/// What a name in the graph stands for.
#[derive(Clone)]
enum Known {
    /// Features. Of an input whose width is not told there may be more.
    Features { list: Vec<Feature>, open: bool },
    /// An answer of the trees.
    Answer,
}

pub(super) struct Graph {
    known: HashMap<String, Known>,
    constants: HashMap<String, Tensor>,
    inputs: Vec<Input>,
    double: bool,
    single: bool,
}

impl Graph {
    pub(super) fn new(inputs: Vec<GraphInput>, constants: Vec<Tensor>) -> Result<Self> {
        let mut graph = Self {
            known: HashMap::new(),
            constants: constants.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect(),
            inputs: Vec::new(),
            double: inputs.iter().any(|input| input.kind == 11),
            single: inputs.len() == 1,
        };
        let single = graph.single;
        for input in inputs {
            let width = input.width.unwrap_or(1);
            if width > 1 << 20 {
                return Err(Error::corrupt(format!("the input '{}' has {width} columns", input.name)));
            }
            let from = graph.inputs.len();
            for at in 0..width {
                let name = if width == 1 && !single { input.name.clone() } else { format!("f{at}") };
                graph.inputs.push(Input { name, text: input.kind == 8 });
            }
            let list = (from..from + width).map(|at| (at, Vec::new())).collect();
            let open = input.width.is_none() && single;
            graph.known.insert(input.name, Known::Features { list, open });
        }
        Ok(graph)
    }

    pub(super) fn model(mut self, operators: &[Operator], producer: &str) -> Result<Model> {
        let mut model = None;
        for operator in operators {
            let place = |error: Error| error.context(format!("operator {} '{}'", operator.kind, operator.name));
            let trees = operator.kind.starts_with("TreeEnsemble");
            match (&mut model, trees) {
                (Some(_), true) => return Err(place(Error::unsupported("a second tree operator in one model"))),
                (None, true) => {
                    model = Some(self.trees(operator, producer).map_err(place)?);
                    for output in &operator.outputs {
                        self.known.insert(output.clone(), Known::Answer);
                    }
                }
                (Some(model), false) if self.answers(operator) => {
                    pass(operator, model, &self.constants).map_err(place)?;
                    for output in &operator.outputs {
                        self.known.insert(output.clone(), Known::Answer);
                    }
                }
                _ => self.change(operator).map_err(place)?,
            }
        }
        model.ok_or_else(|| Error::unsupported("the graph has no tree operator"))
    }

    fn answers(&self, operator: &Operator) -> bool {
        operator.inputs.iter().any(|input| matches!(self.known.get(input), Some(Known::Answer)))
    }

    fn features(&self, name: &str) -> Result<(Vec<Feature>, bool)> {
        match self.known.get(name) {
            Some(Known::Features { list, open }) => Ok((list.clone(), *open)),
            _ => Err(Error::unsupported(format!("'{name}' is no features"))),
        }
    }

    /// Widens an input of unknown width to `width` columns.
    fn widen(&mut self, list: &mut Vec<Feature>, open: bool, width: usize) {
        while open && list.len() < width {
            let at = self.inputs.len();
            self.inputs.push(Input { name: format!("f{at}"), text: false });
            let ops = list.first().map(|(_, ops)| ops.clone()).unwrap_or_default();
            list.push((at, ops));
        }
    }

    fn trees(&mut self, operator: &Operator, producer: &str) -> Result<Model> {
        let name = operator.inputs.first().map_or("", String::as_str);
        let (mut list, open) = self.features(name)?;
        let known = (!open).then_some(list.len());
        let (forest, head, labels) = onnx_trees::read(operator, known, self.double)?;
        self.widen(&mut list, open, forest.features);
        let plain = list.len() == self.inputs.len()
            && list.iter().enumerate().all(|(at, (source, ops))| at == *source && ops.is_empty());
        let text = list.iter().any(|(source, ops)| ops.is_empty() && self.inputs.get(*source).is_some_and(|i| i.text));
        if text {
            return Err(Error::unsupported("a feature of the trees is text"));
        }
        Ok(Model {
            format: Format::Onnx,
            kind: format!("{}{}{producer}", operator.kind, if producer.is_empty() { "" } else { ", " }),
            inputs: std::mem::take(&mut self.inputs),
            named: !self.single,
            stages: if plain { Vec::new() } else { vec![Stage::Each(list)] },
            forest,
            head,
            text: labels.is_some(),
            labels,
            label_column: None,
            invalid: Invalid::Keep,
            version: 0,
        })
    }

    /// Follows an operator before the trees.
    fn change(&mut self, operator: &Operator) -> Result<()> {
        let first = operator.inputs.first().map_or("", String::as_str).to_owned();
        if let ("Constant", Some(output)) = (operator.kind.as_str(), operator.outputs.first()) {
            let tensor = operator.get("value").and_then(|value| value.tensor.clone()).unwrap_or_default();
            self.constants.insert(output.clone(), tensor);
            return Ok(());
        }
        if self.constants.contains_key(&first) && operator.kind != "ArrayFeatureExtractor" {
            // What is done to constants is for operators after the trees, which name them again if they matter.
            return Ok(());
        }
        let (mut list, mut open) = match operator.kind.as_str() {
            "Concat" | "FeatureVectorizer" => (Vec::new(), false),
            _ => self.features(&first)?,
        };
        let each = |numbers: &[f64], at: usize, none: f64| match numbers {
            [one] => *one as f32,
            all => all.get(at).copied().unwrap_or(none) as f32,
        };
        match operator.kind.as_str() {
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {}
            "Concat" | "FeatureVectorizer" => {
                for input in &operator.inputs {
                    let (more, wide) = self.features(input)?;
                    if wide {
                        return Err(Error::unsupported(format!("the width of '{input}' is not known")));
                    }
                    list.extend(more);
                }
            }
            "Cast" => match operator.int("to", 1) {
                1 => list.iter_mut().for_each(|(_, ops)| ops.push(Op::Narrow)),
                11 => {}
                6 | 7 => list.iter_mut().for_each(|(_, ops)| ops.push(Op::Cut)),
                other => return Err(Error::unsupported(format!("a cast to type {other}"))),
            },
            "Scaler" => {
                let (offset, scale) = (operator.floats("offset"), operator.floats("scale"));
                self.widen(&mut list, open, offset.len().max(scale.len()));
                open &= offset.len().max(scale.len()) <= 1;
                for (at, (_, ops)) in list.iter_mut().enumerate() {
                    ops.push(Op::Scale { offset: each(offset, at, 0.0), scale: each(scale, at, 1.0) });
                }
            }
            "Imputer" => {
                let values = operator.floats("imputed_value_floats");
                let replaced = operator.get("replaced_value_float").and_then(|a| a.float).unwrap_or(f64::NAN) as f32;
                self.widen(&mut list, open, values.len());
                open &= values.len() <= 1;
                for (at, (_, ops)) in list.iter_mut().enumerate() {
                    ops.push(Op::Impute { replaced, by: each(values, at, 0.0) });
                }
            }
            "Binarizer" => {
                let threshold = operator.get("threshold").and_then(|a| a.float).unwrap_or(0.0) as f32;
                list.iter_mut().for_each(|(_, ops)| ops.push(Op::Above(threshold)));
            }
            "ArrayFeatureExtractor" => {
                let places = operator.inputs.get(1).and_then(|name| self.constants.get(name));
                let places = places.ok_or_else(|| Error::unsupported("indices that are no constant"))?.numbers.clone();
                let most = places.iter().fold(0.0f64, |most, place| most.max(*place)) as usize;
                self.widen(&mut list, open, most.min(1 << 20) + 1);
                open = false;
                let picked = places.iter().map(|place| list.get(*place as usize).cloned()).collect::<Option<_>>();
                list = picked.ok_or_else(|| Error::corrupt("an index is out of range"))?;
            }
            "LabelEncoder" => {
                let op = encoder(operator)?;
                list.iter_mut().for_each(|(_, ops)| ops.push(op.clone()));
            }
            "OneHotEncoder" => {
                let (texts, numbers) = (operator.texts("cats_strings"), operator.ints("cats_int64s"));
                let mut wide = Vec::new();
                for (source, ops) in &list {
                    let text = texts.iter().map(|text| Op::IsText(text.clone()));
                    let number = numbers.iter().map(|number| Op::Is(*number as f64));
                    for op in text.chain(number) {
                        let mut ops = ops.clone();
                        ops.push(op);
                        wide.push((*source, ops));
                    }
                }
                (list, open) = (wide, false);
            }
            other => return Err(Error::unsupported(format!("the operator {other} before the trees"))),
        }
        for output in &operator.outputs {
            self.known.insert(output.clone(), Known::Features { list: list.clone(), open });
        }
        Ok(())
    }
}

fn encoder(operator: &Operator) -> Result<Op> {
    let values: Vec<f64> = match (operator.floats("values_floats"), operator.ints("values_int64s")) {
        ([], ints) => ints.iter().map(|int| *int as f64).collect(),
        (floats, _) => floats.to_vec(),
    };
    let default = operator.get("default_float").and_then(|a| a.float);
    let default = default.unwrap_or_else(|| operator.int("default_int64", -1) as f64);
    let texts = operator.texts("keys_strings");
    if !texts.is_empty() {
        let numbers = texts.iter().cloned().zip(values).collect();
        return Ok(Op::Encode { numbers, default });
    }
    let classes = operator.texts("classes_strings");
    if !classes.is_empty() {
        let numbers = classes.iter().cloned().enumerate().map(|(at, label)| (label, at as f64)).collect();
        return Ok(Op::Encode { numbers, default });
    }
    let keys: Vec<f64> = match (operator.floats("keys_floats"), operator.ints("keys_int64s")) {
        ([], ints) => ints.iter().map(|int| *int as f64).collect(),
        (floats, _) => floats.to_vec(),
    };
    if keys.is_empty() || keys.len() != values.len() {
        return Err(Error::unsupported("a LabelEncoder of these types"));
    }
    Ok(Op::Map { pairs: keys.into_iter().zip(values).collect(), default })
}

/// Follows an operator behind the trees: only what leaves numbers as they are, or gives labels names.
fn pass(operator: &Operator, model: &mut Model, constants: &HashMap<String, Tensor>) -> Result<()> {
    match operator.kind.as_str() {
        "Identity" | "Cast" | "Reshape" | "Flatten" | "Squeeze" | "ZipMap" => Ok(()),
        "ArrayFeatureExtractor" => {
            // The classes' labels, picked by the trees' class numbers.
            let labels = operator.inputs.first().and_then(|name| constants.get(name));
            let labels = labels.ok_or_else(|| Error::unsupported("it picks from something else than labels"))?;
            relabel(model, |number| {
                let place = usize::try_from(number).ok();
                let text = place.and_then(|place| labels.texts.get(place).cloned());
                text.map(Ok).or_else(|| place.and_then(|place| labels.numbers.get(place)).map(|n| Err(*n as i64)))
            })
        }
        "LabelEncoder" => {
            let keys = operator.ints("keys_int64s");
            let (texts, ints) = (operator.texts("values_strings"), operator.ints("values_int64s"));
            relabel(model, |number| {
                let place = keys.iter().position(|key| *key == number)?;
                texts.get(place).cloned().map(Ok).or_else(|| ints.get(place).map(|int| Err(*int)))
            })
        }
        other => Err(Error::unsupported(format!("the operator {other} behind the trees"))),
    }
}

/// Gives the classes new labels: text, or other numbers.
fn relabel(model: &mut Model, label: impl Fn(i64) -> Option<Result<String, i64>>) -> Result<()> {
    let Head::OnnxClassifier { numbers: Some(numbers), .. } = &mut model.head else {
        return Err(Error::unsupported("labels for answers that are no class numbers"));
    };
    let labels: Option<Vec<_>> = numbers.iter().map(|number| label(*number)).collect();
    let labels = labels.ok_or_else(|| Error::corrupt("a class has no label"))?;
    if labels.iter().all(Result::is_ok) {
        model.labels = Some(labels.into_iter().flatten().collect());
        model.text = true;
        if let Head::OnnxClassifier { numbers, .. } = &mut model.head {
            *numbers = None;
        }
    } else {
        *numbers = labels.into_iter().filter_map(Result::err).collect();
    }
    Ok(())
}
