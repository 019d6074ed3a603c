//! What an author of plugins does: `plugin new`, `cargo test`, `plugin check`, `run`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use levada_services::libraries::{self, built, cargo, compile, root, succeeded};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn levada(folder: &Path) -> Command {
    let mut levada = Command::new(env!("CARGO_BIN_EXE_levada"));
    levada.current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    levada
}

fn check(library: &Path, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    levada(folder.path()).args(["plugin", "check"]).arg(library).args(more).output().unwrap()
}

/// A crate of `plugin new`, tested; its library.
fn made(folder: &Path, name: &str, kind: &str) -> PathBuf {
    succeeded(levada(folder).args(["plugin", "new", name, "--kind", kind]));
    let own = folder.join(name);
    // Its versions are those of the example, which are there without the network.
    fs::copy(root().join("examples/hello-source/Cargo.lock"), own.join("Cargo.lock")).unwrap();
    let tested = succeeded(&mut cargo(&own, &["test", "--offline"]));
    let said = text(&tested.stdout);
    assert!(said.contains("it_keeps_the_contract ... ok") && !said.contains("0 passed; 0 failed; 1"), "{said}");
    assert!(!text(&tested.stderr).contains("warning"), "{}", text(&tested.stderr));
    libraries::rust(&own)
}

/// The crate's own pipeline, run.
fn run(folder: &Path, library: &Path) -> String {
    let pipeline = folder.join("pipeline.yaml");
    let mut levada = levada(folder);
    levada.args(["run", "--available-now"]).arg(pipeline).arg("--plugin-path").arg(library);
    text(&succeeded(&mut levada).stdout)
}

#[test]
fn a_new_source_is_tested_and_checked_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let library = made(folder.path(), "new-source", "source");
    let checked = check(&library, &[]);
    let said = text(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", text(&checked.stderr));
    for part in
        ["it loads: 'new-source 0.1.0', with 1 class", "NewSource: the contract of a source", "3 hold, 0 broken"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(run(&folder.path().join("new-source"), &library).contains("Good day"));
}

#[test]
fn a_new_transform_is_tested_and_checked_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let library = made(folder.path(), "new-transform", "transform");
    let checked = check(&library, &["--set", "column=name"]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert!(run(&folder.path().join("new-transform"), &library).contains("customer"));
    // What cannot be checked is told, with what to do.
    let unset = check(&library, &[]);
    let said = text(&unset.stdout);
    assert_eq!(unset.status.code(), Some(2), "{said}");
    assert!(said.contains("not checked") && said.contains("--set KEY=VALUE"), "{said}");
    let other = check(&library, &["--set", "column=name", "--columns", "id BIGINT"]);
    assert!(text(&other.stdout).contains("there is no column 'name'; there are id"), "{}", text(&other.stdout));
}

#[test]
fn a_new_sink_is_tested_and_checked_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let library = made(folder.path(), "new-sink", "sink");
    let target = format!("path={}", folder.path().join("checked").display());
    let checked = check(&library, &["--set", &target]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let own = folder.path().join("new-sink");
    run(&own, &library);
    let rows = fs::read_to_string(own.join("output/0000000000.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 10, "{rows}");
}

#[test]
fn the_examples_keep_the_contract() {
    for name in ["hello-source", "sqlite-sink"] {
        let tested = succeeded(&mut cargo(&root().join("examples").join(name), &["test", "--locked"]));
        assert!(text(&tested.stdout).contains("it_keeps_the_contract ... ok"), "{}", text(&tested.stdout));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = format!("path={}", folder.path().join("t.db").display());
    let checked = check(&libraries::example("sqlite-sink"), &["--set", &path, "--set", "table=t"]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    for name in ["count", "pass"] {
        let checked = check(&libraries::c_example(name), &[]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
    }
}

#[test]
fn what_is_there_or_has_no_name_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for (name, part) in [("there", "is there already"), ("No", "is no name for a crate")] {
        let refused = levada(folder.path()).args(["plugin", "new", name, "--kind", "sink"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
    }
    let elsewhere = levada(folder.path()).args(["plugin", "new", "x", "--kind", "sink", "--levada-path", "."]).output();
    assert!(text(&elsewhere.unwrap().stderr).contains("Levada's source is not here"));
    succeeded(levada(folder.path()).args([
        "plugin",
        "new",
        "x",
        "--kind",
        "sink",
        "--levada-git",
        "https://example.com/l",
    ]));
    let manifest = fs::read_to_string(folder.path().join("x/Cargo.toml")).unwrap();
    assert!(manifest.contains("levada-plugin = { git = \"https://example.com/l\" }"), "{manifest}");
}

#[test]
fn a_check_tells_what_a_library_does_to_it() {
    let code = built().join("checked.c");
    for (text_of, part) in [
        (
            "#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }",
            "it ended the process",
        ),
        ("extern int nothing; int nothing;", "levada_plugin_entry_v1"),
    ] {
        let library = built().join("libchecked.so");
        fs::write(&code, text_of).unwrap();
        compile(&code, &library);
        let checked = check(&library, &[]);
        let said = text(&checked.stdout);
        assert!(checked.status.code() == Some(1) && said.contains(part) && said.contains("broken"), "{said}");
    }
    let missing = check(Path::new("/nowhere/libx.so"), &[]);
    assert!(missing.status.code() == Some(1) && text(&missing.stdout).contains("/nowhere/libx.so"));
}
