//! Where files lie: local folders now, object stores later, behind one interface.
//!
//! [`resolve`] turns a path or URL into an [`object_store::ObjectStore`]. Local folders get [`DurableLocal`], since
//! `object_store`'s own local store never flushes: what it wrote survives a killed process, but not a power cut.

mod blocking;
mod durable;
mod error;
mod resolve;
mod staged;

pub use blocking::{Background, blocking};
pub use durable::DurableLocal;
pub use error::to_error;
pub use resolve::{Location, resolve};
pub use staged::remove_staged;
