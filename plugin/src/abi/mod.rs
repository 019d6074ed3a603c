//! The stable interface between a host and a plugin library: tables of C functions, and what crosses them.
//!
//! A library exports one symbol, [`ENTRY`], whose name carries the major version. Everything else is reached through
//! tables that begin with their own size and only ever grow at their end: each side reads what both have. Batches cross
//! by the Arrow C Data Interface without a copy; configuration, offsets and errors as JSON.
//!
//! The header `plugin/include/levada_plugin.h` and the layout file `plugin/abi/layout-v1.txt` are made from this module;
//! tests compare them.

mod header;
mod macros;
pub mod op;

use std::ffi::c_void;

use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

pub use header::{header, layout};
pub use macros::{FieldLayout, TypeLayout};
pub(crate) use macros::{abi_numbers, abi_type};

/// The one symbol that a library exports. The major version is in its name.
pub const ENTRY: &str = "levada_plugin_entry_v1";

/// The minor version: how much of the tables this build knows.
pub const MINOR: u32 = 0;

/// The type of the exported function: fills the second table, and answers with a code.
pub type Entry = unsafe extern "C" fn(host: *const Host, out: *mut Library) -> i32;

/// What an operation calls when it is done, exactly once, from any thread, possibly before `submit` returns. It takes what
/// is in the outcome, and releases it.
pub type Done = unsafe extern "C" fn(user: *mut c_void, outcome: *mut Outcome);

abi_type! {
    /// Borrowed bytes, UTF-8 where they are text. They are valid for the call, and no longer.
    frozen Str = "LevadaStr" {
        /// The first byte; may be null when the length is 0.
        ptr: *const u8 = "const uint8_t *{}",
        /// The number of bytes.
        len: usize = "size_t {}",
    }
}

abi_type! {
    /// Owned bytes. Whoever gets them calls release(owner) once, when it is done with them.
    frozen Buf = "LevadaBuf" {
        /// The first byte; may be null when the length is 0.
        ptr: *const u8 = "const uint8_t *{}",
        /// The number of bytes.
        len: usize = "size_t {}",
        /// Handed to release.
        owner: *mut c_void = "void *{}",
        /// Frees the bytes; null when there is nothing to free.
        release: Option<unsafe extern "C" fn(owner: *mut c_void)> = "void (*{})(void *owner)",
    }
}

abi_type! {
    /// A batch of rows: a struct array of the Arrow C Data Interface. The receiver owns it.
    frozen Batch = "LevadaBatch" {
        /// The schema, or null: the one that came last with the same schema_id, on this handle and in this direction.
        schema: *mut FFI_ArrowSchema = "struct ArrowSchema *{}",
        /// The rows. Released (release is null) where only the schema is meant.
        array: FFI_ArrowArray = "struct ArrowArray {}",
        /// Which schema it is: 0 to 63.
        schema_id: u32 = "uint32_t {}",
        /// 0.
        reserved: u32 = "uint32_t {}",
        /// Where the rows came from, as JSON: {"label": "a.csv", "unit": "line", "first": 2}. May be empty.
        meta: Buf = "LevadaBuf {}",
    }
}

abi_type! {
    /// How an operation ended.
    grows Outcome = "LevadaOutcome" {
        /// The size of this table.
        struct_size: u32 = "uint32_t {}",
        /// LEVADA_OK or what went wrong.
        code: i32 = "int32_t {}",
        /// 0.
        flags: u64 = "uint64_t {}",
        /// What went wrong, in one line: what, where, what to do.
        message: Buf = "LevadaBuf {}",
        /// The operation's answer as JSON. Of an error, optional: {"kind", "retry", "hint", "context"}.
        payload: Buf = "LevadaBuf {}",
        /// Rows.
        batches: *mut Batch = "LevadaBatch *{}",
        /// How many.
        n_batches: usize = "size_t {}",
        /// For release.
        owner: *mut c_void = "void *{}",
        /// Frees the table and the list of batches, after the receiver has taken what is in them. May be null.
        release: Option<unsafe extern "C" fn(outcome: *mut Outcome)> = "void (*{})(struct LevadaOutcome *outcome)",
    }
}

abi_type! {
    /// What the host offers to plugins. It lives as long as the process.
    grows Host = "LevadaHost" {
        /// The size of this table.
        struct_size: u32 = "uint32_t {}",
        /// The host's minor version.
        abi_minor: u32 = "uint32_t {}",
        /// What the host does beyond this description: bits, none so far.
        features: u64 = "uint64_t {}",
        /// Handed to the functions below.
        ctx: *mut c_void = "void *{}",
        /// How many threads a plugin's own runtime should have.
        runtime_threads: u32 = "uint32_t {}",
        /// The least important level that is logged: a LEVADA_LOG number; 0 is nothing.
        log_level: u32 = "uint32_t {}",
        /// Logs a line. The fields are a JSON object, or empty.
        log: Option<unsafe extern "C" fn(ctx: *mut c_void, level: u32, target: Str, message: Str, fields: Str)>
            = "void (*{})(void *ctx, uint32_t level, LevadaStr target, LevadaStr message, LevadaStr fields)",
        /// Counts (LEVADA_METRIC_COUNTER: value is added) or measures (LEVADA_METRIC_GAUGE). The labels are a JSON object, or empty.
        metric: Option<unsafe extern "C" fn(ctx: *mut c_void, kind: u32, name: Str, labels: Str, value: f64)>
            = "void (*{})(void *ctx, uint32_t kind, LevadaStr name, LevadaStr labels, double value)",
        /// The pipeline's time in milliseconds since the epoch. The task is the one that `create` was given.
        now_ms: Option<unsafe extern "C" fn(ctx: *mut c_void, task: *mut c_void) -> i64>
            = "int64_t (*{})(void *ctx, void *task)",
        /// Passes a fault point: tests kill or fail steps there. Not 0: the step must fail as retriable.
        fault: Option<unsafe extern "C" fn(ctx: *mut c_void, task: *mut c_void, point: Str) -> i32>
            = "int32_t (*{})(void *ctx, void *task, LevadaStr point)",
    }
}

abi_type! {
    /// A class: a source, transform or sink. It lives as long as the process.
    grows Class = "LevadaClass" {
        /// The size of this table.
        struct_size: u32 = "uint32_t {}",
        /// LEVADA_SOURCE, LEVADA_TRANSFORM or LEVADA_SINK.
        kind: u32 = "uint32_t {}",
        /// LEVADA_CLASS_BLOCKING or 0.
        flags: u64 = "uint64_t {}",
        /// The name in configurations.
        name: Str = "LevadaStr {}",
        /// The version.
        version: Str = "LevadaStr {}",
        /// Answers a LEVADA_QUERY about the class at once, from any thread. Fills the outcome that it is given; the answer's
        /// buffers are released by the caller.
        query: Option<unsafe extern "C" fn(class: *const Class, query: u32, args: Str, out: *mut Outcome) -> i32>
            = "int32_t (*{})(const struct LevadaClass *self, uint32_t query, LevadaStr args, LevadaOutcome *out)",
        /// Makes an instance from {"config": {…}}; no I/O. `task` is for the host's functions. On an error the outcome says why.
        create: Option<
            unsafe extern "C" fn(class: *const Class, task: *mut c_void, args: Str, handle: *mut *mut c_void, out: *mut Outcome) -> i32,
        > = "int32_t (*{})(const struct LevadaClass *self, void *task, LevadaStr args, void **handle, LevadaOutcome *out)",
        /// Begins an operation. 0: `done` will be called exactly once; else never. The batches are the callee's in both
        /// cases; their list and the arguments are borrowed for the call. One operation at a time on a handle.
        submit: Option<
            unsafe extern "C" fn(
                handle: *mut c_void, op: u32, op_id: u64, args: Str,
                batches: *mut Batch, n_batches: usize, done: Done, user: *mut c_void,
            ) -> i32,
        > = "int32_t (*{})(void *handle, uint32_t op, uint64_t op_id, LevadaStr args, LevadaBatch *batches, size_t n_batches, LevadaDone done, void *user)",
        /// Asks the operation to end soon; it still calls `done`. From any thread, also when it has ended. May be null.
        cancel: Option<unsafe extern "C" fn(handle: *mut c_void, op_id: u64)>
            = "void (*{})(void *handle, uint64_t op_id)",
        /// Ends the instance. Never while an operation is under way.
        destroy: Option<unsafe extern "C" fn(handle: *mut c_void)> = "void (*{})(void *handle)",
    }
}

abi_type! {
    /// What a library says of itself. The entry function fills it; the host gives it with its own size.
    grows Library = "LevadaLibrary" {
        /// The size of this table as the host knows it.
        struct_size: u32 = "uint32_t {}",
        /// The library's minor version.
        abi_minor: u32 = "uint32_t {}",
        /// The library's name, version and compiler, for people.
        build_info: Str = "LevadaStr {}",
        /// Its classes.
        classes: *const *const Class = "const LevadaClass *const *{}",
        /// How many.
        n_classes: usize = "size_t {}",
    }
}

// SAFETY: the tables are constant after they were made, and what they point at lives as long as the process and may be
// used from any thread: this is part of the interface.
#[allow(unsafe_code, reason = "tables of pointers that live for ever")]
mod threads {
    // SAFETY: as above.
    unsafe impl Send for super::Class {}
    // SAFETY: as above.
    unsafe impl Sync for super::Class {}
    // SAFETY: as above.
    unsafe impl Send for super::Host {}
    // SAFETY: as above.
    unsafe impl Sync for super::Host {}
}

// The sizes on 64-bit machines. Growing tables may only become larger.
const _: () = {
    assert!(size_of::<usize>() == 8, "the interface is for 64-bit machines");
    assert!(size_of::<Str>() == 16);
    assert!(size_of::<Buf>() == 32);
    assert!(size_of::<Batch>() == 128);
    assert!(std::mem::offset_of!(Batch, meta) == 96);
    assert!(size_of::<Outcome>() >= 112);
    assert!(size_of::<Host>() >= 64);
    assert!(size_of::<Class>() >= 88);
    assert!(size_of::<Library>() >= 40);
};
