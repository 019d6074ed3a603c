//! Bytes and tables across the boundary.
#![allow(unsafe_code, reason = "pointers of the C interface become slices and owned buffers here")]

use std::ffi::c_void;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::abi::{Buf, Outcome, Str};

static LIVE: AtomicI64 = AtomicI64::new(0);

/// How many owned buffers this library has given out and not got back: 0 when every release ran.
pub fn live_buffers() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

pub(crate) fn count_live(change: i64) {
    LIVE.fetch_add(change, Ordering::SeqCst);
}

impl Str {
    /// Borrows bytes for a call.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// The pointer is null or valid for `len` bytes as long as the result is used.
    pub(crate) unsafe fn bytes<'a>(&self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 || isize::try_from(self.len).is_err() {
            return &[];
        }
        // SAFETY: not null, of a length that a slice may have, and valid by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The bytes as text, what is no UTF-8 replaced.
    ///
    /// # Safety
    /// As for [`bytes`](Self::bytes).
    pub(crate) unsafe fn text(&self) -> String {
        // SAFETY: the caller's promise.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

unsafe extern "C" fn release_vec(owner: *mut c_void) {
    if !owner.is_null() {
        // SAFETY: `owner` is the box that `Buf::of` made, and release is called once.
        drop(unsafe { Box::from_raw(owner.cast::<Vec<u8>>()) });
        count_live(-1);
    }
}

impl Buf {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self { ptr: ptr::null(), len: 0, owner: ptr::null_mut(), release: None };

    /// Hands out bytes.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Self::EMPTY;
        }
        count_live(1);
        let bytes = Box::new(bytes);
        let (ptr, len) = (bytes.as_ptr(), bytes.len());
        Self { ptr, len, owner: Box::into_raw(bytes).cast(), release: Some(release_vec) }
    }

    /// Takes the bytes over and leaves none behind.
    ///
    /// # Safety
    /// The buffer is as the interface says: valid until its release is called.
    pub(crate) unsafe fn take(&mut self) -> OwnedBuf {
        OwnedBuf(std::mem::replace(self, Self::EMPTY))
    }
}

/// Bytes of the other side, released when dropped.
pub(crate) struct OwnedBuf(Buf);

// SAFETY: owned bytes may be read and released on any thread: this is part of the interface.
unsafe impl Send for OwnedBuf {}

impl Deref for OwnedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let view = Str { ptr: self.0.ptr, len: self.0.len };
        // SAFETY: the bytes are valid until release, which is called in drop.
        unsafe { view.bytes() }
    }
}

impl Drop for OwnedBuf {
    fn drop(&mut self) {
        if let Some(release) = self.0.release.take() {
            // SAFETY: called once, with its own owner.
            unsafe { release(self.0.owner) };
        }
    }
}

impl Outcome {
    /// An outcome that worked and says nothing.
    pub(crate) fn empty() -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            code: 0,
            flags: 0,
            message: Buf::EMPTY,
            payload: Buf::EMPTY,
            batches: ptr::null_mut(),
            n_batches: 0,
            owner: ptr::null_mut(),
            release: None,
        }
    }
}

/// Types of which all bits may be zero, and which begin with their size.
///
/// # Safety
/// Both hold.
pub(crate) unsafe trait Table {}

// SAFETY: numbers, pointers and functions that may be null, after a size.
unsafe impl Table for Outcome {}
// SAFETY: as above.
unsafe impl Table for crate::abi::Host {}
// SAFETY: as above.
unsafe impl Table for crate::abi::Class {}
// SAFETY: as above.
unsafe impl Table for crate::abi::Library {}

/// Copies a table of which the other side may know less or more than this one: what it does not have is zero.
///
/// # Safety
/// `table` is null or points to as many bytes as its first four say.
pub(crate) unsafe fn read_table<T: Table>(table: *const T) -> Option<T> {
    if table.is_null() || !table.is_aligned() {
        return None;
    }
    // SAFETY: the table has at least its own size.
    let size = unsafe { table.cast::<u32>().read() } as usize;
    if size < size_of::<u32>() {
        return None;
    }
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the source has `size` bytes, the copy `size_of::<T>()`; all zero is valid for the rest.
    unsafe {
        ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()));
        Some(copy.assume_init())
    }
}

/// Writes as much of a table as the receiver has room for, and answers with how much that was. Its size stays the smaller of
/// both.
///
/// # Safety
/// `table` is null or points to as many writable bytes as its first four say.
pub(crate) unsafe fn write_table<T: Table>(table: *mut T, value: &T) -> Option<usize> {
    if table.is_null() || !table.is_aligned() {
        return None;
    }
    // SAFETY: the table has at least its own size.
    let size = (unsafe { table.cast::<u32>().read() } as usize).min(size_of::<T>());
    if size < size_of::<u32>() {
        return None;
    }
    // SAFETY: the receiver has `size` bytes, and the value at least as many.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), table.cast::<u8>(), size);
        table.cast::<u32>().write(size as u32);
    }
    Some(size)
}
