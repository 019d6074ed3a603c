//! A look at a file before it is loaded: what the loader would say is hard to understand.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use levada_connector_api::{Error, Result};

/// The number of this machine's architecture in ELF files.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "32-bit x86".to_owned(),
        40 => "32-bit ARM".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "64-bit ARM".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("machine {other}"),
    }
}

/// Checks that a file is a library for this machine.
///
/// # Errors
/// It is not; the message says what it is.
pub(crate) fn check(path: &Path) -> Result<()> {
    let place = path.display();
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(&place, e))?;
    let length = file.metadata().map_err(|e| Error::io(&place, e))?.len();
    file.take(64).read_to_end(&mut head).map_err(|e| Error::io(&place, e))?;
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let number = |at: usize, size: usize| -> u64 {
        let bytes = head.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    if !head.starts_with(b"\x7fELF") {
        let error = Error::config(format!("{place}: this is no shared library"));
        return Err(
            error.hint("build the plugin with crate-type = [\"cdylib\"], and put only libraries on the plugin path")
        );
    }
    let machine = number(18, 2) as u16;
    if MACHINE.is_some_and(|own| own != machine) || head.get(4) != Some(&2) {
        let own = MACHINE.map_or("this machine".to_owned(), machine_name);
        let error = Error::config(format!("{place}: the library is for {}, not for {own}", machine_name(machine)));
        return Err(error.hint("build it for this machine"));
    }
    // The section headers lie at the end: a file that is cut lacks them.
    let sections = number(40, 8).saturating_add(number(58, 2) * number(60, 2));
    if head.len() < 64 || sections > length {
        let error = Error::config(format!("{place}: the file is cut off: {length} of {sections} bytes are there"));
        return Err(error.hint("copy it again"));
    }
    Ok(())
}
