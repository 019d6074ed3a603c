//! Classes of a library, called directly.
#![allow(unsafe_code, reason = "the plugin's functions are called here")]

use std::ffi::c_void;
use std::sync::Arc;

use levada_connector_api::{Error, Result};

use super::instance_ffi::DirectInstance;
use super::services_ffi::TaskLink;
use super::{Instance, Link};
use crate::abi::{Class, Library, Outcome, Str, op};
use crate::memory_ffi::read_table;
use crate::wire;

/// A class whose table is called directly.
pub struct DirectClass {
    pub(super) table: Class,
    pub(super) own: *const Class,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) build_info: String,
}

// SAFETY: tables live for ever, never change, and their functions may be called from any thread.
unsafe impl Send for DirectClass {}
// SAFETY: as above.
unsafe impl Sync for DirectClass {}

/// The classes that a library's entry has told.
///
/// # Errors
/// What is wrong with the table, or with a class of it.
///
/// # Safety
/// The table is what an entry function filled, and the library stays loaded for ever.
pub unsafe fn classes_of(library: *const Library) -> Result<Vec<Arc<DirectClass>>> {
    // SAFETY: the caller's promise.
    let table = unsafe { read_table(library) }.ok_or_else(|| Error::config("the library's table is empty"))?;
    if table.n_classes == 0 || table.classes.is_null() {
        return Err(Error::config("the library has no classes"));
    }
    // SAFETY: a text that lives for ever.
    let info = unsafe { table.build_info.text() };
    let mut classes = Vec::new();
    for i in 0..table.n_classes.min(1000) {
        // SAFETY: the list has as many pointers as it says.
        let class = unsafe { *table.classes.add(i) };
        // SAFETY: a pointer of the list, null or a class.
        classes.push(Arc::new(unsafe { DirectClass::of(class, &info) }?));
    }
    Ok(classes)
}

impl DirectClass {
    /// The class behind a table.
    ///
    /// # Errors
    /// A function that every class must have is missing, or its name is no name.
    ///
    /// # Safety
    /// `class` is null or a table of the interface that lives for ever.
    pub unsafe fn of(class: *const Class, build_info: &str) -> Result<Self> {
        // SAFETY: the caller's promise.
        let table =
            unsafe { read_table(class) }.ok_or_else(|| Error::config("a class of the library is a null pointer"))?;
        // SAFETY: texts that live for ever.
        let (name, version) = unsafe { (table.name.text(), table.version.text()) };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Error::config(format!("a class of the library is called '{name}', which is no name")));
        }
        let refuse = |what: &str| Err(Error::config(format!("class '{name}' {what}")));
        if !matches!(table.kind, op::SOURCE | op::TRANSFORM | op::SINK) {
            return refuse(&format!("is of the unknown kind {}", table.kind));
        }
        if table.query.is_none() || table.create.is_none() || table.submit.is_none() || table.destroy.is_none() {
            return refuse("lacks one of the functions query, create, submit and destroy");
        }
        Ok(Self { table, own: class, name, version, build_info: build_info.to_owned() })
    }

    /// Its name in configurations.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its kind as a number of the interface.
    pub fn kind(&self) -> u32 {
        self.table.kind
    }

    /// What the library says of itself.
    pub fn build_info(&self) -> &str {
        &self.build_info
    }

    pub(super) fn place(&self, op: &str) -> String {
        match self.build_info.is_empty() {
            true => format!("plugin class '{}', {op}", self.name),
            false => format!("plugin '{}', class '{}', {op}", self.build_info, self.name),
        }
    }
}

/// Takes an outcome that the plugin has filled.
pub(super) fn taken(code: i32, out: &mut Outcome) -> Result<Vec<u8>> {
    // SAFETY: the buffers are the plugin's, valid until they are released.
    let (message, payload) = unsafe { (out.message.take(), out.payload.take()) };
    let code = if code == op::OK { out.code } else { code };
    let result = match code {
        op::OK => Ok(payload.to_vec()),
        _ => Err(wire::error_of(code, &String::from_utf8_lossy(&message), &payload)),
    };
    drop((message, payload));
    if let Some(release) = out.release.take() {
        // SAFETY: called once, after what is in the outcome was taken.
        unsafe { release(out) };
    }
    result
}

impl Link for Arc<DirectClass> {
    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>> {
        let Some(ask) = self.table.query else { return Err(Error::unsupported("it answers no queries")) };
        let mut out = Outcome::empty();
        // SAFETY: the class's function with its own table; arguments and outcome are valid for the call.
        let code = unsafe { ask(self.own, query, Str::of(args), &raw mut out) };
        taken(code, &mut out).map_err(|e| e.context(self.place("query")))
    }

    fn create(&self, args: &[u8]) -> Result<Box<dyn Instance>> {
        let Some(create) = self.table.create else { return Err(Error::unsupported("it cannot be made")) };
        let task = Arc::new(TaskLink::default());
        let mut handle: *mut c_void = std::ptr::null_mut();
        let mut out = Outcome::empty();
        let pointer = Arc::as_ptr(&task).cast_mut().cast();
        // SAFETY: the class's function with its own table; the task lives as long as the handle.
        let code = unsafe { create(self.own, pointer, Str::of(args), &raw mut handle, &raw mut out) };
        taken(code, &mut out).map_err(|e| e.context(self.place("create")))?;
        if handle.is_null() {
            return Err(Error::internal("it gave no handle").context(self.place("create")));
        }
        Ok(Box::new(DirectInstance::new(self.clone(), handle, task)))
    }
}
