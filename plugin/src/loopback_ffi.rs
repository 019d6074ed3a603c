//! Plugins of this process by way of their own tables: for tests that what holds directly holds behind the boundary, too.
#![allow(unsafe_code, reason = "tables of this process are read")]

use std::sync::{Arc, Once};

use levada_connector_api::{Error, PluginKind, Registry, Result};

use crate::abi::{Library, Str};
use crate::guest::{self, Exported};
use crate::host::{ClassInfo, DirectClass, add_to, host_table};

/// A class by way of its table.
///
/// # Errors
/// The class has no name.
pub fn through_table(exported: Exported) -> Result<Arc<DirectClass>> {
    // The author's side of this process has the host of this process.
    static HOST: Once = Once::new();
    HOST.call_once(|| {
        let mut library = Library {
            struct_size: size_of::<Library>() as u32,
            abi_minor: 0,
            build_info: Str::of(b""),
            classes: std::ptr::null(),
            n_classes: 0,
        };
        // SAFETY: two tables of this process.
        let code = unsafe { guest::enter(host_table(), &raw mut library, "loopback 1", Vec::new) };
        debug_assert_eq!(code, 0);
    });
    // SAFETY: `export` makes tables that live for ever.
    Ok(Arc::new(unsafe { DirectClass::of(guest::export(exported), "loopback 1") }?))
}

/// A registry with the same plugins, each by way of its table. Queues for bad rows, which have none, stay as they are.
///
/// # Errors
/// A plugin's description does not survive the way.
pub fn loopback(registry: &Registry) -> Result<Registry> {
    let mut tables = registry.without_plugins();
    for (kind, plugin) in registry.list() {
        let exported = match kind {
            PluginKind::Source => Exported::shared_source(registry.source(plugin.name())?),
            PluginKind::Transform => Exported::shared_transform(registry.transform(plugin.name())?),
            PluginKind::Sink => Exported::shared_sink(registry.sink(plugin.name())?),
            PluginKind::DeadLetters => continue,
        };
        let class = through_table(exported)?;
        let place = |e: Error| e.context(format!("{} {}", kind.as_str(), plugin.name()));
        let info = ClassInfo::ask(&class).map_err(place)?;
        add_to(&mut tables, info, Box::new(class)).map_err(place)?;
    }
    Ok(tables)
}
