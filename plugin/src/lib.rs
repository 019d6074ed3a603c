//! Plugins as shared libraries over a stable C interface, from both sides.
//!
//! - An author implements the traits of [`api`] and names the classes in [`export!`]; [`guest`] makes the tables.
//! - A host finds the tables in a library and makes plugins of them again: [`host`].
//! - [`abi`] is the interface itself, for C, too.
//!
//! The guide is `docs/plugins.md`.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod abi;
mod columns_ffi;
mod config;
pub mod guest;
pub mod host;
#[cfg(any(test, feature = "testkit"))]
mod loopback_ffi;
mod memory_ffi;
mod wire;

#[cfg(test)]
mod tests;

/// Arrow as the interface has it: a plugin that uses it through here never has two versions of it.
pub use arrow;
pub use config::{ConfigField, Secret};
pub use levada_connector_api as api;
#[cfg(any(test, feature = "testkit"))]
pub use loopback_ffi::{loopback, through_table};
pub use memory_ffi::live_buffers;

/// Exports classes from a library: the one symbol that a host looks for.
///
/// ```ignore
/// levada_plugin::export! { source(MySource), transform(MyTransform), sink(MySink) }
/// ```
///
/// A crate that others link as a library should put it under a feature: a binary can have the symbol only once.
#[macro_export]
macro_rules! export {
    ($($kind:ident($class:expr)),+ $(,)?) => {
        /// The entry of the plugin interface.
        ///
        /// # Safety
        /// The pointers are tables of the interface, or null.
        #[allow(unsafe_code, reason = "the one symbol of the plugin interface")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn levada_plugin_entry_v1(
            host: *const $crate::abi::Host,
            out: *mut $crate::abi::Library,
        ) -> i32 {
            let info = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
            // SAFETY: the caller's promise is the same.
            unsafe {
                $crate::guest::enter(host, out, info, || vec![$($crate::guest::Exported::$kind($class)),+])
            }
        }
    };
}
