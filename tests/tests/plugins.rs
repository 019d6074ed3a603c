//! Source, transform and sink out of libraries, killed: each row is in the table once, 0 lost, 0 doubled.

use levada_services::libraries::{c_example, example};
use serde_json::json;

use crate::crash::{kill_at_points, kill_at_random};
use crate::support::Case;

/// A source and a sink in Rust.
fn rust() -> Case {
    let libraries = [example("hello-source"), example("sqlite-sink")].map(|path| path.display().to_string()).join(",");
    let row = |n| json!({"n": n, "text": "Good day, rows!"});
    Case::numbers("rust plugins", &[("source.class", "Hello"), ("source.name", "rows"), ("source.count", "1000")], row)
        .with("plugin.path", &libraries)
}

/// A source and a transform in C, and the sink in Rust.
fn c() -> Case {
    let libraries = [c_example("count"), c_example("pass"), example("sqlite-sink")];
    Case::numbers("c plugins", &[("source.class", "CountC"), ("source.count", "1000")], |n| json!({"n": n}))
        .with("plugin.path", &libraries.map(|path| path.display().to_string()).join(","))
        .with("transforms", "pass")
        .with("transforms.pass.type", "PassC")
}

/// The points at which a library is at work, its own among them; the runtime's are tested without libraries, too.
fn at_work(point: &str) -> bool {
    ["sqlite.", "sink.", "read.", "source."].iter().any(|stage| point.starts_with(stage))
}

#[test]
fn plugins_killed_at_their_fault_points() {
    let case = rust();
    let points = crate::crash::points(&case);
    for own in ["sqlite.commit.before", "sqlite.commit.after"] {
        assert!(points.contains_key(own), "a library's own fault points are passed, too: {points:?}");
    }
    kill_at_points(&case, at_work);
}

#[test]
fn plugins_failing_at_their_own_fault_points_go_on_by_themselves() {
    let case = rust();
    let expected = case.uninterrupted();
    for point in ["sqlite.commit.before:1", "sqlite.commit.after:1", "sqlite.commit.after:10"] {
        let site = case.site();
        let ended = site.run(&["--fail-at", point]).succeeded();
        assert!(ended.said.contains("restarting: "), "{point}: {}", ended.said);
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("{point}: {problem}"));
    }
}

#[test]
fn plugins_killed_at_random_moments() {
    kill_at_random(&rust(), 31);
    kill_at_random(&c(), 32);
}

#[test]
fn plugins_in_processes_of_their_own_killed_at_random_moments() {
    kill_at_random(&c().with("plugin.isolation", "process"), 33);
}
