use levada_connector_api::testkit::readme_lists_options;
use levada_connector_kafka::{KafkaDeadLetterPlugin, KafkaSinkPlugin, KafkaSourcePlugin};

#[test]
fn the_readme_lists_the_options() {
    let tables: [(&str, &dyn levada_connector_api::Plugin, &str); 3] = [
        ("source", &KafkaSourcePlugin, "source."),
        ("sink", &KafkaSinkPlugin, "sink."),
        ("dead-letters", &KafkaDeadLetterPlugin, "errors.deadletterqueue."),
    ];
    readme_lists_options(env!("CARGO_MANIFEST_DIR"), &tables);
}
