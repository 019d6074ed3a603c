//! Paths into JSON: `$.a.b[0]['c'][*]`.

use std::collections::HashMap;

use serde_json::Value;

use super::json_write::text;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
    /// `[*]`: all items.
    Items,
    /// `.*`: all values of an object.
    Values,
}

/// Parsed paths by their text.
#[derive(Default)]
pub(super) struct Paths {
    parsed: HashMap<String, Option<Vec<Step>>>,
}

impl Paths {
    /// The steps of a path; `None` if it is none.
    pub(super) fn get(&mut self, path: &str) -> Option<&[Step]> {
        if !self.parsed.contains_key(path) {
            self.parsed.insert(path.to_owned(), parse(path));
        }
        self.parsed.get(path)?.as_deref()
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix("['") {
            let (name, tail) = tail.split_once("']")?;
            steps.push(if name == "*" { Step::Values } else { Step::Name(name.to_owned()) });
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('[') {
            let (index, tail) = tail.split_once(']')?;
            steps.push(if index == "*" { Step::Items } else { Step::Index(index.trim().parse().ok()?) });
            rest = tail;
        } else {
            let tail = rest.strip_prefix('.')?;
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, tail) = tail.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" { Step::Values } else { Step::Name(name.to_owned()) });
            rest = tail;
        }
    }
    Some(steps)
}

/// What stands at the path: a string as it is, everything else as JSON; `None` for nothing, null and malformed JSON.
pub(super) fn get(json: &str, steps: &[Step]) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    let mut found = Vec::new();
    collect(&value, steps, &mut found);
    let many = steps.iter().any(|step| matches!(step, Step::Items | Step::Values));
    match found.as_slice() {
        [] | [Value::Null] => None,
        [Value::String(text)] => Some(text.clone()),
        [one] => Some(render(one)),
        several if many => {
            let parts: Vec<_> = several.iter().map(|value| render(value)).collect();
            Some(format!("[{}]", parts.join(",")))
        }
        _ => None,
    }
}

fn collect<'a>(value: &'a Value, steps: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, value) {
        (Step::Name(name), Value::Object(entries)) => {
            if let Some(value) = entries.get(name) {
                collect(value, rest, found);
            }
        }
        // A name goes through the items of an array.
        (Step::Name(_), Value::Array(items)) => items.iter().for_each(|item| collect(item, steps, found)),
        (Step::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get(*index) {
                collect(item, rest, found);
            }
        }
        (Step::Items, Value::Array(items)) => items.iter().for_each(|item| collect(item, rest, found)),
        (Step::Values, Value::Object(entries)) => entries.values().for_each(|value| collect(value, rest, found)),
        _ => {}
    }
}

/// A value as Jackson writes it: doubles as Java does.
fn render(value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => whole.to_string(),
            (_, Some(whole), _) => whole.to_string(),
            (_, _, Some(double)) => levada_formats::scalar::format_double(double),
            _ => number.to_string(),
        },
        Value::String(string) => {
            let mut out = String::with_capacity(string.len() + 2);
            // Writing to a string does not fail.
            let _ = text(string, &mut out);
            out
        }
        Value::Array(items) => format!("[{}]", items.iter().map(render).collect::<Vec<_>>().join(",")),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                let mut out = String::new();
                let _ = text(key, &mut out);
                format!("{out}:{}", render(value))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}
