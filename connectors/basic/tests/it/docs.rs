//! The README's tables of options are those of the definitions.

use levada_connector_api::Plugin;
use levada_connector_basic::{console::Console, datagen::Datagen, null::Null};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_readme_has_every_option() {
    let before = std::fs::read_to_string(README).unwrap();
    let mut after = before.clone();
    let tables: [(&str, &dyn Plugin, &str); 3] =
        [("console", &Console, "sink."), ("datagen", &Datagen, "source."), ("null", &Null, "sink.")];
    for (name, plugin, prefix) in tables {
        let start = format!("<!-- options:{name} -->\n");
        let from = after.find(&start).unwrap_or_else(|| panic!("README.md has no marker {start}")) + start.len();
        let to = from + after[from..].find("<!-- /options -->").expect("a marker that ends the options");
        after.replace_range(from..to, &plugin.config_def().to_markdown(prefix));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(README, after).unwrap();
    } else {
        assert_eq!(before, after, "the options have changed: run this test with UPDATE_DOCS=1");
    }
}
