//! Settings of the C library's allocator.
#![allow(unsafe_code, reason = "mallopt is a C function")]

/// Makes glibc keep memory that is freed, for those who ask next. Call it before any thread is started.
///
/// By default it hands large blocks back to the system at once and has eight arenas a core, in each of which other memory
/// lies idle. Columns are made by one thread and freed by another, all of the same few sizes: a tenth of the time went into
/// page faults. Where the user has given settings of their own, those stand. Answers whether all were taken.
pub(crate) fn keep() -> bool {
    #[allow(unused_mut, reason = "elsewhere there is nothing to set")]
    let mut taken = true;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Smaller blocks come from the arenas; it is the largest value that glibc takes.
        const MMAP_THRESHOLD: libc::c_int = 32 << 20;
        /// So much may lie idle at an arena's end.
        const TRIM_THRESHOLD: libc::c_int = 256 << 20;
        let theirs = |(name, _): (std::ffi::OsString, _)| {
            let name = name.to_string_lossy();
            name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES"
        };
        if std::env::vars_os().any(theirs) {
            return taken;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = libc::c_int::try_from(cores.max(2)).unwrap_or(libc::c_int::MAX);
        for (setting, value) in [
            (libc::M_ARENA_MAX, arenas),
            (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
            (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
        ] {
            // SAFETY: it takes two numbers and no pointer; a setting that it does not know leaves things as they are.
            taken &= unsafe { libc::mallopt(setting, value) } == 1;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    /// glibc refuses what is out of range without a word.
    #[test]
    fn the_settings_are_taken() {
        assert!(super::keep());
    }
}
