//! The checkpoint of a task: what has been read, what has been committed, and the state.
//!
//! A checkpoint is a log in *segments*. A segment begins with a `snapshot` record: everything up to a batch in one piece.
//! Then come the records of the batches after it, `prepare` and `commit`, and a `start` for each run of the task. When
//! the records outweigh the snapshot, a new segment with a new snapshot is begun, and all but the last two are
//! deleted. So the cost of a batch grows with what changed, and recovery reads one segment.
//!
//! A record is written in one piece, with its length and a checksum. One flush makes a batch's offsets and its state
//! durable together: that is why the state is in the log and not in files of its own.
//!
//! Where the log lies is behind [`SegmentStore`]: a local folder, whose file is appended to and flushed, and which is
//! locked against a second process; or an object store, where each record is an object that must not exist before, so
//! that of two runs only one can go on. Folders are all that is built in so far.

mod frame;
mod local;
mod log;
mod record;
mod remote;
mod segment;
mod state;
mod store;

pub use log::{Checkpoint, Recovered, read_log};
pub use record::{Layout, Prepared, Record, Snapshot, Start, StateEntry, Watermarks};
pub use state::{decode_image, encode_image};
pub use store::{SegmentStore, open_store};

/// The version of the format that this code writes. A higher one is refused.
pub const FORMAT_VERSION: u32 = 1;
