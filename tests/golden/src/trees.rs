//! Cases of tree models: a model, rows, and what the library that trained it predicts for them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use levada_transform_model::{Ask, Invalid, Model, Row, Scored, Scorer, Scores, load};
use serde::Deserialize;
use serde_json::Value;

use crate::tables::Table;
use crate::{Judged, Verdict, failure};

/// What `case.json` says.
#[derive(Deserialize)]
struct Case {
    model: String,
    task: String,
    features: Vec<CaseFeature>,
    n_expected: Option<usize>,
    tolerance: Tolerance,
    #[serde(default)]
    features_vector: Option<String>,
    #[serde(default)]
    options: Value,
}

#[derive(Deserialize)]
struct CaseFeature {
    name: String,
    dtype: String,
}

#[derive(Deserialize, Clone, Copy)]
struct Tolerance {
    rel: f64,
    abs: f64,
}

/// Judges the case in `folder`.
pub(crate) fn judge(folder: &Path) -> Judged {
    match run(folder) {
        Ok(mut differences) => {
            let more = differences.len().saturating_sub(1);
            let verdict = match differences.first() {
                None => Verdict::Pass,
                Some(first) if more == 0 => Verdict::Fail(first.clone()),
                Some(first) => Verdict::Fail(format!("{first} (and {more} more)")),
            };
            differences.truncate(50);
            Judged { verdict, details: differences.into_iter().skip(1).collect() }
        }
        Err(error) => failure(error),
    }
}

fn run(folder: &Path) -> Result<Vec<String>, String> {
    let place = folder.join("case.json");
    let text = std::fs::read_to_string(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let case: Case = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", place.display()))?;
    let model = load(&folder.join(&case.model)).map_err(|error| error.to_string())?;
    let scorer = Scorer::new(model);
    let input = Table::read(&folder.join("input.csv"))?;
    let expected = Table::read(&folder.join("expected.csv"))?;
    if case.n_expected.is_some_and(|count| count != expected.rows()) {
        return Err(format!("expected.csv has {} rows, case.json says {:?}", expected.rows(), case.n_expected));
    }
    // A vector may hold NaN; its entries stand in columns here.
    let invalid = case.features_vector.is_some().then_some(Invalid::Keep);
    let all = Ask { raw: true, probability: true, leaves: true, variance: true, invalid, threads: 2 };
    let score = |table: &Table| {
        let columns = columns(&case, scorer.model(), table)?;
        let score = |ask: &Ask| scorer.score(&columns, table.rows(), ask).map_err(|error| error.to_string());
        // Who asks for no leaves is answered by other loops, which must say the same.
        let (scored, quick) = (score(&all)?, score(&Ask { leaves: false, variance: false, ..all })?);
        let bits = |scored: &Scored| {
            let Scores { prediction, probability, raw, .. } = &scored.scores;
            [prediction, probability, raw].map(|list| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        match bits(&scored) == bits(&quick) && scored.rows == quick.rows {
            true => Ok(scored),
            false => Err("scores are others when leaves are not asked for".to_owned()),
        }
    };
    let mut differences = compare(&case, scorer.model(), &score(&input)?, &expected)?;
    let wrong = folder.join("input_error.csv");
    if wrong.exists() {
        let messages = Table::read(&folder.join("expected_error.csv"))?.text("message")?;
        differences.extend(errors(&score(&Table::read(&wrong)?)?, &messages));
    }
    Ok(differences)
}

/// The columns that the model reads: by name where it knows names, otherwise in the case's order.
fn columns(case: &Case, model: &Model, table: &Table) -> Result<Vec<ArrayRef>, String> {
    let by_name = model.named && model.inputs.iter().all(|input| case.features.iter().any(|f| f.name == input.name));
    if !by_name && case.features.len() != model.inputs.len() {
        return Err(format!("the case has {} features, the model {}", case.features.len(), model.inputs.len()));
    }
    let column = |feature: &CaseFeature| -> Result<ArrayRef, String> {
        match feature.dtype.as_str() {
            "string" => Ok(Arc::new(table.text(&feature.name)?)),
            _ => table.numbers(&feature.name),
        }
    };
    if !by_name {
        return case.features.iter().map(column).collect();
    }
    let feature =
        |name: &str| case.features.iter().find(|f| f.name == name).ok_or_else(|| format!("no feature {name}"));
    model.inputs.iter().map(|input| feature(&input.name).and_then(column)).collect()
}

/// What an output column of the case is, of ours.
enum Output {
    Number(usize, usize, Vec<f64>),
    Label,
    Leaves,
}

fn output(name: &str, case: &Case, model: &Model, scored: &Scored) -> Option<Output> {
    let scores = &scored.scores;
    let option = |key: &str| case.options.get(key).and_then(Value::as_str);
    let place = |prefix: &str| name.strip_prefix(prefix).and_then(|place| place.parse::<usize>().ok());
    if let Some(at) = place("probability_").filter(|at| *at < scores.classes) {
        return Some(Output::Number(at, scores.classes, scores.probability.clone()));
    }
    if let Some(at) = place("raw_").filter(|at| *at < scores.raws) {
        return Some(Output::Number(at, scores.raws, scores.raw.clone()));
    }
    let wide = scores.prediction.len() / scores.rows.max(1);
    if let Some(at) = place("prediction_").filter(|at| *at < wide) {
        return Some(Output::Number(at, wide, scores.prediction.clone()));
    }
    if name == "prediction" {
        return Some(if model.text { Output::Label } else { Output::Number(0, wide, scores.prediction.clone()) });
    }
    if name == option("leafCol").unwrap_or("leaf") {
        return Some(Output::Leaves);
    }
    if name == option("varianceCol").unwrap_or("var") {
        return Some(Output::Number(0, 1, scores.variance.clone()));
    }
    (model.label_column.as_deref() == Some(name)).then_some(Output::Label)
}

fn compare(case: &Case, model: &Model, scored: &Scored, expected: &Table) -> Result<Vec<String>, String> {
    let mut differences = Vec::new();
    let rows = expected.text("row")?;
    let places: HashMap<usize, usize> =
        rows.iter().enumerate().filter_map(|(line, row)| Some((row?.parse().ok()?, line))).collect();
    for row in 0..scored.scores.rows {
        let state = scored.rows.as_ref().and_then(|rows| rows.get(row)).unwrap_or(&Row::Good);
        match (state, places.contains_key(&row)) {
            (Row::Good, true) | (Row::Skipped, false) => {}
            (Row::Good, false) => differences.push(format!("row {row} is scored, it should be skipped")),
            (Row::Skipped, true) => differences.push(format!("row {row} is skipped")),
            (Row::Bad(error), _) => differences.push(format!("row {row}: {error}")),
        }
    }
    for name in expected.names() {
        // Those are for comparison with the source of an exported model.
        if name == "row" || name.starts_with("sklearn_") || name.starts_with("onnxruntime_") {
            continue;
        }
        let Some(output) = output(&name, case, model, scored) else {
            return Err(format!("expected.csv has a column '{name}', which the model does not give"));
        };
        let exact = name == "prediction" && case.task == "classification";
        let column = expected.text(&name)?;
        let mut lines: Vec<_> = places.iter().collect();
        lines.sort();
        for (row, line) in lines {
            let wanted = if column.is_null(*line) { "" } else { column.value(*line) };
            let (same, given) = one(&output, model, scored, *row, wanted, exact, case.tolerance);
            if !same {
                differences.push(format!("row {row}, {name}: {given}, expected {wanted}"));
            }
        }
    }
    Ok(differences)
}

/// Whether the value of `row` is the one wanted, and its text.
fn one(
    output: &Output,
    model: &Model,
    scored: &Scored,
    row: usize,
    wanted: &str,
    exact: bool,
    tolerance: Tolerance,
) -> (bool, String) {
    let scores = &scored.scores;
    match output {
        Output::Number(at, of, values) => {
            let value = values.get(row * of + at).copied().unwrap_or(f64::NAN);
            let same = wanted.parse::<f64>().is_ok_and(|wanted| match exact {
                true => wanted == value,
                false => near(value, wanted, tolerance),
            });
            (same, value.to_string())
        }
        Output::Label => {
            let class = scores.prediction.get(row).map_or(usize::MAX, |class| *class as usize);
            let label = model.labels.as_ref().and_then(|labels| labels.get(class)).cloned().unwrap_or_default();
            (label == wanted, label)
        }
        Output::Leaves => {
            let leaves = scores.leaves.get(row * scores.trees..(row + 1) * scores.trees).unwrap_or_default();
            let wanted: Vec<Option<f64>> = wanted.split(';').map(|leaf| leaf.parse().ok()).collect();
            let given: Vec<Option<f64>> = leaves.iter().map(|leaf| Some(f64::from(*leaf))).collect();
            (wanted == given, format!("{leaves:?}"))
        }
    }
}

fn near(a: f64, b: f64, tolerance: Tolerance) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance.abs.max(tolerance.rel * a.abs().max(b.abs()))
}

/// Every row must fail, for the cause that the library names.
fn errors(scored: &Scored, messages: &StringArray) -> Vec<String> {
    let mut differences = Vec::new();
    for row in 0..scored.scores.rows {
        let wanted = messages.iter().nth(row).flatten().unwrap_or_default();
        let label = wanted.strip_prefix("Unseen label: ").and_then(|rest| rest.split('.').next());
        let cause = match label {
            Some(label) => label,
            None if wanted.contains("NaN") => "NaN",
            None if wanted.to_lowercase().contains("null") => "null",
            None => "",
        };
        match scored.rows.as_ref().and_then(|rows| rows.get(row)) {
            Some(Row::Bad(error)) if error.contains(cause) => {}
            Some(Row::Bad(error)) => differences.push(format!("bad row {row}: '{error}' does not name {cause}")),
            _ => differences.push(format!("bad row {row} does not fail")),
        }
    }
    differences
}
