use levada_connector_api::testkit::readme_lists_options;
use levada_connector_files::{FilesSinkPlugin, FilesSourcePlugin};

#[test]
fn the_readme_lists_the_options() {
    let tables: [(&str, &dyn levada_connector_api::Plugin, &str); 2] =
        [("source", &FilesSourcePlugin, "source."), ("sink", &FilesSinkPlugin, "sink.")];
    readme_lists_options(env!("CARGO_MANIFEST_DIR"), &tables);
}
