//! The process in which a library is checked.

use std::cell::Cell;
use std::future::Future;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::testkit::{sink_protocol, source_conformance, transform_conformance};
use levada_connector_api::{
    BindContext, Error, OutputMode, Plugin, PluginKind, PollLimit, Registry, Result, SinkPlugin, SourcePlugin,
    TaskContext, TransformPlugin,
};
use levada_plugin::host::{ClassInfo, Settings, add_to, settings};
use levada_plugin_loader::open;

use super::rows::Rows;
use super::{Task, Told};

/// Runs as a child process: checks what `task` says, and tells it over the standard input.
pub(crate) fn child(task: &str) -> ExitCode {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let (Ok(task), Ok(stream)) = (serde_json::from_str::<Task>(task), stream) else { return ExitCode::from(2) };
    // What panics is the kit, and its message is told.
    std::panic::set_hook(Box::new(|_| {}));
    // All that comes is looked at, and nobody waits for long.
    settings(Settings { operation: Duration::from_secs(30), cancel: Duration::from_secs(5), validate: true });
    let check = Check { stream, task };
    check.library();
    check.tell(&Told::End);
    ExitCode::SUCCESS
}

struct Check {
    stream: UnixStream,
    task: Task,
}

/// A verdict on one thing.
enum Verdict {
    Holds,
    Broken(String),
    Open(String),
}

impl From<Error> for Verdict {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a panic says.
fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("it panicked".to_owned(), |text| (*text).to_owned()),
    }
}

/// Runs a test of the kit, whose panics are rules that do not hold.
fn kit(test: impl Future<Output = ()>) -> Verdict {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return Verdict::Open(format!("no runtime: {e}")),
    };
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(test))) {
        Ok(()) => Verdict::Holds,
        Err(panic) => Verdict::Broken(said(panic)),
    }
}

impl Check {
    fn tell(&self, told: &Told) {
        let text = serde_json::to_string(told).unwrap_or_default();
        // Without anybody who listens, the process will be ended.
        let _ = writeln!(&self.stream, "{text}");
    }

    fn one(&self, what: impl Into<String>, work: impl FnOnce() -> Verdict) {
        let what = what.into();
        self.tell(&Told::Begins(what.clone()));
        self.tell(&match work() {
            Verdict::Holds => Told::Holds(what),
            Verdict::Broken(why) => Told::Broken(what, why),
            Verdict::Open(why) => Told::Open(what, why),
        });
    }

    fn library(&self) {
        self.tell(&Told::Begins("it loads".to_owned()));
        let classes = match open(&self.task.library) {
            Ok(classes) => classes,
            Err(error) => return self.tell(&Told::Broken("it loads".to_owned(), error.to_string())),
        };
        let info = classes.first().map(|class| class.build_info().to_owned()).unwrap_or_default();
        let n = classes.len();
        let what = format!("it loads: '{info}', with {n} class{}", if n == 1 { "" } else { "es" });
        self.tell(&Told::Holds(what));
        let mut registry = Registry::new();
        for class in classes {
            let name = class.name().to_owned();
            let mut info = None;
            self.one(format!("{name}: its description and options"), || {
                let described = ClassInfo::ask(&class).and_then(|found| {
                    add_to(&mut registry, found.clone(), Box::new(class.clone()))?;
                    Ok(found)
                });
                match described {
                    Ok(found) if found.doc().is_empty() => Verdict::Broken("it does not say what it does".to_owned()),
                    Ok(found) => {
                        info = Some(found);
                        Verdict::Holds
                    }
                    Err(error) => error.into(),
                }
            });
            if let Some(info) = info {
                self.class(&registry, info.kind(), &name);
            }
        }
    }

    fn class(&self, registry: &Registry, kind: PluginKind, name: &str) {
        let failed = |error: Error| self.tell(&Told::Broken(name.to_owned(), error.to_string()));
        let done = match kind {
            PluginKind::Source => registry.source(name).map(|plugin| self.source(plugin.as_ref())),
            PluginKind::Transform => registry.transform(name).map(|plugin| self.transform(plugin.as_ref())),
            PluginKind::Sink | PluginKind::DeadLetters => registry.sink(name).map(|plugin| self.sink(plugin.as_ref())),
        };
        done.unwrap_or_else(failed);
    }

    /// The options that are meant for a class: its keys, or `Class.key` for one of several.
    fn options(&self, plugin: &dyn Plugin) -> std::result::Result<Config, Verdict> {
        let (def, own) = (plugin.config_def(), format!("{}.", plugin.name()));
        let mut raw = RawConfig::new();
        for (key, value) in &self.task.set {
            let key = key.strip_prefix(&own).unwrap_or(key);
            if def.covers(key) {
                raw.insert(key.to_owned(), value.clone());
            }
        }
        let told = |errors: Vec<levada_connector_api::config::ConfigError>| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Verdict::Open(format!("{}\nset options with --set KEY=VALUE", errors.join("\n")))
        };
        let config = def.parse(&raw, "").map_err(told)?;
        let errors = plugin.validate(&config);
        if errors.is_empty() { Ok(config) } else { Err(told(errors)) }
    }

    fn contract(&self, plugin: &dyn Plugin, kind: &str, work: impl FnOnce(&Config) -> Result<Verdict>) {
        self.one(format!("{}: the contract of a {kind}", plugin.name()), || match self.options(plugin) {
            Ok(config) => work(&config).unwrap_or_else(Verdict::from),
            Err(open) => open,
        });
    }

    fn source(&self, plugin: &dyn SourcePlugin) {
        self.contract(plugin, "source", |config| {
            drop(plugin.create(config)?);
            let capabilities = plugin.capabilities(config);
            // The first is above all there to be looked at: without rows, little is checked.
            let rows = Cell::new(0);
            let verdict = kit(async {
                rows.set(count(plugin, config).await.unwrap_or_else(|e| panic_with(&e)));
                source_conformance(&|| made(plugin.create(config)), capabilities).await;
            });
            Ok(match verdict {
                Verdict::Holds if rows.get() == 0 => {
                    Verdict::Open("it has no rows; set options with which it has some: --set KEY=VALUE".to_owned())
                }
                verdict => verdict,
            })
        });
    }

    fn transform(&self, plugin: &dyn TransformPlugin) {
        self.contract(plugin, "transform", |config| {
            let rows = Rows::new(&self.task.columns)?;
            let context = BindContext::new("check", OutputMode::Append);
            if let Err(error) = plugin.create(config)?.bind(&rows.schema(), &context) {
                let columns = &self.task.columns;
                return Ok(Verdict::Open(format!(
                    "it does not take the columns '{columns}': {error}\nset others with --columns"
                )));
            }
            let input: Vec<_> = (0..4).map(|seed| rows.some(seed, 30)).collect();
            let verdict = kit(transform_conformance(&|| made(plugin.create(config)), &context, &input));
            Ok(released(verdict, &input))
        });
    }

    fn sink(&self, plugin: &dyn SinkPlugin) {
        let what = "sink, as far as its calls show it";
        self.contract(plugin, what, |config| {
            let rows = Rows::new(&self.task.columns)?;
            drop(plugin.create(config)?);
            let given: Vec<_> = (0..10).map(|seed| rows.some(seed, 10)).collect();
            let give = |seed: u64| match usize::try_from(seed).ok().and_then(|i| given.get(i)) {
                Some(rows) => rows.clone(),
                None => rows.some(seed, 10),
            };
            let capabilities = plugin.capabilities(config);
            let pipeline = format!("check-{}", std::process::id());
            let verdict = kit(sink_protocol(&|| made(plugin.create(config)), capabilities, &give, &pipeline));
            Ok(released(verdict, &given))
        });
    }
}

#[allow(clippy::panic, reason = "the kit tells by panics, and so does what it calls")]
fn panic_with(error: &Error) -> ! {
    panic!("{error}")
}

/// The kit's makers cannot fail: what was made once is made again.
fn made<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic_with(&error.context("create must work every time")))
}

/// How many rows a source gives at its beginning.
async fn count(plugin: &dyn SourcePlugin, config: &Config) -> Result<usize> {
    let mut source = plugin.create(config)?;
    source.schema().await?;
    source.open(&TaskContext::new("check"), &Default::default()).await?;
    let mut rows = 0;
    for _ in 0..10 {
        let limit = PollLimit { rows: 100, wait: Duration::from_millis(100), ..PollLimit::unlimited(0) };
        rows += source.poll(&limit).await?.num_rows();
        if rows > 0 {
            break;
        }
    }
    source.close().await?;
    Ok(rows)
}

/// What was given to a plugin must have come back when all of its instances are gone.
fn released(verdict: Verdict, given: &[arrow::array::RecordBatch]) -> Verdict {
    let Verdict::Holds = verdict else { return verdict };
    let kept = |rows: &arrow::array::RecordBatch| {
        let buffers = rows.columns().iter().flat_map(|column| column.to_data().buffers().to_vec());
        // One is of the column, one of the list that is looked at.
        buffers.into_iter().any(|buffer| buffer.strong_count() > 2)
    };
    let buffers = levada_plugin::live_buffers();
    let batches = given.iter().filter(|rows| kept(rows)).count();
    match (batches, buffers) {
        (0, 0) => Verdict::Holds,
        _ => Verdict::Broken(format!(
            "it does not release what it is given: {batches} of {} batches and {buffers} buffers are still held after \
             its instances are gone",
            given.len()
        )),
    }
}
