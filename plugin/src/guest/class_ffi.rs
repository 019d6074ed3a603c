//! Classes as tables.
#![allow(unsafe_code, reason = "the functions of the C interface, as a plugin offers them")]

use std::ffi::c_void;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use levada_connector_api::config::Config;
use levada_connector_api::{Error, ErrorKind, Plugin, Result, SinkPlugin, SourcePlugin, TransformPlugin};

use super::{AnyPlugin, Object, instance_ffi, services_ffi};
use crate::abi::{Buf, Class, Host, Library, MINOR, Outcome, Str, op};
use crate::memory_ffi::{read_table, write_table};
use crate::wire::{self, CapabilitiesWire, CreateArgs, Described, ErrorWire, InvalidWire, TasksArgs};

/// A class to export.
#[derive(Clone)]
pub struct Exported(AnyPlugin);

impl Exported {
    /// A source.
    pub fn source(plugin: impl SourcePlugin + 'static) -> Self {
        Self(AnyPlugin::Source(Arc::new(plugin)))
    }

    /// A transform.
    pub fn transform(plugin: impl TransformPlugin + 'static) -> Self {
        Self(AnyPlugin::Transform(Arc::new(plugin)))
    }

    /// A sink.
    pub fn sink(plugin: impl SinkPlugin + 'static) -> Self {
        Self(AnyPlugin::Sink(Arc::new(plugin)))
    }

    /// A source that is shared.
    pub fn shared_source(plugin: Arc<dyn SourcePlugin>) -> Self {
        Self(AnyPlugin::Source(plugin))
    }

    /// A transform that is shared.
    pub fn shared_transform(plugin: Arc<dyn TransformPlugin>) -> Self {
        Self(AnyPlugin::Transform(plugin))
    }

    /// A sink that is shared.
    pub fn shared_sink(plugin: Arc<dyn SinkPlugin>) -> Self {
        Self(AnyPlugin::Sink(plugin))
    }
}

impl AnyPlugin {
    fn plugin(&self) -> &dyn Plugin {
        match self {
            Self::Source(plugin) => plugin.as_ref(),
            Self::Transform(plugin) => plugin.as_ref(),
            Self::Sink(plugin) => plugin.as_ref(),
        }
    }

    fn kind(&self) -> u32 {
        match self {
            Self::Source(_) => op::SOURCE,
            Self::Transform(_) => op::TRANSFORM,
            Self::Sink(_) => op::SINK,
        }
    }

    fn config(&self, args: &CreateArgs) -> Result<Config> {
        self.plugin().config_def().parse(&args.config, &args.prefix).map_err(|errors| {
            let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Error::config(all.join("; "))
        })
    }

    fn create(&self, args: &[u8]) -> Result<Object> {
        let config = self.config(&wire::decode(args, "the arguments of create")?)?;
        Ok(match self {
            Self::Source(plugin) => Object::Source(plugin.create(&config)?),
            Self::Transform(plugin) => Object::Transform(plugin.create(&config)?),
            Self::Sink(plugin) => Object::Sink(plugin.create(&config)?),
        })
    }

    fn query(&self, query: u32, args: &[u8]) -> Result<Vec<u8>> {
        match query {
            op::QUERY_DESCRIBE => wire::encode(&Described::of(self.plugin())),
            op::QUERY_VALIDATE => {
                let args: CreateArgs = wire::decode(args, "the arguments of validate")?;
                let errors = match self.plugin().config_def().parse(&args.config, &args.prefix) {
                    Ok(config) => self.plugin().validate(&config),
                    Err(errors) => errors,
                };
                wire::encode(&errors.into_iter().map(InvalidWire::from).collect::<Vec<_>>())
            }
            op::QUERY_CAPABILITIES => {
                let config = self.config(&wire::decode(args, "the arguments of capabilities")?)?;
                let mut answer = CapabilitiesWire::default();
                match self {
                    Self::Source(plugin) => {
                        let can = plugin.capabilities(&config);
                        (answer.replayable, answer.bounded) = (can.replayable, can.bounded);
                    }
                    Self::Sink(plugin) => {
                        let can = plugin.capabilities(&config);
                        (answer.guarantee, answer.modes) = (Some(can.guarantee), can.modes.to_vec());
                    }
                    Self::Transform(_) => {}
                }
                wire::encode(&answer)
            }
            op::QUERY_TASKS => {
                let args: TasksArgs = wire::decode(args, "the arguments of tasks")?;
                let config = self.config(&CreateArgs { config: args.config, prefix: String::new() })?;
                wire::encode(&match self {
                    Self::Source(plugin) => plugin.tasks(&config, args.max),
                    Self::Sink(plugin) => plugin.tasks(&config, args.max),
                    Self::Transform(_) => args.max,
                })
            }
            _ => Err(Error::unsupported(format!("query {query} is not known to this plugin"))),
        }
    }
}

/// A class with what the functions of its table need. The table comes first: a pointer to it is one to all.
#[repr(C)]
struct GuestClass {
    table: Class,
    plugin: AnyPlugin,
    name: String,
    version: String,
}

/// Makes the table of a class. It lives as long as the process.
pub fn export(exported: Exported) -> &'static Class {
    let plugin = exported.0;
    let (name, version) = (plugin.plugin().name().to_owned(), plugin.plugin().version().to_owned());
    let table = Class {
        struct_size: size_of::<Class>() as u32,
        kind: plugin.kind(),
        flags: 0,
        // The bytes of a string stay where they are when the string moves.
        name: Str::of(name.as_bytes()),
        version: Str::of(version.as_bytes()),
        query: Some(query),
        create: Some(create),
        submit: Some(instance_ffi::submit),
        cancel: Some(instance_ffi::cancel),
        destroy: Some(instance_ffi::destroy),
    };
    let class: &'static GuestClass = Box::leak(Box::new(GuestClass { table, plugin, name, version }));
    debug_assert!(!class.name.is_empty() && !class.version.is_empty(), "a class needs a name and a version");
    // SAFETY: the class lives for ever; the pointer keeps its right to all of it, not only to the table.
    unsafe { &*std::ptr::from_ref(class).cast::<Class>() }
}

/// Fills an outcome with an error.
pub(super) fn failure(error: &Error) -> Outcome {
    let payload = wire::encode(&ErrorWire::of(error)).unwrap_or_default();
    Outcome {
        code: wire::code_of(error),
        message: Buf::of(error.message().as_bytes().to_vec()),
        payload: Buf::of(payload),
        ..Outcome::empty()
    }
}

/// What a panic says.
pub(super) fn panic_error(panic: Box<dyn std::any::Any + Send>) -> Error {
    let text = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "it says nothing".to_owned(),
    };
    // A payload whose drop panics would be a second panic.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    Error::new(ErrorKind::Panic, format!("it panicked: {text}"))
}

/// Runs the author's code, and makes an error of a panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_error(panic)))
}

/// Writes an outcome, and releases what the receiver has no room for.
unsafe fn answer(out: *mut Outcome, mut outcome: Outcome) -> i32 {
    // SAFETY: the caller's outcome, of the size that it says.
    let written = unsafe { write_table(out, &outcome) }.unwrap_or(0);
    // SAFETY: buffers of ours, of which the receiver has not got the whole.
    unsafe {
        if written < offset_of!(Outcome, payload) {
            drop(outcome.message.take());
        }
        if written < offset_of!(Outcome, batches) {
            drop(outcome.payload.take());
        }
    }
    if written == 0 && outcome.code == op::OK { op::FATAL } else { outcome.code }
}

unsafe fn plugin_of<'a>(class: *const Class) -> Result<&'a AnyPlugin> {
    if class.is_null() {
        return Err(Error::internal("a class came as a null pointer"));
    }
    // SAFETY: only tables that `export` made have these functions.
    Ok(unsafe { &(*class.cast::<GuestClass>()).plugin })
}

unsafe extern "C" fn query(class: *const Class, query: u32, args: Str, out: *mut Outcome) -> i32 {
    // SAFETY: class and arguments are valid for the call.
    let result = guarded(|| unsafe { plugin_of(class)?.query(query, args.bytes()) });
    let outcome = match result {
        Ok(payload) => Outcome { payload: Buf::of(payload), ..Outcome::empty() },
        Err(error) => failure(&error),
    };
    // SAFETY: the caller's outcome.
    unsafe { answer(out, outcome) }
}

unsafe extern "C" fn create(
    class: *const Class,
    task: *mut c_void,
    args: Str,
    handle: *mut *mut c_void,
    out: *mut Outcome,
) -> i32 {
    let result = guarded(|| {
        if handle.is_null() {
            return Err(Error::internal("there is no place for the handle"));
        }
        let runtime = super::runtime().map_err(|e| Error::io("the plugin's runtime", e))?;
        let _inside = runtime.enter();
        // SAFETY: class and arguments are valid for the call.
        let object = unsafe { plugin_of(class)?.create(args.bytes()) }?;
        // SAFETY: not null, and the caller's.
        unsafe { handle.write(instance_ffi::into_handle(object, task)) };
        Ok(())
    });
    let outcome = match result {
        Ok(()) => Outcome::empty(),
        Err(error) => failure(&error),
    };
    // SAFETY: the caller's outcome.
    unsafe { answer(out, outcome) }
}

struct Classes(Vec<*const Class>);

// SAFETY: pointers to tables that live for ever and never change.
unsafe impl Send for Classes {}
// SAFETY: as above.
unsafe impl Sync for Classes {}

/// The entry of a library; [`export!`](crate::export) calls it.
///
/// # Safety
/// The pointers are tables of the interface, or null.
pub unsafe fn enter(
    host: *const Host,
    out: *mut Library,
    info: &'static str,
    classes: impl FnOnce() -> Vec<Exported>,
) -> i32 {
    static CLASSES: OnceLock<Classes> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let result = guarded(|| {
        // SAFETY: the caller's promise.
        if let Some(table) = unsafe { read_table(host) } {
            services_ffi::set_host(table);
        }
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if CLASSES.get().is_none() {
            let made = classes().into_iter().map(|class| std::ptr::from_ref(export(class))).collect();
            let _ = CLASSES.set(Classes(made));
        }
        let classes = CLASSES.get().map_or(&[][..], |classes| &classes.0);
        let library = Library {
            struct_size: size_of::<Library>() as u32,
            abi_minor: MINOR,
            build_info: Str::of(info.as_bytes()),
            classes: classes.as_ptr(),
            n_classes: classes.len(),
        };
        // SAFETY: the caller's promise.
        let written = unsafe { write_table(out, &library) };
        written.map(drop).ok_or_else(|| Error::internal("there is no table to fill"))
    });
    result.map_or_else(|error| wire::code_of(&error), |()| op::OK)
}
