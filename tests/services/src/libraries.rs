//! Plugin libraries, built as their authors would. The network is only needed for crates that were never fetched.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The repository's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where libraries are built: not in the source tree, and once for all tests.
pub fn built() -> PathBuf {
    // A test lies in target/debug/deps.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tmp").join("plugins");
    fs::create_dir_all(&target).unwrap();
    target
}

/// Panics unless a command ends well.
pub fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", said(&output.stdout), said(&output.stderr));
    output
}

/// A cargo command for the crate in `folder`, which shares what is built with all others of the tests.
pub fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).arg("--manifest-path").arg(folder.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(built());
    cargo
}

/// What `make` makes, once a process.
fn once(name: &str, make: impl FnOnce() -> PathBuf) -> PathBuf {
    static MADE: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.get_or_insert_default().entry(name.to_owned()).or_insert_with(make).clone()
}

/// The library of a crate.
pub fn rust(folder: &Path) -> PathBuf {
    once(&folder.display().to_string(), || {
        succeeded(&mut cargo(folder, &["build"]));
        let name = folder.file_name().unwrap().to_str().unwrap().replace('-', "_");
        built().join("debug").join(format!("lib{name}.so"))
    })
}

/// The library of an example in Rust.
pub fn example(name: &str) -> PathBuf {
    rust(&root().join("examples").join(name))
}

/// Compiles a library that is written in C.
pub fn compile(code: &Path, library: &Path) {
    // Another process may have the library open: it is replaced, not written over.
    let new = library.with_extension(format!("{}.new", std::process::id()));
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"]).arg(root().join("plugin/include"));
    succeeded(cc.arg("-o").arg(&new).arg(code));
    fs::rename(new, library).unwrap();
}

/// The library of an example in C: `examples/c-plugin/NAME.c`.
pub fn c_example(name: &str) -> PathBuf {
    once(&format!("{name}.c"), || {
        let library = built().join(format!("lib{name}.so"));
        compile(&root().join("examples/c-plugin").join(format!("{name}.c")), &library);
        library
    })
}

/// Copies libraries into a new folder.
pub fn copy_to(folder: &Path, libraries: &[PathBuf]) {
    fs::create_dir_all(folder).unwrap();
    for library in libraries {
        fs::copy(library, folder.join(library.file_name().unwrap())).unwrap();
    }
}
