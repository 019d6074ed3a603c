//! How large results may become: one row with a large number must not take all memory.

use datafusion_common::{Result, exec_err};

/// The most bytes of one value.
const VALUE: usize = 64 << 20;

/// The most bytes of the values of a batch: a column of texts has two gigabytes at most.
const COLUMN: usize = 1 << 30;

/// What is left for the results of a call.
#[derive(Default)]
pub(super) struct Room {
    used: usize,
}

impl Room {
    /// Takes the room of a value that will have so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Result<()> {
        if bytes > VALUE {
            return exec_err!("[RESULT_TOO_LONG] the result would have {bytes} bytes; at most {VALUE} are possible");
        }
        self.used = self.used.saturating_add(bytes);
        if self.used > COLUMN {
            return exec_err!("[RESULT_TOO_LONG] the results of a batch would have more than {COLUMN} bytes together");
        }
        Ok(())
    }
}
