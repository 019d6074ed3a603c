//! `levada plugin` and `levada checkpoint`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use levada_connector_api::config::nearest;
use levada_connector_api::{PluginKind, Registry};
use levada_engine::checkpoint::{Record, open_store, read_log};
use serde_json::json;

use crate::{Exit, print, say};

/// Lists the plugins.
pub(crate) fn list(registry: &Registry, as_json: bool) -> Result<(), Exit> {
    let mut out = String::new();
    let all = registry.list();
    if as_json {
        let plugins: Vec<_> = all
            .iter()
            .map(|(kind, p)| json!({"kind": kind.as_str(), "class": p.name(), "version": p.version(), "aliases": p.aliases(), "doc": p.doc()}))
            .collect();
        let _ = writeln!(out, "{}", serde_json::Value::from(plugins));
        return print(&out);
    }
    for (kind, plugin) in all {
        let _ = writeln!(
            out,
            "{:<10} {:<18} {:<8} {}",
            kind.as_str(),
            plugin.name(),
            plugin.version(),
            plugin.doc().trim_end_matches('.')
        );
    }
    print(&out)
}

/// Shows the options of all plugins called `name`.
pub(crate) fn describe(registry: &Registry, name: &str) -> Result<(), Exit> {
    if name.eq_ignore_ascii_case("pipeline") {
        return print(&format!("# Pipeline\n\n{}", levada_engine::pipeline::definition().to_markdown("")));
    }
    if name.eq_ignore_ascii_case("functions") {
        let (functions, aggregates) = levada_transform_sql::functions();
        let list = |names: Vec<&str>| names.join(", ");
        return print(&format!(
            "# Functions of Spark SQL\n\n{}\n\n# Aggregates\n\n{}\n",
            list(functions),
            list(aggregates)
        ));
    }
    let mut out = String::new();
    let all = registry.list();
    for (kind, plugin) in &all {
        let called =
            plugin.name().eq_ignore_ascii_case(name) || plugin.aliases().iter().any(|a| a.eq_ignore_ascii_case(name));
        if called {
            let prefix = match kind {
                PluginKind::Source => "source.",
                PluginKind::Sink => "sink.",
                PluginKind::Transform => "transforms.<alias>.",
                PluginKind::DeadLetters => "errors.deadletterqueue.",
            };
            let _ = writeln!(
                out,
                "# {} ({}, {})\n\n{}\n",
                plugin.name(),
                kind.as_str(),
                plugin.version(),
                plugin.doc().trim_end_matches('.')
            );
            let _ = writeln!(out, "{}", plugin.config_def().to_markdown(prefix));
        }
    }
    if out.is_empty() {
        let near = nearest(name, all.iter().map(|(_, plugin)| plugin.name()));
        let hint =
            near.map_or("'levada plugin list' shows them all".to_owned(), |near| format!("did you mean '{near}'?"));
        say(&format!("error: no plugin is called '{name}'; {hint}"));
        return Err(Exit::Usage);
    }
    print(&out)
}

/// How many partitions are listed for people.
const SHOWN: usize = 20;

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The folders at or below `location` that hold a checkpoint log.
fn find(location: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(location) else { return };
    let mut folders = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "log") {
            found.push(location.to_owned());
            return;
        }
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    if depth > 0 {
        folders.iter().for_each(|folder| find(folder, depth - 1, found));
    }
}

/// Shows what checkpoints hold.
pub(crate) async fn checkpoint(location: &Path, as_json: bool) -> Result<(), Exit> {
    let mut logs = Vec::new();
    find(location, 4, &mut logs);
    if logs.is_empty() {
        say(&format!("error: {}: there is no checkpoint here", location.display()));
        return Err(Exit::Usage);
    }
    for log in logs {
        let failed = |error: levada_connector_api::Error| {
            say(&format!("error: {error}"));
            if error.kind() == levada_connector_api::ErrorKind::Fenced { Exit::InUse } else { Exit::Failed }
        };
        let mut store = open_store(&log.display().to_string()).await.map_err(failed)?;
        let (recovered, records) = read_log(store.as_mut()).await.map_err(failed)?;
        let state: Vec<_> = recovered
            .state
            .iter()
            .map(|entry| {
                let rows: u64 = entry.sections.iter().map(|section| section.rows).sum();
                json!({"transform": entry.transform, "kind": if entry.snapshot { "snapshot" } else { "delta" }, "rows": rows, "bytes": entry.data.len()})
            })
            .collect();
        let value = json!({
            "location": log, "pipeline": recovered.pipeline, "id": recovered.id, "epoch": recovered.epoch,
            "lastBatch": recovered.last, "pendingBatch": recovered.pending.as_ref().map(|p| p.batch_id),
            "offsets": recovered.offsets, "state": state, "records": records.len(),
        });
        if as_json {
            print(&format!("{value}\n"))?;
            continue;
        }
        let mut out = String::new();
        let text = |value: Option<u64>| value.map_or("none".to_owned(), |v| v.to_string());
        let _ = writeln!(out, "{}", log.display());
        let _ = writeln!(out, "  pipeline       {}", recovered.pipeline.unwrap_or_default());
        let _ = writeln!(out, "  id             {}", recovered.id.unwrap_or_default());
        let _ = writeln!(out, "  runs           {}", recovered.epoch);
        let _ = writeln!(out, "  last batch     {}", text(recovered.last));
        let _ = writeln!(out, "  pending batch  {}", text(recovered.pending.map(|p| p.batch_id)));
        let _ = writeln!(out, "  offsets        {}", count(recovered.offsets.len(), "partition"));
        for (partition, offset) in recovered.offsets.iter().take(SHOWN) {
            let _ = writeln!(out, "    {partition} at {}", offset.position);
        }
        if recovered.offsets.len() > SHOWN {
            let _ = writeln!(out, "    … and {} more; --json shows all", recovered.offsets.len() - SHOWN);
        }
        let _ = writeln!(out, "  state          {}", count(state.len(), "piece"));
        for entry in &state {
            let field = |name: &str| entry[name].as_str().map_or_else(|| entry[name].to_string(), str::to_owned);
            let _ = writeln!(
                out,
                "    {}: {} of {} rows, {} bytes",
                field("transform"),
                field("kind"),
                field("rows"),
                field("bytes")
            );
        }
        let _ = writeln!(out, "  last records");
        for record in records.iter().rev().take(5).rev() {
            let line = match record {
                Record::Snapshot(snapshot) => match snapshot.batch_id {
                    Some(batch) => format!("snapshot after batch {batch}"),
                    None => "begun".to_owned(),
                },
                Record::Start(start) => format!("run {} begins", start.epoch),
                Record::Prepare(prepared) => format!("batch {} prepared: {} rows", prepared.batch_id, prepared.rows),
                Record::Commit { batch_id, .. } => format!("batch {batch_id} committed"),
                Record::Seal { .. } => "sealed".to_owned(),
            };
            let _ = writeln!(out, "    {line}");
        }
        print(&out)?;
    }
    Ok(())
}
