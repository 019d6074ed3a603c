//! Finds plugin libraries in folders, and makes their classes plugins of a registry.
//!
//! A library is first looked at in a process of its own ([`scan`](Scanner::scan)), so that a bad one harms nobody; what it
//! says is kept by the hash of its content. It is loaded when one of its classes is used, and never unloaded. With
//! [`Isolation::Process`] it is not loaded at all: each task's instance runs in a process of its own.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod cache;
mod child;
mod elf;
mod folder;
mod frame;
mod library_ffi;
mod process;
mod scan;

pub use child::child;
pub use folder::{Isolation, LoadReport, Options, load};
pub use library_ffi::open;
pub use scan::{Scanned, Scanner};
