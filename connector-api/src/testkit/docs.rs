//! The option tables of a crate's README.

use crate::Plugin;

/// Checks that the README of the crate in `folder` (`env!("CARGO_MANIFEST_DIR")`) has the option tables that are made from
/// the plugins' definitions. A table is named by its marker, `<!-- options:NAME -->`; its keys stand behind the prefix. With
/// `UPDATE_DOCS=1` the tables are written instead.
///
/// # Panics
/// A marker is missing, or the tables are others.
pub fn readme_lists_options(folder: &str, tables: &[(&str, &dyn Plugin, &str)]) {
    let path = format!("{folder}/README.md");
    let before = std::fs::read_to_string(&path).unwrap();
    let mut after = before.clone();
    for (name, plugin, prefix) in tables {
        let marker = format!("<!-- options:{name} -->\n");
        let from = after.find(&marker).unwrap_or_else(|| panic!("{path} has no marker {marker}")) + marker.len();
        let to = from + after[from..].find("<!-- /options -->").expect("a marker that ends the options");
        after.replace_range(from..to, &plugin.config_def().to_markdown(prefix));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, after).unwrap();
    } else {
        assert_eq!(before, after, "the options have changed: run this test with UPDATE_DOCS=1");
    }
}
