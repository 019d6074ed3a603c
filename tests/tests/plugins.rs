//! Source, transform and sink out of libraries, killed: each row is in the table once, 0 lost, 0 doubled.

use levada_services::libraries::{c_example, example};
use serde_json::json;

use crate::crash::{fail_at_points, kill_at_points, kill_at_random};
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

#[test]
fn plugins_killed_at_every_fault_point() {
    let case = rust();
    let points = crate::crash::points(&case);
    for own in ["sqlite.commit.before", "sqlite.commit.after"] {
        assert!(points.contains_key(own), "a library's own fault points are passed, too: {points:?}");
    }
    kill_at_points(&case, |_| true);
}

#[test]
fn plugins_failing_at_every_fault_point_go_on_by_themselves() {
    fail_at_points(&rust());
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
