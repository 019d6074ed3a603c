//! A case as a pipeline: Spark's sources and operators in Levada's flat configuration.
//!
//! To teach the runner an operator, add a match arm to [`map_ops`] and a function beside [`filter`] that answers with
//! the transform's keys. What has no arm is skipped with the operator's name.

use std::collections::BTreeSet;
use std::path::Path;

use levada_connector_api::config::RawConfig;
use serde_json::{Map, Value};

use crate::case::{Case, Op, Query, Source};
use crate::sink::GOLDEN;

/// Why a case cannot be expressed (yet).
pub(crate) type Unsupported = String;

/// A transform: its class and its keys.
struct Transform {
    class: &'static str,
    keys: Vec<(&'static str, String)>,
}

/// The configuration of `query`, but for what changes with each run: trigger and checkpoint.
pub(crate) fn pipeline(case: &Case, query: &Query, folder: &Path) -> Result<RawConfig, Unsupported> {
    let unknown: BTreeSet<String> = case.ops().filter_map(unknown).collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        return Err(format!("operator{} {}", if names.len() > 1 { "s" } else { "" }, names.join(", ")));
    }
    if !case.streams.is_empty() {
        return Err("named streams".to_owned());
    }
    if !case.tables.is_empty() {
        return Err("static tables".to_owned());
    }
    if case.sources.len() > 1 {
        return Err("several sources".to_owned());
    }
    if case.timezone != "UTC" {
        return Err(format!("time zone {}", case.timezone));
    }
    if let Some(policy) = case.watermark_policy.as_deref().filter(|policy| *policy != "min") {
        return Err(format!("watermark policy {policy}"));
    }
    let source = case.sources.get(&query.from).ok_or_else(|| format!("a query from '{}'", query.from))?;

    let mut raw = RawConfig::new();
    let mut set = |key: &str, value: &str| raw.insert(key.to_owned(), value.to_owned());
    set("name", "golden");
    set("output.mode", &case.output_mode);
    set("restart.attempts", "0");
    set("sink.class", GOLDEN);
    for (key, value) in map_source(source, folder)? {
        set(&format!("source.{key}"), &value);
    }
    let transforms = map_ops(&query.ops, case.ansi)?;
    let aliases: Vec<String> = (0..transforms.len()).map(|i| format!("t{i}")).collect();
    set("transforms", &aliases.join(","));
    for (alias, transform) in aliases.iter().zip(transforms) {
        set(&format!("transforms.{alias}.type"), transform.class);
        for (key, value) in transform.keys {
            set(&format!("transforms.{alias}.{key}"), &value);
        }
    }
    Ok(raw)
}

/// The name of an operator for which there is no transform at all.
fn unknown(op: &Op) -> Option<String> {
    let given = |name: &str| op.args.get(name).is_some_and(|value| !value.is_null());
    match op.op.as_str() {
        "filter" | "select" | "rename" | "explode" => None,
        "aggregate" => {
            ["window", "session"].into_iter().find(|name| given(name)).map(|name| format!("aggregate ({name})"))
        }
        other => Some(other.to_owned()),
    }
}

/// The source's keys. `folder` is where the case's files are laid.
fn map_source(source: &Source, folder: &Path) -> Result<Vec<(&'static str, String)>, Unsupported> {
    let mut keys = vec![
        ("class", "Files".to_owned()),
        ("path", folder.join(&source.path).display().to_string()),
        ("format", source.format.clone()),
        // Spark's sources are permissive unless told otherwise.
        ("malformed.rows", "null".to_owned()),
        ("malformed.fields", "null".to_owned()),
        ("discovery.interval", "5 ms".to_owned()),
    ];
    match source.format.as_str() {
        "text" => {}
        "json" | "csv" => {
            let columns =
                source.schema.as_ref().ok_or_else(|| format!("a {} source without a schema", source.format))?;
            let columns: Vec<_> = columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))).collect();
            keys.push(("schema", columns.join(", ")));
        }
        other => return Err(format!("source format {other}")),
    }
    if let Some(files) = source.max_files_per_trigger {
        keys.push(("max.files.per.trigger", files.to_string()));
    }
    for (option, value) in &source.options {
        let key = match (source.format.as_str(), option.to_ascii_lowercase().as_str()) {
            ("csv", "header") => "header",
            ("csv", "sep" | "delimiter") => "separator",
            ("csv", "quote") => "quote",
            ("csv", "escape") => "escape",
            ("csv", "comment") => "comment",
            ("csv", "nullvalue") => "null.value",
            ("csv", "emptyvalue") => "empty.value",
            ("csv", "nanvalue") => "nan.value",
            ("csv", "positiveinf") => "positive.inf",
            ("csv", "negativeinf") => "negative.inf",
            ("csv", "ignoreleadingwhitespace") => "ignore.leading.white.space",
            ("csv", "ignoretrailingwhitespace") => "ignore.trailing.white.space",
            ("csv", "enforceschema") => "enforce.schema",
            ("csv" | "json", "columnnameofcorruptrecord") => "column.name.of.corrupt.record",
            ("csv" | "json", "mode") => {
                keys.retain(|(key, _)| !key.starts_with("malformed."));
                "mode"
            }
            (_, "maxfileage") => "max.file.age",
            _ => return Err(format!("option {option} of a {} source", source.format)),
        };
        keys.push((key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    Ok(keys)
}

/// The transforms of a chain of operators. Some need more than one operator.
fn map_ops(mut ops: &[Op], ansi: bool) -> Result<Vec<Transform>, Unsupported> {
    let mut transforms = Vec::new();
    loop {
        let (transform, rest) = match ops {
            [] => return Ok(transforms),
            [explode, aggregate, rest @ ..] if explode.op == "explode" && aggregate.op == "aggregate" => {
                (word_count(explode, aggregate)?, rest)
            }
            [op, rest @ ..] => {
                let transform = match op.op.as_str() {
                    "filter" => filter(op, ansi)?,
                    "select" => select(op, ansi)?,
                    "rename" => rename(op)?,
                    "explode" => explode(op, ansi)?,
                    other => return Err(unsupported(other, op)),
                };
                (transform, rest)
            }
        };
        transforms.push(transform);
        ops = rest;
    }
}

fn filter(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["where"])?;
    Ok(Transform { class: "Filter", keys: vec![("condition", text(op, "where")?), ("ansi", ansi.to_string())] })
}

fn select(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["exprs"])?;
    Ok(Transform {
        class: "Select",
        keys: vec![("columns", texts(op, "exprs")?.join(", ")), ("ansi", ansi.to_string())],
    })
}

fn rename(op: &Op) -> Result<Transform, Unsupported> {
    only(op, &["columns"])?;
    let columns = op.args.get("columns").and_then(Value::as_object).ok_or_else(|| unsupported("rename", op))?;
    let pair = |(old, new): (&String, &Value)| {
        let new = new.as_str().ok_or_else(|| unsupported("rename", op))?;
        Ok(format!("{}:{}", quoted(old), quoted(new)))
    };
    let pairs: Vec<String> = columns.iter().map(pair).collect::<Result<_, Unsupported>>()?;
    Ok(Transform { class: "Select", keys: vec![("rename", pairs.join(","))] })
}

/// A lone explode: a column beside all others.
fn explode(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["array", "as", "outer"])?;
    let outer = op.args.get("outer").and_then(Value::as_bool).unwrap_or(false);
    let function = if outer { "explode_outer" } else { "explode" };
    let columns = format!("*, {function}({}) AS {}", text(op, "array")?, quoted(&text(op, "as")?));
    Ok(Transform { class: "Select", keys: vec![("columns", columns), ("ansi", ansi.to_string())] })
}

/// An explode of words and their count.
fn word_count(explode: &Op, aggregate: &Op) -> Result<Transform, Unsupported> {
    only(explode, &["array", "as", "outer"])?;
    only(aggregate, &["keys", "aggs"])?;
    let no = || unsupported("aggregate", aggregate);
    let word = text(explode, "as")?;
    let array = text(explode, "array")?;
    let column = array.strip_prefix("split(").and_then(|rest| rest.strip_suffix(", ' ')")).ok_or_else(no)?;
    let plain = !column.is_empty() && column.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let (keys, aggs) = (texts(aggregate, "keys")?, texts(aggregate, "aggs")?);
    let [agg] = aggs.as_slice() else { return Err(no()) };
    let count = agg.strip_prefix("count(*) AS ").ok_or_else(no)?;
    if !plain || keys != [word.as_str()] || explode.args.get("outer").is_some_and(|outer| outer == true) {
        return Err(no());
    }
    Ok(Transform {
        class: "WordCount",
        keys: vec![
            ("column", column.to_owned()),
            ("split", "space".to_owned()),
            ("word.column", word),
            ("count.column", count.to_owned()),
        ],
    })
}

/// Refuses what the mapping of an operator does not know.
fn only(op: &Op, known: &[&str]) -> Result<(), Unsupported> {
    match op.args.iter().find(|(name, value)| !value.is_null() && !known.contains(&name.as_str())) {
        Some((name, _)) => Err(format!("operator {} with {name}", op.op)),
        None => Ok(()),
    }
}

fn text(op: &Op, name: &str) -> Result<String, Unsupported> {
    op.args.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| unsupported(&op.op, op))
}

fn texts(op: &Op, name: &str) -> Result<Vec<String>, Unsupported> {
    let list = op.args.get(name).and_then(Value::as_array).ok_or_else(|| unsupported(&op.op, op))?;
    list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| unsupported(&op.op, op))).collect()
}

fn unsupported(name: &str, op: &Op) -> Unsupported {
    let args: Map<String, Value> =
        op.args.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    format!("operator {name} {}", Value::Object(args))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapped(ops: Value) -> Result<RawConfig, Unsupported> {
        let case = json!({
            "sources": { "e": { "format": "csv", "path": "input", "schema": [["a b", "int"], ["v", "string"]],
                                "options": { "header": "true" }, "max_files_per_trigger": 1 } },
            "query": { "from": "e", "ops": ops }, "output_mode": "append", "runs": [], "ansi": false,
        });
        let case: Case = serde_json::from_value(case).unwrap();
        pipeline(&case, &case.query, Path::new("/in"))
    }

    #[test]
    fn sources_and_stateless_operators() {
        let raw = mapped(json!([
            { "op": "filter", "where": "v > 'a'" },
            { "op": "select", "exprs": ["*", "`a b` + 1 AS c"] },
            { "op": "rename", "columns": { "c": "d" } },
            { "op": "explode", "array": "split(v, ',')", "as": "x", "outer": true },
        ]));
        let raw = raw.unwrap();
        for (key, value) in [
            ("source.schema", "`a b` int, `v` string"),
            ("source.path", "/in/input"),
            ("source.header", "true"),
            ("source.max.files.per.trigger", "1"),
            ("transforms", "t0,t1,t2,t3"),
            ("transforms.t0.condition", "v > 'a'"),
            ("transforms.t0.ansi", "false"),
            ("transforms.t1.columns", "*, `a b` + 1 AS c"),
            ("transforms.t2.rename", "`c`:`d`"),
            ("transforms.t3.columns", "*, explode_outer(split(v, ',')) AS `x`"),
        ] {
            assert_eq!(raw.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn words_and_their_count() {
        let explode = json!({ "op": "explode", "array": "split(v, ' ')", "as": "w", "outer": false });
        let count = json!({ "op": "aggregate", "keys": ["w"], "aggs": ["count(*) AS n"] });
        let raw = mapped(json!([explode, count])).unwrap();
        assert_eq!(raw["transforms.t0.type"], "WordCount");
        assert_eq!((raw["transforms.t0.word.column"].as_str(), raw["transforms.t0.count.column"].as_str()), ("w", "n"));
        let sum = json!({ "op": "aggregate", "keys": ["w"], "aggs": ["sum(n) AS n"] });
        assert!(mapped(json!([explode, sum])).unwrap_err().starts_with("operator aggregate {"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let window = json!({ "op": "aggregate", "keys": [], "aggs": [], "window": { "column": "t" }, "session": null });
        let ops = json!([{ "op": "watermark", "column": "t" }, window]);
        assert_eq!(mapped(ops).unwrap_err(), "operators aggregate (window), watermark");
        assert_eq!(mapped(json!([{ "op": "dedup", "keys": ["v"] }])).unwrap_err(), "operator dedup");
        assert_eq!(mapped(json!([{ "op": "filter", "where": "v", "x": 1 }])).unwrap_err(), "operator filter with x");
    }
}
