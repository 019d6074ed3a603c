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

/// How what is found is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A string as it is.
    Raw,
    /// A string in quotes: it stands in an array.
    Quoted,
    /// Arrays are taken for their items.
    Flat,
}

/// What stands at the path: a string as it is, everything else as JSON; `None` for nothing, null and malformed JSON.
pub(super) fn get(json: &str, steps: &[Step]) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    let mut found = Vec::new();
    collect(&value, steps, Style::Raw, &mut found).then(|| found.concat())
}

/// Adds what stands at the path below `value`, as Spark's function finds it, and says whether there is anything: a name
/// does not look into arrays, and `.*` finds nothing.
fn collect(value: &Value, steps: &[Step], style: Style, found: &mut Vec<String>) -> bool {
    match (value, steps) {
        (Value::String(text), []) if style == Style::Raw => found.push(text.clone()),
        (Value::Array(items), []) if style == Style::Flat => {
            return items.iter().filter(|item| collect(item, &[], style, found)).count() > 0;
        }
        (value, []) => found.push(render(value)),
        (Value::Object(entries), [Step::Name(name), rest @ ..]) => {
            return match entries.get(name) {
                None | Some(Value::Null) => false,
                Some(value) => collect(value, rest, style, found),
            };
        }
        (Value::Array(items), [Step::Items, Step::Items, rest @ ..]) => {
            let (parts, any) = each(items, rest, Style::Flat);
            found.push(format!("[{}]", parts.join(",")));
            return any > 0;
        }
        (Value::Array(items), [Step::Items, rest @ ..]) if style != Style::Quoted => {
            let inner = if style == Style::Raw { Style::Quoted } else { style };
            match each(items, rest, inner) {
                (_, 0) => return false,
                // One alone stands without brackets.
                (parts, 1) => found.push(parts.join(",")),
                (parts, _) => found.push(format!("[{}]", parts.join(","))),
            }
        }
        (Value::Array(items), [Step::Items, rest @ ..]) => {
            let (parts, any) = each(items, rest, style);
            found.push(format!("[{}]", parts.join(",")));
            return any > 0;
        }
        (Value::Array(items), [Step::Index(index), rest @ ..]) => {
            let style = if rest.first() == Some(&Step::Items) { Style::Quoted } else { style };
            return items.get(*index).is_some_and(|item| collect(item, rest, style, found));
        }
        _ => return false,
    }
    true
}

/// What is found in the items, and in how many of them there is anything.
fn each(items: &[Value], steps: &[Step], style: Style) -> (Vec<String>, usize) {
    let mut parts = Vec::new();
    let any = items.iter().filter(|item| collect(item, steps, style, &mut parts)).count();
    (parts, any)
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
