use levada_connector_api::Plugin as _;
use levada_connector_postgres::PostgresSinkPlugin;

/// The option table of the README is made from the definition: `UPDATE_DOCS=1 cargo test` writes it.
#[test]
fn the_readme_lists_the_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let marker = "<!-- options:sink -->\n";
    let (before, rest) = text.split_once(marker).unwrap();
    let (_, after) = rest.split_once("<!-- /options -->").unwrap();
    let table = PostgresSinkPlugin.config_def().to_markdown("sink.");
    let wanted = format!("{before}{marker}{table}<!-- /options -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "README.md is out of date: run UPDATE_DOCS=1 cargo test -p levada-connector-postgres");
    }
}
