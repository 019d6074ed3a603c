use levada_connector_api::testkit::readme_lists_options;
use levada_connector_basic::{console::Console, datagen::Datagen, null::Null};

#[test]
fn the_readme_lists_the_options() {
    let tables: [(&str, &dyn levada_connector_api::Plugin, &str); 3] =
        [("console", &Console, "sink."), ("datagen", &Datagen, "source."), ("null", &Null, "sink.")];
    readme_lists_options(env!("CARGO_MANIFEST_DIR"), &tables);
}
