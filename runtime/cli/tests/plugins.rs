//! Plugins in libraries, as a user runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where libraries are built: not in the source tree, and once for all tests.
fn built() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins")
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The library of the Rust example, built as its author would, but without the network.
fn hello() -> PathBuf {
    static HELLO: OnceLock<PathBuf> = OnceLock::new();
    HELLO
        .get_or_init(|| {
            let manifest = root().join("examples/hello-source/Cargo.toml");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--offline", "--manifest-path"]).arg(manifest);
            succeeded(cargo.arg("--target-dir").arg(built()));
            built().join("debug/libhello_source.so")
        })
        .clone()
}

/// The library of the C example.
fn pass() -> PathBuf {
    static PASS: OnceLock<PathBuf> = OnceLock::new();
    PASS.get_or_init(|| {
        fs::create_dir_all(built()).unwrap();
        let library = built().join("libpass.so");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
            .arg(root().join("plugin/include"));
        succeeded(cc.arg("-o").arg(&library).arg(root().join("examples/c-plugin/pass.c")));
        library
    })
    .clone()
}

struct Site(tempfile::TempDir);

impl Site {
    fn new(libraries: &[PathBuf]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir(site.path("plugins")).unwrap();
        for library in libraries {
            fs::copy(library, site.path("plugins").join(library.file_name().unwrap())).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn levada(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.env("XDG_CACHE_HOME", self.path("cache")).args(args);
        command.arg("--plugin-path").arg(self.path("plugins")).output().unwrap()
    }

    fn run(&self, more: &[&str]) -> Output {
        let pipeline = self.path("p.yaml");
        let text = "source:\n  class: Hello\n  name: plugin\n  count: 3\ntransforms: p\ntransforms.p.type: PassC\nsink.class: Console\n";
        fs::write(&pipeline, text).unwrap();
        let data = self.path("data");
        let mut args = vec!["run", "--available-now", "--data-dir", data.to_str().unwrap(), pipeline.to_str().unwrap()];
        args.extend(more);
        self.levada(&args)
    }
}

#[test]
fn a_pipeline_of_a_rust_source_and_a_c_transform_runs() {
    let site = Site::new(&[hello(), pass()]);
    for isolation in ["none", "process"] {
        let _ = fs::remove_dir_all(site.path("data"));
        let output = site.run(&["--plugin-isolation", isolation]);
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{isolation}: {said}");
        assert_eq!(printed.matches("Hello, plugin!").count(), 3, "{isolation}: {printed}{said}");
    }
    // The second run has nothing to do: the offsets came back.
    let again = site.run(&[]);
    assert!(again.status.success() && !text(&again.stdout).contains("Hello"), "{}", text(&again.stdout));
}

#[test]
fn libraries_are_listed_and_described_and_checked() {
    let site = Site::new(&[hello(), pass()]);
    // The second time from the cache.
    for _ in 0..2 {
        let listed = text(&site.levada(&["plugin", "list"]).stdout);
        assert!(listed.contains("Hello") && listed.contains("PassC"), "{listed}");
    }
    assert!(site.path("cache/levada/plugins.json").is_file());
    let described = text(&site.levada(&["plugin", "describe", "hello"]).stdout);
    assert!(described.contains("source.count") && described.contains("Who is greeted"), "{described}");
    let wrong = site.run(&["--set", "source.cuont=7"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean 'source.count'?"), "{}", text(&wrong.stderr));
}
