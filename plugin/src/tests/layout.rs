//! What others were built against must not change.

use std::fs;
use std::path::Path;

use crate::abi::{header, layout};

fn file(name: &str) -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    (path, text)
}

#[test]
fn the_layout_only_grows() {
    let (path, kept) = file("abi/layout-v1.txt");
    let now = layout();
    let lost: Vec<_> = kept.lines().filter(|line| !now.lines().any(|other| other == *line)).collect();
    assert!(lost.is_empty(), "plugins that exist were built against this, and it is gone:\n{}", lost.join("\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, now).unwrap();
    } else {
        assert_eq!(kept, now, "the layout has grown: keep it with UPDATE_DOCS=1");
    }
}

#[test]
fn the_header_is_up_to_date() {
    let (path, kept) = file("include/levada_plugin.h");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, header()).unwrap();
    } else {
        assert_eq!(kept, header(), "write the header with UPDATE_DOCS=1");
    }
}
