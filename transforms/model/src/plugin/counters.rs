//! What the transform tells of a micro-batch: which model scored, and how features and predictions drift.

use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::compute::{cast, max, min};
use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use crate::head::Scores;
use crate::model::Model;
use crate::prepare::Row;

/// Counters: of one micro-batch, and of models since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rows: u64,
    bad: u64,
    skipped: u64,
    took: Duration,
    features: Vec<Range>,
    classes: Vec<u64>,
    /// Least and greatest prediction, and their sum.
    predictions: Option<(f64, f64, f64)>,
    replaced: u64,
    refused: u64,
    refusal: Option<String>,
}

/// What was seen of a feature.
#[derive(Debug, Clone, Default)]
struct Range {
    bounds: Option<(f64, f64)>,
    nulls: u64,
    nan: u64,
}

impl Counters {
    /// A micro-batch begins.
    pub(super) fn begin(&mut self) {
        let Self { replaced, refused, refusal, .. } = std::mem::take(self);
        (self.replaced, self.refused, self.refusal) = (replaced, refused, refusal);
    }

    /// A new model has taken the place of the old one.
    pub(super) fn replaced(&mut self) {
        self.replaced += 1;
        self.refusal = None;
    }

    /// A new model was refused.
    pub(super) fn refused(&mut self, why: String) {
        self.refused += 1;
        self.refusal = Some(why);
    }

    /// A batch took this long: to score, to look at, and to make columns of.
    pub(super) fn took(&mut self, time: Duration) {
        self.took += time;
    }

    /// Rows were scored.
    pub(super) fn scored(&mut self, scores: &Scores, rows: Option<&[Row]>) {
        self.rows += scores.rows as u64;
        for row in rows.unwrap_or_default() {
            match row {
                Row::Bad(_) => self.bad += 1,
                Row::Skipped => self.skipped += 1,
                _ => {}
            }
        }
    }

    /// Looks at what a batch's features and predictions are.
    pub(super) fn watch(&mut self, model: &Model, inputs: &[ArrayRef], scores: &Scores, rows: Option<&[Row]>) {
        self.features.resize(inputs.len(), Range::default());
        for ((range, input), of) in self.features.iter_mut().zip(inputs).zip(&model.inputs) {
            range.nulls += input.null_count() as u64;
            if of.text {
                continue;
            }
            // Types that the model takes are numbers: what is not cast here is not counted.
            let Ok(numbers) = cast(input, &DataType::Float64) else { continue };
            let Some(numbers) = numbers.as_any().downcast_ref::<Float64Array>() else { continue };
            range.add(numbers);
        }
        let good = |at: usize| rows.is_none_or(|rows| rows.get(at) == Some(&Row::Good));
        let wide = scores.prediction.len() / scores.rows.max(1);
        if wide != 1 {
            return;
        }
        let predictions = scores.prediction.iter().enumerate().filter(|(at, _)| good(*at)).map(|(_, x)| *x);
        let classes = model.classes();
        if classes > 0 {
            self.classes.resize(classes, 0);
            for class in predictions {
                if let Some(count) = self.classes.get_mut(class as usize) {
                    *count += 1;
                }
            }
            return;
        }
        for x in predictions {
            let (low, high, sum) = self.predictions.unwrap_or((x, x, 0.0));
            self.predictions = Some((low.min(x), high.max(x), sum + x));
        }
    }

    /// The counters, by name.
    pub(super) fn tell(&self, model: &Model) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
        put("modelVersion", json!(format!("{:016x}", model.version)));
        put("modelsReplaced", json!(self.replaced));
        put("modelsRefused", json!(self.refused));
        if let Some(why) = &self.refusal {
            put("lastRefusal", json!(why));
        }
        put("scoredRows", json!(self.rows));
        put("badRows", json!(self.bad));
        put("skippedRows", json!(self.skipped));
        put("scoringMicros", json!(self.took.as_micros() as u64));
        let features: Map<String, Value> = self
            .features
            .iter()
            .zip(&model.inputs)
            .map(|(range, input)| {
                let mut of = Map::new();
                if let Some((low, high)) = range.bounds {
                    of.insert("min".into(), number(low));
                    of.insert("max".into(), number(high));
                }
                of.insert("nulls".into(), json!(range.nulls));
                of.insert("nan".into(), json!(range.nan));
                (input.name.clone(), of.into())
            })
            .collect();
        if !features.is_empty() {
            put("features", features.into());
        }
        if !self.classes.is_empty() {
            let name = |class: usize| model.labels.as_ref().and_then(|labels| labels.get(class)).cloned();
            let counts = self.classes.iter().enumerate();
            let counts: Map<_, _> =
                counts.map(|(class, n)| (name(class).unwrap_or_else(|| class.to_string()), json!(n))).collect();
            put("predictedClasses", counts.into());
        }
        if let Some((low, high, sum)) = self.predictions {
            let good = self.rows - self.bad - self.skipped;
            put(
                "predictions",
                json!({"min": number(low), "max": number(high), "mean": number(sum / good.max(1) as f64)}),
            );
        }
        all
    }
}

impl Range {
    fn add(&mut self, numbers: &Float64Array) {
        // The largest of all is NaN if there is one: then they are looked at one by one.
        let (Some(low), Some(high)) = (min(numbers), max(numbers)) else { return };
        let (mut low, mut high) = (low, high);
        if low.is_nan() || high.is_nan() {
            let known = || numbers.iter().flatten().filter(|x| !x.is_nan());
            self.nan += numbers.iter().flatten().filter(|x| x.is_nan()).count() as u64;
            low = known().fold(f64::INFINITY, f64::min);
            high = known().fold(f64::NEG_INFINITY, f64::max);
            if low > high {
                return;
            }
        }
        let (least, most) = self.bounds.unwrap_or((low, high));
        self.bounds = Some((least.min(low), most.max(high)));
    }
}

/// JSON has no infinite numbers: they are text.
fn number(x: f64) -> Value {
    serde_json::Number::from_f64(x).map_or_else(|| Value::String(x.to_string()), Value::Number)
}
