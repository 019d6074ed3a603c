//! Plugins in libraries, as a user runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use levada_services::libraries::{self, built, compile, copy_to, root};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The libraries of the examples.
fn examples() -> Vec<PathBuf> {
    vec![libraries::example("hello-source"), libraries::c_example("pass")]
}

struct Site(tempfile::TempDir);

impl Site {
    fn new(libraries: &[PathBuf]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        copy_to(&site.path("plugins"), libraries);
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
    let site = Site::new(&examples());
    for isolation in ["none", "process"] {
        let _ = fs::remove_dir_all(site.path("data"));
        let output = site.run(&["--plugin-isolation", isolation]);
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{isolation}: {said}");
        assert_eq!(printed.matches("Good day, plugin!").count(), 3, "{isolation}: {printed}{said}");
    }
    // The second run has nothing to do: the offsets came back.
    let again = site.run(&[]);
    assert!(again.status.success() && !text(&again.stdout).contains("Good day"), "{}", text(&again.stdout));
}

#[test]
fn libraries_are_listed_and_described_and_checked() {
    let site = Site::new(&examples());
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

#[test]
fn a_plugin_that_ends_its_process_fails_only_its_own_pipeline() {
    let fault = built().join("libfault-cli.so");
    compile(&root().join("runtime/plugins/tests/libraries/fault.c"), &fault);
    let site = Site::new(&[examples(), vec![fault]].concat());
    let good = "source:\n  class: Hello\n  name: plugin\n  count: 3\nsink.class: Console\n";
    let bad =
        "transforms: f\ntransforms.f:\n  type: Fault\n  fault: segfault\nrestart:\n  attempts: 1\n  delay: 5 ms\n";
    fs::write(site.path("good.yaml"), good).unwrap();
    fs::write(site.path("bad.yaml"), format!("{good}{bad}")).unwrap();
    let paths = ["data", "bad.yaml", "good.yaml"].map(|name| site.path(name).display().to_string());
    let [data, bad, good] = &paths;
    let ran = site.levada(&["run", "--available-now", "--data-dir", data, bad, good, "--plugin-isolation", "process"]);
    let (printed, said) = (text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert_eq!(printed.matches("Good day, plugin!").count(), 3, "{printed}{said}");
    for part in ["libfault-cli.so", "'Fault'", "process", "signal: 11"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // What a plugin logs in its own process is in the log of this one.
    assert!(said.contains("greeting") && said.contains("hello_source"), "{said}");
}
