//! Plugins in shared libraries.

use std::path::PathBuf;

use levada_connector_api::Registry;
use levada_plugin_loader::{Isolation, Options, Scanner, load};

use crate::args::PluginIsolation;
use crate::{Exit, say};

/// Where the answers of scans are kept: they are no state, and may be deleted at any time.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(home.join("levada").join("plugins.json"))
}

/// Adds the classes of the libraries on the plugin path. What cannot be used is said, and the others are used: a pipeline
/// that needs it will say so.
pub(crate) fn add(registry: &mut Registry, paths: &[PathBuf], isolation: PluginIsolation) -> Result<(), Exit> {
    if paths.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|e| {
        say(&format!("error: this program cannot be found, so plugins cannot be loaded: {e}"));
        Exit::Failed
    })?;
    let options = Options {
        paths: paths.to_vec(),
        isolation: match isolation {
            PluginIsolation::None => Isolation::None,
            PluginIsolation::Process => Isolation::Process,
        },
        cache: cache(),
        scanner: Scanner::new(program, &["plugin-child"]),
    };
    for problem in load(registry, &options).problems {
        say(&format!("warning: {problem}"));
    }
    Ok(())
}
