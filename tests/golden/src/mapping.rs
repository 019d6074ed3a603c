//! A case as a pipeline: Spark's sources and operators in Levada's flat configuration.
//!
//! To teach the runner an operator, add a match arm to [`map_ops`] and a function beside [`filter`] that answers with
//! the transform's keys. What has no arm is skipped with the operator's name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use levada_connector_api::config::RawConfig;
use serde_json::{Map, Value};

use crate::case::{Case, Op, Query};
use crate::sink::GOLDEN;
use crate::sources::map_source;

/// Why a case cannot be expressed (yet).
pub(crate) type Unsupported = String;

/// A transform: its class and its keys.
struct Transform {
    class: &'static str,
    keys: Vec<(&'static str, String)>,
}

/// A transform in its place.
struct Placed {
    alias: String,
    /// What it reads: sources or transforms. Empty: the one before it.
    inputs: Vec<String>,
    transform: Transform,
}

/// The transforms of a query and of the streams that it is made of.
struct Chain<'a> {
    case: &'a Case,
    placed: Vec<Placed>,
    /// The sources that are read, each once.
    sources: Vec<String>,
    /// The streams that are placed, with where their rows come out.
    streams: BTreeMap<String, String>,
}

impl Chain<'_> {
    /// Places what `name` is and answers with where its rows come out: a source or a transform.
    fn stream(&mut self, name: &str) -> Result<String, Unsupported> {
        if let Some(end) = self.streams.get(name) {
            return Ok(end.clone());
        }
        if self.case.sources.contains_key(name) {
            if !self.sources.iter().any(|known| known == name) {
                self.sources.push(name.to_owned());
            }
            return Ok(name.to_owned());
        }
        let query = self.case.streams.get(name).ok_or_else(|| format!("a query from '{name}'"))?;
        let end = self.query(query)?;
        self.streams.insert(name.to_owned(), end.clone());
        Ok(end)
    }

    fn query(&mut self, query: &Query) -> Result<String, Unsupported> {
        let mut from = self.stream(&query.from)?;
        for part in map_ops(&query.ops, self.case.ansi)? {
            let inputs = match &part {
                Part::Union(with) => vec![from, self.stream(with)?],
                Part::Transform(_) => vec![from],
            };
            let transform = match part {
                Part::Union(_) => Transform { class: "Union", keys: vec![("ansi", self.case.ansi.to_string())] },
                Part::Transform(transform) => transform,
            };
            // State is found by its transform's alias: a filter more or less must not change it.
            let count = self.placed.iter().filter(|placed| placed.transform.class == transform.class).count();
            let alias = format!("{}{count}", transform.class.to_lowercase());
            self.placed.push(Placed { alias: alias.clone(), inputs, transform });
            from = alias;
        }
        Ok(from)
    }
}

/// The configuration of `query`, but for what changes with each run: trigger and checkpoint.
pub(crate) fn pipeline(case: &Case, query: &Query, folder: &Path) -> Result<RawConfig, Unsupported> {
    let unknown: BTreeSet<String> = case.ops().filter_map(unknown).collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        return Err(format!("operator{} {}", if names.len() > 1 { "s" } else { "" }, names.join(", ")));
    }
    if !case.tables.is_empty() {
        return Err("static tables".to_owned());
    }
    if case.timezone != "UTC" {
        return Err(format!("time zone {}", case.timezone));
    }
    let mut chain = Chain { case, placed: Vec::new(), sources: Vec::new(), streams: BTreeMap::new() };
    chain.query(query)?;

    let mut raw = RawConfig::new();
    let mut set = |key: &str, value: &str| raw.insert(key.to_owned(), value.to_owned());
    set("name", "golden");
    set("output.mode", &case.output_mode);
    set("restart.attempts", "0");
    set("sink.class", GOLDEN);
    if let Some(policy) = case.watermark_policy.as_deref() {
        set("watermark.policy", policy);
    }
    let several = chain.sources.len() > 1;
    if several {
        set("sources", &chain.sources.join(","));
    }
    for name in &chain.sources {
        let source = case.sources.get(name).ok_or_else(|| format!("a query from '{name}'"))?;
        let prefix = if several { format!("sources.{name}") } else { "source".to_owned() };
        for (key, value) in map_source(source, folder)? {
            set(&format!("{prefix}.{key}"), &value);
        }
    }
    let aliases: Vec<&str> = chain.placed.iter().map(|placed| placed.alias.as_str()).collect();
    set("transforms", &aliases.join(","));
    let lone = if several { None } else { chain.sources.first() };
    for (number, Placed { alias, inputs, transform }) in chain.placed.iter().enumerate() {
        set(&format!("transforms.{alias}.type"), transform.class);
        // Without inputs a transform reads the one before it, and the first one the source.
        if several || number > 0 || inputs.iter().any(|input| Some(input) != lone) {
            // The lone source has no alias that the configuration could name.
            let named: Vec<&str> =
                inputs.iter().map(|input| if Some(input) == lone { "source" } else { input }).collect();
            set(&format!("transforms.{alias}.inputs"), &named.join(","));
        }
        for (key, value) in &transform.keys {
            set(&format!("transforms.{alias}.{key}"), value);
        }
    }
    Ok(raw)
}

/// An operator, or several that are one.
enum Part {
    Transform(Transform),
    Union(String),
}

/// The name of an operator for which there is no transform at all.
fn unknown(op: &Op) -> Option<String> {
    match op.op.as_str() {
        "filter" | "select" | "rename" | "explode" | "aggregate" | "watermark" | "dedup" | "union" | "sql" => None,
        other => Some(other.to_owned()),
    }
}

/// The transforms of a chain of operators. Some need more than one operator.
fn map_ops(mut ops: &[Op], ansi: bool) -> Result<Vec<Part>, Unsupported> {
    let mut transforms = Vec::new();
    loop {
        let (transform, rest) = match ops {
            [] => return Ok(transforms),
            [explode, aggregate, rest @ ..] if is_word_count(explode, aggregate) => {
                (Part::Transform(word_count(explode, aggregate)?), rest)
            }
            [union, rest @ ..] if union.op == "union" => {
                only(union, &["with"])?;
                (Part::Union(text(union, "with")?), rest)
            }
            [op, rest @ ..] => {
                let transform = match op.op.as_str() {
                    "aggregate" => aggregate(op, ansi)?,
                    "watermark" => watermark(op)?,
                    "dedup" => dedup(op)?,
                    "filter" => filter(op, ansi)?,
                    "select" => select(op, ansi)?,
                    "rename" => rename(op)?,
                    "explode" => explode(op, ansi)?,
                    "sql" => sql(op, ansi)?,
                    other => return Err(unsupported(other, op)),
                };
                (Part::Transform(transform), rest)
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
    Ok(Transform { class: "Select", keys: vec![("rename", pairs.join(",")), ("rename.strict", "false".to_owned())] })
}

/// A query over what comes in, which it calls `input`.
fn sql(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["query"])?;
    Ok(Transform { class: "Sql", keys: vec![("query", text(op, "query")?), ("ansi", ansi.to_string())] })
}

/// A lone explode: a column beside all others.
fn explode(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["array", "as", "outer"])?;
    let outer = op.args.get("outer").and_then(Value::as_bool).unwrap_or(false);
    let function = if outer { "explode_outer" } else { "explode" };
    let columns = format!("*, {function}({}) AS {}", text(op, "array")?, quoted(&text(op, "as")?));
    let keys = vec![("columns", columns), ("replace", "true".to_owned()), ("ansi", ansi.to_string())];
    Ok(Transform { class: "Select", keys })
}

fn watermark(op: &Op) -> Result<Transform, Unsupported> {
    only(op, &["column", "delay"])?;
    Ok(Transform { class: "Watermark", keys: vec![("column", text(op, "column")?), ("delay", text(op, "delay")?)] })
}

fn dedup(op: &Op) -> Result<Transform, Unsupported> {
    only(op, &["keys", "within_watermark"])?;
    let columns = match op.args.get("keys") {
        None | Some(Value::Null) => String::new(),
        Some(_) => texts(op, "keys")?.join(","),
    };
    let within = op.args.get("within_watermark").and_then(Value::as_bool).unwrap_or(false);
    let mut keys = vec![("within.watermark", within.to_string())];
    if !columns.is_empty() {
        keys.push(("columns", columns));
    }
    Ok(Transform { class: "Deduplicate", keys })
}

/// An aggregation in windows, in sessions, or over everything.
fn aggregate(op: &Op, ansi: bool) -> Result<Transform, Unsupported> {
    only(op, &["keys", "aggs", "window", "session"])?;
    let mut keys = vec![("ansi", ansi.to_string())];
    let mut group = match op.args.get("keys") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => texts(op, "keys")?,
    };
    if let Some(window) = group.first().and_then(|first| window_key(first)) {
        keys.extend(window);
        group.remove(0);
    }
    keys.push(("group.by", group.join(", ")));
    keys.push(("aggregates", texts(op, "aggs")?.join(", ")));
    for (name, known) in
        [("window", ["column", "size", "slide", "offset"]), ("session", ["column", "gap", "gap_expr", ""])]
    {
        let Some(value) = op.args.get(name).filter(|value| !value.is_null()) else { continue };
        let fields = value.as_object().ok_or_else(|| unsupported("aggregate", op))?;
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let value = value.as_str().ok_or_else(|| unsupported("aggregate", op))?.to_owned();
            let key = match field.as_str() {
                "column" => "time",
                "size" => "window",
                "slide" => "slide",
                "offset" => "offset",
                "gap" | "gap_expr" => "session.gap",
                _ => return Err(unsupported("aggregate", op)),
            };
            if !known.contains(&field.as_str()) {
                return Err(unsupported("aggregate", op));
            }
            keys.push((key, value));
        }
    }
    Ok(Transform { class: "WindowedAggregate", keys })
}

/// The keys of `window(column, 'size', 'slide', 'offset') AS name`, of which the last ones may be missing.
fn window_key(text: &str) -> Option<Vec<(&'static str, String)>> {
    let rest = text.trim().strip_prefix("window(")?;
    let (args, rest) = rest.split_once(')')?;
    let mut args = args.split(',').map(str::trim);
    let mut keys = vec![("time", args.next()?.to_owned())];
    for (name, arg) in ["window", "slide", "offset"].into_iter().zip(args) {
        keys.push((name, arg.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()));
    }
    match rest.trim() {
        "" => {}
        rest => keys.push(("window.column", rest.strip_prefix("AS ")?.trim().trim_matches('`').to_owned())),
    }
    (keys.len() > 1).then_some(keys)
}

/// Whether an explode and an aggregation are what the word count does.
fn is_word_count(explode: &Op, aggregate: &Op) -> bool {
    explode.op == "explode" && aggregate.op == "aggregate" && word_count(explode, aggregate).is_ok()
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

pub(crate) fn quoted(name: &str) -> String {
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
            ("transforms", "filter0,select0,select1,select2"),
            ("transforms.filter0.condition", "v > 'a'"),
            ("transforms.filter0.ansi", "false"),
            ("transforms.select0.columns", "*, `a b` + 1 AS c"),
            ("transforms.select1.rename", "`c`:`d`"),
            ("transforms.select2.columns", "*, explode_outer(split(v, ',')) AS `x`"),
        ] {
            assert_eq!(raw.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn words_and_their_count() {
        let explode = json!({ "op": "explode", "array": "split(v, ' ')", "as": "w", "outer": false });
        let count = json!({ "op": "aggregate", "keys": ["w"], "aggs": ["count(*) AS n"] });
        let raw = mapped(json!([explode, count])).unwrap();
        assert_eq!(raw["transforms.wordcount0.type"], "WordCount");
        assert_eq!(
            (raw["transforms.wordcount0.word.column"].as_str(), raw["transforms.wordcount0.count.column"].as_str()),
            ("w", "n")
        );
        let sum = json!({ "op": "aggregate", "keys": ["w"], "aggs": ["sum(n) AS n"] });
        let raw = mapped(json!([explode, sum])).unwrap();
        assert_eq!(
            (raw["transforms"].as_str(), raw["transforms.windowedaggregate0.type"].as_str()),
            ("select0,windowedaggregate0", "WindowedAggregate")
        );
    }

    #[test]
    fn what_is_not_known_is_named() {
        let window = json!({ "op": "aggregate", "keys": [], "aggs": [], "window": { "column": "t", "x": "y" } });
        assert!(mapped(json!([window])).unwrap_err().starts_with("operator aggregate {"));
        assert_eq!(mapped(json!([{ "op": "join", "with": "v" }])).unwrap_err(), "operator join");
        assert_eq!(mapped(json!([{ "op": "filter", "where": "v", "x": 1 }])).unwrap_err(), "operator filter with x");
    }
}
