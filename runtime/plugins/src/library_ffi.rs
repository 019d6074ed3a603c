//! Loads libraries.
#![allow(unsafe_code, reason = "a library is loaded, and its entry is called, here")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use levada_connector_api::{Error, Result};
use levada_plugin::abi::{ENTRY, Entry, Library as Table, Str};
use levada_plugin::host::{DirectClass, classes_of, host_table};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The library is never unloaded: threads and thread-locals of it may outlive every use.
const RTLD_NODELETE: std::ffi::c_int = 0x1000;

type Classes = Vec<Arc<DirectClass>>;

/// Loads a library, once, and asks for its classes.
///
/// # Errors
/// It is no library, cannot be loaded, is no plugin, or is one for another version.
pub fn open(path: &Path) -> Result<Classes> {
    static OPEN: Mutex<Option<HashMap<PathBuf, Classes>>> = Mutex::new(None);
    let own = path.canonicalize().map_err(|e| Error::io(path.display(), e))?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let open = open.get_or_insert_default();
    if let Some(classes) = open.get(&own) {
        return Ok(classes.clone());
    }
    let classes = load(&own).map_err(|e| e.context(format!("plugin {}", path.display())))?;
    open.insert(own, classes.clone());
    Ok(classes)
}

fn load(path: &Path) -> Result<Classes> {
    crate::elf::check(path)?;
    // SAFETY: the library's constructors run here. That is what loading a plugin means; a scan has tried it before in a
    // process of its own.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }.map_err(|e| {
        let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), |why| why.to_string());
        Error::config(format!("it cannot be loaded: {why}"))
            .hint("install the libraries that it needs; 'ldd' lists them")
    })?;
    // SAFETY: the symbol's name carries the version of its type.
    let entry = unsafe { library.get::<Entry>(ENTRY.as_bytes()) }.map_err(|_| foreign(&library))?;
    let entry: Entry = *entry;
    // It stays loaded also where NODELETE is not known.
    std::mem::forget(library);
    let mut table = Table {
        struct_size: size_of::<Table>() as u32,
        abi_minor: 0,
        build_info: Str { ptr: std::ptr::null(), len: 0 },
        classes: std::ptr::null(),
        n_classes: 0,
    };
    // SAFETY: the entry's type is what its name says; both tables are valid for the call.
    let code = unsafe { entry(host_table(), &raw mut table) };
    if code != 0 {
        return Err(Error::config(format!("its entry failed with code {code}")));
    }
    // SAFETY: the entry filled the table, and the library stays loaded.
    unsafe { classes_of(&raw const table) }
}

/// Why a library has no entry.
fn foreign(library: &Library) -> Error {
    let base = ENTRY.trim_end_matches(char::is_numeric);
    // SAFETY: the symbol is only looked for.
    let newer = (2..20).find(|major| unsafe { library.get::<Entry>(format!("{base}{major}").as_bytes()) }.is_ok());
    match newer {
        Some(major) => Error::config(format!("it is for version {major} of the plugin interface; this is version 1"))
            .hint("use a newer levada, or an older build of the plugin"),
        None => Error::config(format!("it is no plugin: it has no symbol {ENTRY}"))
            .hint("export its classes with levada_plugin::export!"),
    }
}
