//! The README's table of options is that of the definition.

use levada_connector_api::Plugin;
use levada_transform_model::DecisionTree;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_readme_has_every_option() {
    let before = std::fs::read_to_string(README).unwrap();
    let mut after = before.clone();
    let start = "<!-- options:decision-tree -->\n";
    let from = after.find(start).expect("a marker that begins the options") + start.len();
    let to = from + after[from..].find("<!-- /options -->").expect("a marker that ends the options");
    after.replace_range(from..to, &DecisionTree.config_def().to_markdown("transforms.<alias>."));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(README, after).unwrap();
    } else {
        assert_eq!(before, after, "the options have changed: run this test with UPDATE_DOCS=1");
    }
}
