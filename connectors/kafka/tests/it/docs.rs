use levada_connector_api::Plugin as _;
use levada_connector_kafka::{KafkaDeadLetterPlugin, KafkaSinkPlugin, KafkaSourcePlugin};

/// The option tables of the README are made from the definitions: `UPDATE_DOCS=1 cargo test` writes them.
#[test]
fn the_readme_lists_the_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut wanted = text.clone();
    for (name, table) in [
        ("source", KafkaSourcePlugin.config_def().to_markdown("source.")),
        ("sink", KafkaSinkPlugin.config_def().to_markdown("sink.")),
        ("dead-letters", KafkaDeadLetterPlugin.config_def().to_markdown("errors.deadletterqueue.")),
    ] {
        let marker = format!("<!-- options:{name} -->\n");
        let (before, rest) = wanted.split_once(&marker).unwrap();
        let (_, after) = rest.split_once("<!-- /options -->").unwrap();
        wanted = format!("{before}{marker}{table}<!-- /options -->{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "README.md is out of date: run UPDATE_DOCS=1 cargo test -p levada-connector-kafka");
    }
}
