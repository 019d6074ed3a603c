//! The invariants of ARCHITECTURE.md, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// No file is longer: one that needs a table of contents is two files.
const MAX_LINES: usize = 500;

/// A Rust file of the workspace, its name relative to the workspace's root.
pub(crate) struct RustFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

struct Package {
    name: String,
    /// The folder, relative to the workspace's root.
    folder: String,
    /// All dependencies, those of tests, too.
    dependencies: BTreeSet<String>,
    /// Those that are not of tests alone.
    shipped: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let base = metadata["workspace_root"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let package = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        Package {
            name: text(&package["name"]),
            folder: manifest.parent().unwrap().strip_prefix(base).unwrap().display().to_string(),
            dependencies: package["dependencies"].as_array().unwrap().iter().map(|d| text(&d["name"])).collect(),
            shipped: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .map(|d| text(&d["name"]))
                .collect(),
        }
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

pub(crate) fn rust_files() -> Vec<RustFile> {
    let mut files = Vec::new();
    for package in packages() {
        for part in ["src", "tests", "benches", "examples", "build.rs"] {
            collect(&root().join(&package.folder).join(part), &mut files);
        }
    }
    assert!(files.len() > 50, "only {} Rust files were found", files.len());
    files
}

fn collect(path: &Path, files: &mut Vec<RustFile>) {
    // A package below another's folder comes in its own turn.
    if path.is_dir() && !path.join("Cargo.toml").exists() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), files));
    } else if path.extension().is_some_and(|e| e == "rs") && path.is_file() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        files.push(RustFile { name, text: fs::read_to_string(path).unwrap() });
    }
}

/// The layer of a package, and the layers that it may name.
fn layer(folder: &str) -> (&'static str, &'static [&'static str]) {
    // Servers to test with; nothing that is shipped depends on them (see below).
    const LEAF: &[&str] = &["api", "leaf", "services"];
    match folder.split('/').collect::<Vec<_>>().as_slice() {
        ["connector-api"] => ("api", &[]),
        // The boundary that plugin libraries are written against, and their loader.
        ["plugin"] => ("boundary", &["api"]),
        ["runtime", "plugins"] => ("loader", &["api", "boundary", "services"]),
        ["runtime", "formats" | "storage"] => ("leaf", &["api"]),
        ["runtime", "expressions"] => ("expressions", LEAF),
        ["connectors", _] => ("connector", LEAF),
        // Grouped SQL is the aggregation operator: one transform crate knows another.
        ["transforms", "sql"] => ("transform", &["api", "leaf", "expressions", "operators"]),
        ["transforms", "aggregate"] => ("operators", &["api", "leaf", "expressions"]),
        ["transforms", _] => ("transform", &["api", "leaf", "expressions"]),
        ["runtime", "engine"] => ("engine", LEAF),
        ["runtime", "worker"] => ("worker", &["api", "leaf", "engine"]),
        ["runtime", "cli"] => (
            "cli",
            &[
                "api",
                "leaf",
                "connector",
                "transform",
                "operators",
                "engine",
                "worker",
                "services",
                "boundary",
                "loader",
            ],
        ),
        ["tests", "services"] => ("services", &[]),
        ["tests"] | ["tests", _] | ["examples", _] => (
            "tests",
            &[
                "api",
                "leaf",
                "expressions",
                "connector",
                "transform",
                "operators",
                "engine",
                "boundary",
                "loader",
                "worker",
                "cli",
                "tests",
                "services",
            ],
        ),
        _ => panic!("{folder} has no place in ARCHITECTURE.md and in this test"),
    }
}

#[test]
fn dependencies_between_crates_go_one_way() {
    let packages = packages();
    let layers: BTreeMap<_, _> = packages.iter().map(|p| (p.name.as_str(), layer(&p.folder).0)).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let (own, may) = layer(&package.folder);
        for dependency in &package.dependencies {
            let Some(other) = layers.get(dependency.as_str()) else { continue };
            // Formats and storage are leaves: they know the interface alone, not each other.
            if !may.contains(other) {
                wrong.push(format!("{} ({own}) depends on {dependency} ({other})", package.name));
            }
            if *other == "services" && package.shipped.contains(dependency) {
                wrong.push(format!("{} ships {dependency}, which is for tests", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn heavy_dependencies_live_in_one_crate() {
    let homes = [
        ("datafusion", "levada-expressions"),
        ("rdkafka", "levada-connector-kafka"),
        ("deltalake", "levada-connector-delta"),
    ];
    let mut wrong = Vec::new();
    for package in packages() {
        for dependency in &package.dependencies {
            for (heavy, home) in homes {
                if dependency.starts_with(heavy) && package.name != home {
                    wrong.push(format!("{} depends on {dependency}, which belongs into {home}", package.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_and_the_interface_name_no_plugin() {
    let mut plugins = BTreeSet::new();
    for package in packages().iter().filter(|p| matches!(layer(&p.folder).0, "connector" | "transform")) {
        plugins.extend([package.name.clone(), package.name.replace('-', "_")]);
    }
    let mut wrong = Vec::new();
    for file in
        rust_files().iter().filter(|f| f.name.starts_with("runtime/engine") || f.name.starts_with("connector-api"))
    {
        let named = plugins.iter().filter(|plugin| file.text.contains(plugin.as_str()));
        wrong.extend(named.map(|plugin| format!("{} names {plugin}", file.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A connector has a README, a `lib.rs`, and for each plugin a folder with `config.rs` and beside it `source` or `sink`.
#[test]
fn every_connector_has_the_same_files() {
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|p| p.folder.starts_with("connectors/")) {
        let folder = root().join(&package.folder);
        for file in ["README.md", "src/lib.rs"] {
            if !folder.join(file).is_file() {
                wrong.push(format!("{}/{file} is missing", package.folder));
            }
        }
        let mut folders = vec![folder.join("src")];
        let mut plugins = 0;
        while let Some(folder) = folders.pop() {
            let entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            let has = |file: &str| folder.join(file).is_file();
            // A long one is a folder: `source/mod.rs`.
            let end = ["source", "sink", "queue"]
                .iter()
                .any(|end| has(&format!("{end}.rs")) || has(&format!("{end}/mod.rs")));
            let name = folder.strip_prefix(root()).unwrap().display().to_string();
            match (has("config.rs"), end) {
                (true, true) => plugins += 1,
                (true, false) => wrong.push(format!("{name} has config.rs, but no source, sink or queue beside it")),
                (false, true) => {
                    wrong.push(format!("{name} has a source, a sink or a queue, but no config.rs beside it"))
                }
                (false, false) => {}
            }
            folders.extend(entries.into_iter().filter(|path| path.is_dir()));
        }
        if plugins == 0 {
            wrong.push(format!("{} has no plugin", package.folder));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_rust_file_is_too_long() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines; {MAX_LINES} are enough", file.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    // Put together so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimplemented", "!"), concat!("to", "do!(")];
    let mut wrong = Vec::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(*word));
            wrong.extend(found.map(|word| format!("{}, line {}: {word}", file.name, number + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lints, versions and features stand in the workspace's Cargo.toml, once.
#[test]
fn crates_take_lints_and_versions_from_the_workspace() {
    let mut wrong = Vec::new();
    for package in packages() {
        let manifest = fs::read_to_string(root().join(&package.folder).join("Cargo.toml")).unwrap();
        let (mut section, mut lints) = (String::new(), false);
        for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if section == "lints" && line == "workspace = true" {
                lints = true;
            } else if section.ends_with("dependencies") && !line.contains("workspace") {
                wrong.push(format!("{}: [{section}] {line}", package.folder));
            }
        }
        if !lints {
            wrong.push(format!("{}: '[lints] workspace = true' is missing", package.folder));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
