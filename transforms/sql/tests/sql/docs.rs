//! The README's tables of options are those of the definitions: `UPDATE_DOCS=1 cargo test` writes them.

use levada_connector_api::Registry;

#[test]
fn the_readme_lists_the_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let mut registry = Registry::new();
    levada_transform_sql::register(&mut registry).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let mut wanted = text.clone();
    for (_, plugin) in registry.list() {
        let marker = format!("<!-- options:{} -->\n", plugin.name().to_lowercase());
        let (before, rest) = wanted.split_once(&marker).unwrap();
        let (_, after) = rest.split_once("<!-- /options -->").unwrap();
        let table = plugin.config_def().to_markdown("transforms.<alias>.");
        wanted = format!("{before}{marker}{table}<!-- /options -->{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "README.md is out of date: run UPDATE_DOCS=1 cargo test -p levada-transform-sql");
    }
}
