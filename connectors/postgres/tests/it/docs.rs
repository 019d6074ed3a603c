use levada_connector_api::testkit::readme_lists_options;
use levada_connector_postgres::PostgresSinkPlugin;

#[test]
fn the_readme_lists_the_options() {
    let tables: [(&str, &dyn levada_connector_api::Plugin, &str); 1] = [("sink", &PostgresSinkPlugin, "sink.")];
    readme_lists_options(env!("CARGO_MANIFEST_DIR"), &tables);
}
