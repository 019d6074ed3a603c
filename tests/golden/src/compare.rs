//! What the engine did beside what Spark did.

use serde_json::Value;

use crate::case::{Case, Expected, ExpectedError, ExpectedState};
use crate::run::{Failure, Outcome};
use crate::sink::Attempt;

/// How far two floating-point numbers may be apart, relative to the larger: aggregates add in another order; elsewhere
/// only the last digit of another spelling may differ.
const AGGREGATE_TOLERANCE: f64 = 1e-9;
const TOLERANCE: f64 = 4.5e-16;

/// What an error must speak of to mean the same as Spark's condition, where phase and batch do not tell enough.
const MEANINGS: &[(&str, &str)] = &[("STREAMING_OUTPUT_MODE", "output.mode")];

/// How many of the other rows a row is held against when its text has no equal.
const CANDIDATES: usize = 256;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What makes the case fail, the most telling first.
    pub(crate) differences: Vec<String>,
    /// What is worth knowing and not judged.
    pub(crate) notes: Vec<String>,
}

/// Compares all that the case's data holds.
pub(crate) fn compare(case: &Case, expected: &Expected, outcome: &Outcome) -> Findings {
    let mut findings = Findings::default();
    let aggregates = case.ops().any(|op| matches!(op.op.as_str(), "aggregate" | "sql"));
    let tolerance = if aggregates { AGGREGATE_TOLERANCE } else { TOLERANCE };
    compare_runs(expected, outcome, &mut findings);
    let differences = &mut findings.differences;
    // Which of them was recorded when the last run failed before its first batch depends on the recorder.
    let known = [&outcome.sink.schema, &outcome.sink.opened];
    if let Some(schema) = expected.schema.as_ref().filter(|schema| !known.contains(schema)) {
        differences.push(format!("schema: expected {}, got {}", columns(schema), columns(&outcome.sink.schema)));
    }
    match &expected.last {
        Some(last) => {
            let accepted: Vec<&Attempt> = outcome.sink.attempts.iter().filter(|attempt| attempt.accepted).collect();
            let from = if case.output_mode == "complete" { accepted.len().saturating_sub(1) } else { 0 };
            let rows: Vec<String> = accepted.iter().skip(from).flat_map(|attempt| attempt.rows.clone()).collect();
            differences.extend(compare_rows(last, &rows, tolerance).map(|found| format!("at the end: {found}")));
        }
        None => compare_batches(expected, &outcome.sink.attempts, tolerance, differences),
    }
    // Spark pushes filters into its readers, and inner joins and explodes filter nulls: its counts are those after them.
    let filters = case.ops().any(|op| matches!(op.op.as_str(), "filter" | "join") || drops_nulls(op) || queries(op));
    if !filters && !case.final_only {
        for (batch, want) in &expected.progress {
            // A missing batch was told of above.
            let Some(got) = outcome.progress.get(batch) else { continue };
            let (want, got) = (want.num_input_rows, got.num_input_rows);
            if want != got {
                differences.push(format!("batch {batch}: numInputRows: expected {want}, got {got}"));
            }
        }
    }
    compare_progress(case, expected, outcome, &mut findings);
    findings
}

/// Whether a query has a condition of its own.
fn queries(op: &crate::case::Op) -> bool {
    let query = op.args.get("query").and_then(serde_json::Value::as_str).unwrap_or_default();
    op.op == "sql" && query.to_ascii_lowercase().contains(" where ")
}

/// Whether an operator explodes a column: rows without it are left out by the reader.
fn drops_nulls(op: &crate::case::Op) -> bool {
    let array = op.args.get("array").and_then(serde_json::Value::as_str).unwrap_or_default();
    op.op == "explode" && !array.is_empty() && array.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '`')
}

/// The watermarks of the batches; and, not judged, the counters of their operators.
fn compare_progress(case: &Case, expected: &Expected, outcome: &Outcome, findings: &mut Findings) {
    let watermarked = case.ops().any(|op| op.op == "watermark");
    for (batch, want) in &expected.progress {
        let Some(got) = outcome.progress.get(batch) else { continue };
        if let (true, Some(want)) = (watermarked, &want.watermark_used) {
            let got = got.event_time.as_ref().map(|event_time| event_time.watermark.as_str()).unwrap_or_default();
            // Spark's are recorded with microseconds, ours are whole milliseconds.
            if want.trim_end_matches('Z').trim_end_matches('0') != got.trim_end_matches('Z').trim_end_matches('0') {
                findings.differences.push(format!("batch {batch}: the watermark: expected {want}, got {got}"));
            }
        }
        let counters: Vec<ExpectedState> = got
            .state_operators
            .iter()
            .map(|operator| ExpectedState {
                num_rows_total: operator.num_rows_total,
                num_rows_updated: operator.num_rows_updated,
                num_rows_removed: operator.num_rows_removed,
                num_rows_dropped_by_watermark: operator.num_rows_dropped_by_watermark,
            })
            .collect();
        if counters != want.state_operators {
            findings.notes.push(format!("batch {batch}: Spark counted {:?}, we {counters:?}", want.state_operators));
        }
    }
}

/// The batches of each run, and how it ended.
fn compare_runs(expected: &Expected, outcome: &Outcome, findings: &mut Findings) {
    if expected.runs.len() != outcome.runs.len() {
        let (want, got) = (expected.runs.len(), outcome.runs.len());
        findings.differences.push(format!("the case has {got} runs, and {want} are expected"));
    }
    for (run, (want, got)) in expected.runs.iter().zip(&outcome.runs).enumerate() {
        let attempts = outcome.sink.attempts.iter().filter(|attempt| attempt.run == run);
        let batches: Vec<u64> = attempts.map(|attempt| attempt.batch).collect();
        match (&want.error, got) {
            (None, None) => {}
            (None, Some(got)) => findings.differences.push(format!("run {run}: {}", describe(got))),
            (Some(want), None) => {
                findings.differences.push(format!("run {run}: expected {}, and it ended well", wish(want)))
            }
            (Some(want), Some(got)) => {
                if want.phase != got.phase || want.batch != got.batch {
                    findings.differences.push(format!("run {run}: expected {}, but it {}", wish(want), describe(got)));
                } else if got.text.trim().is_empty() {
                    findings.differences.push(format!("run {run}: the error says nothing"));
                }
                if let Some(condition) = want.condition.as_ref().filter(|condition| !got.text.contains(*condition)) {
                    let found = format!("run {run}: Spark's condition is {condition}; the error is: {}", got.text);
                    let meaning = MEANINGS.iter().find(|(prefix, _)| condition.starts_with(prefix));
                    if meaning.is_some_and(|(_, word)| !got.text.contains(word)) {
                        findings.differences.push(found);
                    } else {
                        findings.notes.push(found);
                    }
                }
            }
        }
        if batches != want.batches {
            findings.differences.push(format!("run {run}: expected batches {:?}, got {batches:?}", want.batches));
        }
    }
}

/// The rows of each batch and of its failed attempts.
fn compare_batches(expected: &Expected, attempts: &[Attempt], tolerance: f64, differences: &mut Vec<String>) {
    for (batch, want) in &expected.batches {
        let found = match attempts.iter().rfind(|attempt| attempt.batch == *batch && attempt.accepted) {
            Some(attempt) => compare_rows(want, &attempt.rows, tolerance),
            None => Some("it is missing".to_owned()),
        };
        differences.extend(found.map(|found| format!("batch {batch}: {found}")));
    }
    for ((batch, number), want) in &expected.attempts {
        let found = match attempts.iter().filter(|attempt| attempt.batch == *batch).nth(*number) {
            Some(attempt) => compare_rows(want, &attempt.rows, tolerance),
            None => Some("it is missing".to_owned()),
        };
        differences.extend(found.map(|found| format!("batch {batch}, attempt {number}: {found}")));
    }
    for attempt in attempts.iter().filter(|attempt| attempt.accepted && !expected.batches.contains_key(&attempt.batch))
    {
        differences.push(format!("batch {}: not expected; it has {} rows", attempt.batch, attempt.rows.len()));
    }
}

/// The first difference between two bags of rows.
fn compare_rows(want: &[String], got: &[String], tolerance: f64) -> Option<String> {
    let (want, got) = without_common(want, got);
    let mut got: Vec<(&str, Option<Value>)> =
        got.into_iter().map(|line| (line, serde_json::from_str(line).ok())).collect();
    let mut missing = Vec::new();
    for line in want {
        let value: Option<Value> = serde_json::from_str(line).ok();
        let equal = |other: &(&str, Option<Value>)| match (&value, &other.1) {
            (Some(a), Some(b)) => same(a, b, tolerance),
            _ => false,
        };
        match got.iter().take(CANDIDATES).position(equal) {
            Some(i) => {
                got.remove(i);
            }
            None => missing.push(line),
        }
    }
    let differing = missing.len().max(got.len());
    let first = match (missing.first(), got.first()) {
        (None, None) => return None,
        (Some(want), Some((got, _))) => format!("expected {want}, got {got}"),
        (Some(want), None) => format!("expected {want}, got no such row"),
        (None, Some((got, _))) => format!("expected no such row, got {got}"),
    };
    Some(if differing > 1 { format!("{first} ({differing} rows differ)") } else { first })
}

/// What only one side has, sorted bytewise.
fn without_common<'a>(want: &'a [String], got: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let sorted = |lines: &'a [String]| {
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.sort_unstable();
        lines
    };
    let (want, got) = (sorted(want), sorted(got));
    let (mut only_want, mut only_got) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (want.into_iter().peekable(), got.into_iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return (only_want, only_got),
        };
        if order.is_le() {
            let line = left.next();
            if order.is_lt() {
                only_want.extend(line);
            }
        }
        if order.is_ge() {
            let line = right.next();
            if order.is_gt() {
                only_got.extend(line);
            }
        }
    }
}

/// Whether two values are one: numbers by value, whole numbers exactly.
fn same(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let whole = |n: &serde_json::Number| n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
            match (whole(a), whole(b)) {
                (Some(a), Some(b)) => a == b,
                _ => match (a.as_f64(), b.as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() <= tolerance * a.abs().max(b.abs()),
                    _ => false,
                },
            }
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b, tolerance))
        }
        _ => a == b,
    }
}

fn columns(schema: &[(String, String)]) -> String {
    let columns: Vec<String> = schema.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    format!("({})", columns.join(", "))
}

fn describe(failure: &Failure) -> String {
    match failure.batch {
        Some(batch) => format!("failed in batch {batch}: {}", failure.text),
        None => format!("was refused: {}", failure.text),
    }
}

fn wish(error: &ExpectedError) -> String {
    let what = match error.batch {
        Some(batch) => format!("a failure in batch {batch}"),
        None => "a refusal".to_owned(),
    };
    error.condition.as_ref().map_or_else(|| what.clone(), |condition| format!("{what} ({condition})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(want: &[&str], got: &[&str], tolerance: f64) -> Option<String> {
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        compare_rows(&own(want), &own(got), tolerance)
    }

    #[test]
    fn rows_are_a_bag() {
        assert_eq!(rows(&[r#"{"a":1}"#, r#"{"a":2}"#], &[r#"{"a":2}"#, r#"{"a":1}"#], TOLERANCE), None);
        let found = rows(&[r#"{"a":1}"#], &[r#"{"a":1}"#, r#"{"a":1}"#], TOLERANCE);
        assert_eq!(found.unwrap(), r#"expected no such row, got {"a":1}"#);
        let found = rows(&[r#"{"a":1}"#, r#"{"a":3}"#], &[r#"{"a":4}"#, r#"{"a":2}"#], TOLERANCE);
        assert_eq!(found.unwrap(), r#"expected {"a":1}, got {"a":2} (2 rows differ)"#);
    }

    #[test]
    fn numbers_are_compared_by_value_and_whole_ones_exactly() {
        assert_eq!(rows(&[r#"{"a":1e-05}"#], &[r#"{"a":0.00001}"#], TOLERANCE), None);
        assert_eq!(rows(&[r#"{"a":0.3}"#], &[r#"{"a":0.30000000000000004}"#], AGGREGATE_TOLERANCE), None);
        assert!(rows(&[r#"{"a":0.3}"#], &[r#"{"a":0.3000000001}"#], TOLERANCE).is_some());
        assert!(rows(&[r#"{"a":9007199254740993}"#], &[r#"{"a":9007199254740992}"#], AGGREGATE_TOLERANCE).is_some());
        assert!(rows(&[r#"{"a":1}"#], &[r#"{"b":1}"#], AGGREGATE_TOLERANCE).is_some());
        assert!(rows(&[r#"{"a":null}"#], &[r#"{"a":0}"#], AGGREGATE_TOLERANCE).is_some());
    }
}
