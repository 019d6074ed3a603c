//! Fault points: counted, killed at, and failed at.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use levada_connector_api::{Error, ErrorKind, Faults, Result};

/// The `passing`-th time that the point `name` is passed, from 1. Written `name:passing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The fault point.
    pub name: String,
    /// Which time.
    pub passing: u64,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is not POINT:N");
        let (name, passing) = text.rsplit_once(':').ok_or_else(wrong)?;
        let passing = passing.parse().map_err(|_| wrong())?;
        Ok(Self { name: name.to_owned(), passing })
    }
}

/// What happens where, and what was passed. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Points {
    /// Where the process ends as by `kill -9`.
    pub kill: Option<At>,
    /// Where the step fails, once, with an error that may pass.
    pub fail: Option<At>,
    passed: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Points {
    /// The hook that the engine and its plugins call.
    pub fn faults(&self) -> Faults {
        let points = self.clone();
        Faults::hook(move |name| points.pass(name))
    }

    /// How often each point was passed so far.
    pub fn passed(&self) -> BTreeMap<String, u64> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pass(&self, name: &str) -> Result<()> {
        let passing = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.entry(name.to_owned()).or_insert(0);
            *count += 1;
            *count
        };
        let here = |at: &Option<At>| at.as_ref().is_some_and(|at| at.name == name && at.passing == passing);
        if here(&self.kill) {
            die();
        }
        if here(&self.fail) {
            return Err(Error::new(ErrorKind::Io, format!("{name}: made to fail at passing {passing}")));
        }
        Ok(())
    }
}

/// Ends the process as `kill -9` does: no destructor runs, no buffer is written.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
