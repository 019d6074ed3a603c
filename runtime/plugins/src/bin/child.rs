//! The process in which a library is scanned or served.

use std::process::ExitCode;

fn main() -> ExitCode {
    levada_plugin_loader::child(std::env::args_os().skip(1))
}
