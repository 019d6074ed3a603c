//! The README's tables of options are those of the definitions.

use levada_connector_api::Plugin;
use levada_transform_aggregate::{Deduplicate, Union, Watermark, WindowedAggregate, WordCount};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_readme_has_every_option() {
    let before = std::fs::read_to_string(README).unwrap();
    let mut after = before.clone();
    let plugins: [(&str, &dyn Plugin); 5] = [
        ("windowed-aggregate", &WindowedAggregate),
        ("watermark", &Watermark),
        ("deduplicate", &Deduplicate),
        ("union", &Union),
        ("word-count", &WordCount),
    ];
    for (name, plugin) in plugins {
        let start = format!("<!-- options:{name} -->\n");
        let from = after.find(&start).expect("a marker that begins the options") + start.len();
        let to = from + after[from..].find("<!-- /options -->").expect("a marker that ends the options");
        after.replace_range(from..to, &plugin.config_def().to_markdown("transforms.<alias>."));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(README, after).unwrap();
    } else {
        assert_eq!(before, after, "the options have changed: run this test with UPDATE_DOCS=1");
    }
}
