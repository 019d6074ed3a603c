//! `levada plugin new`: a crate that builds, with tests that are green.

use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{NewPlugin, PluginType};
use crate::{Exit, print, say};

// The example is the template: what the tests build and run is what a new plugin begins as.
const MANIFEST: &str = include_str!("../../../examples/hello-source/Cargo.toml");
const SOURCE: &str = include_str!("../../../examples/hello-source/src/lib.rs");
const TRANSFORM: &str = include_str!("../templates/transform.rs");
const SINK: &str = include_str!("../templates/sink.rs");

/// `my-source` as the name of a type: `MySource`.
fn camel(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split('-').map(capital).collect()
}

/// The folder of Levada's source that `folder` lies in.
fn clone_around(folder: &Path) -> Option<PathBuf> {
    let is_plugin = |manifest: String| manifest.lines().any(|line| line == "name = \"levada-plugin\"");
    let has = |folder: &&Path| fs::read_to_string(folder.join("plugin/Cargo.toml")).is_ok_and(is_plugin);
    folder.ancestors().find(has).map(Path::to_owned)
}

/// Levada's source as this program can find it: around itself, around the current folder, or where it was built.
fn clone() -> Option<PathBuf> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let places = [program, std::env::current_dir().ok(), Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")))];
    places.into_iter().flatten().find_map(|place| clone_around(&place))
}

/// How a crate names `levada-plugin`: what stands between the braces.
fn dependency(args: &NewPlugin) -> Result<String, String> {
    // A path in TOML needs its quotes escaped; a debug string does so.
    if let Some(url) = &args.levada_git {
        return Ok(format!("git = {url:?}"));
    }
    let clone = match &args.levada_path {
        Some(path) => {
            let found = path.canonicalize().ok().and_then(|path| clone_around(&path));
            found.ok_or_else(|| format!("{}: Levada's source is not here", path.display()))?
        }
        None => clone().ok_or(
            "Levada's source is not found; name its folder with --levada-path, or its repository with --levada-git",
        )?,
    };
    let path = clone.join("plugin");
    let path = path.to_str().ok_or_else(|| format!("{}: the path is no UTF-8", path.display()))?;
    Ok(format!("path = {path:?}"))
}

fn manifest(name: &str, dependency: &str) -> String {
    let manifest = MANIFEST.replace("\"hello-source\"", &format!("\"{name}\""));
    manifest.replace("path = \"../../plugin\"", dependency)
}

fn pipeline(kind: PluginType, class: &str) -> String {
    match kind {
        PluginType::Source => format!("source.class: {class}\nsink.class: Console\n"),
        PluginType::Transform => format!(
            "source:\n  class: Datagen\n  kind: orders\n  rows: 10\ntransforms: own\ntransforms.own:\n  type: {class}\n  \
             column: customer\nsink.class: Console\n"
        ),
        PluginType::Sink => {
            format!("source:\n  class: Datagen\n  rows: 10\nsink:\n  class: {class}\n  path: ${{dir}}/output\n")
        }
    }
}

fn readme(kind: PluginType, name: &str) -> String {
    let options = match kind {
        PluginType::Source => "",
        PluginType::Transform => " --set column=id",
        PluginType::Sink => " --set path=/tmp/check-me",
    };
    let library = library(name);
    format!(
        "# {name}\n\nA plugin for Levada.\n\n    cargo test\n    cargo build --release\n    \
         levada plugin check target/release/{library}{options}\n    \
         levada run pipeline.yaml --plugin-path target/release/{library}\n"
    )
}

fn library(name: &str) -> String {
    format!("{}{}{}", std::env::consts::DLL_PREFIX, name.replace('-', "_"), std::env::consts::DLL_SUFFIX)
}

/// The files of a new plugin, by their names.
fn files(name: &str, kind: PluginType, dependency: &str) -> [(&'static str, String); 5] {
    let class = camel(name);
    let code = match kind {
        PluginType::Source => SOURCE,
        PluginType::Transform => TRANSFORM,
        PluginType::Sink => SINK,
    };
    [
        ("Cargo.toml", manifest(name, dependency)),
        ("src/lib.rs", code.replace("Hello", &class)),
        ("pipeline.yaml", pipeline(kind, &class)),
        ("README.md", readme(kind, name)),
        (".gitignore", "/target\n/output\n/.levada\n".to_owned()),
    ]
}

fn is_name(name: &str) -> bool {
    let words = name.split('-').all(|word| !word.is_empty());
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    words && letters && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Writes a new plugin into a folder of its name.
pub(crate) fn create(args: &NewPlugin) -> Result<(), Exit> {
    let wrong = |text: String| {
        say(&format!("error: {text}"));
        Exit::Usage
    };
    let NewPlugin { name, kind, folder, .. } = args;
    if !is_name(name) {
        return Err(wrong(format!("'{name}' is no name for a crate; use small letters, digits and '-': my-source")));
    }
    let dependency = dependency(args).map_err(wrong)?;
    let folder = folder.join(name);
    if folder.exists() {
        return Err(wrong(format!("{} is there already; remove it, or take another name", folder.display())));
    }
    for (file, text) in files(name, *kind, &dependency) {
        let path = folder.join(file);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    }
    print(&format!("{}: class {}, with {dependency}; its README says what comes next\n", folder.display(), camel(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_classes_are_the_new_ones() {
        for (kind, name, class) in [
            (PluginType::Source, "ini-source", "IniSource"),
            (PluginType::Transform, "mask", "Mask"),
            (PluginType::Sink, "to-2-files", "To2Files"),
        ] {
            let all: String = files(name, kind, "path = \"/levada/plugin\"").map(|(_, text)| text).concat();
            assert!(
                all.contains(&format!("name = \"{name}\"")) && all.contains("{ path = \"/levada/plugin\" }"),
                "{all}"
            );
            assert!(all.contains(&format!("\"{class}\"")) && all.contains(&format!("pub struct {class};")), "{all}");
            assert!(!all.contains("Hello") && !all.contains("hello") && !all.contains("../"), "{all}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "-", "My", "2go", "a--b", "a b", "../x", "a-"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("my-source") && is_name("ini"));
    }
}
