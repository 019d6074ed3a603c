use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use levada_connector_api::config::RawConfig;
use levada_connector_api::*;
use levada_engine::{Environment, Observer, PipelineSpec, Progress, TaskStatus, start};

use crate::numbers::{Held, Memory, Numbers};

/// A transform that panics at its first batch.
struct Panics;

impl Plugin for Panics {
    fn name(&self) -> &str {
        "Panics"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn doc(&self) -> &str {
        "Panics"
    }
    fn config_def(&self) -> config::ConfigDef {
        config::ConfigDef::new()
    }
}

impl TransformPlugin for Panics {
    fn create(&self, _: &config::Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Transform for Panics {
    fn bind(&mut self, input: &arrow::datatypes::SchemaRef, _: &BindContext) -> Result<Bound> {
        Ok(Bound::stateless(input.clone()))
    }
    async fn process(&mut self, _: Batch) -> Result<Emitted> {
        std::panic::resume_unwind(Box::new("too large"))
    }
}

#[derive(Default)]
struct Watch {
    batches: Mutex<Vec<(u64, u64)>>,
    states: Mutex<Vec<String>>,
    committed: tokio::sync::Notify,
}

impl Observer for Watch {
    fn progress(&self, progress: &Progress) {
        self.batches.lock().unwrap().push((progress.batch_id, progress.num_input_rows));
        self.committed.notify_one();
    }
    fn status(&self, status: &TaskStatus) {
        self.states.lock().unwrap().push(format!("{:?}", status.state));
    }
}

struct Run {
    folder: tempfile::TempDir,
    held: Held,
    guarantee: Guarantee,
    watch: Arc<Watch>,
}

impl Run {
    fn new(guarantee: Guarantee) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, held: Held::default(), guarantee, watch: Arc::default() }
    }

    fn spec(&self, extra: &[(&str, &str)]) -> PipelineSpec {
        let mut registry = Registry::new();
        registry.add_source(Numbers).unwrap();
        registry.add_transform(Panics).unwrap();
        registry.add_sink(Memory { held: self.held.clone(), guarantee: self.guarantee }).unwrap();
        let base = [
            ("name", "p"),
            ("source.class", "Numbers"),
            ("source.count", "1000"),
            ("sink.class", "Memory"),
            ("batch.max.rows", "100"),
            ("restart.delay", "1 ms"),
        ];
        let raw: RawConfig = base.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        PipelineSpec::parse(&raw, &registry).unwrap_or_else(|e| panic!("{e:?}"))
    }

    fn environment(&self) -> Environment {
        Environment { observer: self.watch.clone(), ..Environment::new(self.folder.path()) }
    }

    async fn to_end(&self, extra: &[(&str, &str)], faults: Faults) -> Result<()> {
        start(self.spec(extra), Environment { faults, ..self.environment() }).join().await
    }

    fn numbers(&self) -> Vec<i64> {
        self.held.lock().unwrap().values().flat_map(|(rows, _)| rows.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_to_the_row_limit_and_nothing_is_lost() {
    let run = Run::new(Guarantee::Idempotent);
    run.to_end(&[("trigger", "available-now")], Faults::none()).await.unwrap();
    assert_eq!(run.numbers(), (0..1000).collect::<Vec<_>>());
    assert_eq!(*run.watch.batches.lock().unwrap(), (0..10).map(|b| (b, 100)).collect::<Vec<_>>());
    // Again: there is nothing to do.
    run.to_end(&[("trigger", "available-now")], Faults::none()).await.unwrap();
    assert_eq!(run.watch.batches.lock().unwrap().len(), 10);
    // More has come.
    run.to_end(&[("trigger", "available-now"), ("source.count", "1050")], Faults::none()).await.unwrap();
    assert_eq!(run.numbers(), (0..1050).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_with_the_transform_that_it_is_of() {
    let run = Run::new(Guarantee::Idempotent);
    let extra = [("transforms", "odd"), ("transforms.odd.type", "Panics"), ("restart.attempts", "0")];
    let error = run.to_end(&extra, Faults::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("transform 'odd': the transform panicked: too large"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_is_one_batch_whatever_the_limits() {
    let run = Run::new(Guarantee::Idempotent);
    run.to_end(&[("trigger", "once"), ("source.boundary", "50")], Faults::none()).await.unwrap();
    assert_eq!(*run.watch.batches.lock().unwrap(), [(0, 1000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_cannot_hold_of_a_trigger_follows_at_once() {
    let run = Run::new(Guarantee::Idempotent);
    let environment = Environment { clock: Arc::new(Still), ..run.environment() };
    let pipeline = start(run.spec(&[("trigger", "1 hour")]), environment);
    tokio::time::timeout(std::time::Duration::from_secs(60), pipeline.join()).await.expect("it waits").unwrap();
    assert_eq!(*run.watch.batches.lock().unwrap(), (0..10).map(|b| (b, 100)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_may_end_a_batch() {
    let run = Run::new(Guarantee::Idempotent);
    run.to_end(&[("source.boundary", "60")], Faults::none()).await.unwrap();
    assert_eq!(run.watch.batches.lock().unwrap()[..2], [(0, 60), (1, 60)]);
    assert_eq!(run.numbers().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_at_any_point_is_made_good_by_a_restart() {
    for guarantee in [Guarantee::Idempotent, Guarantee::Transactional] {
        for kind in [ErrorKind::Io, ErrorKind::Panic] {
            let points = Arc::new(Mutex::new(std::collections::BTreeMap::<String, usize>::new()));
            let seen = points.clone();
            let count = Faults::hook(move |name| {
                *seen.lock().unwrap().entry(name.to_owned()).or_default() += 1;
                Ok(())
            });
            Run::new(guarantee).to_end(&[], count).await.unwrap();
            let points = points.lock().unwrap().clone();
            assert!(points.len() > 15, "{points:?}");
            for (point, passes) in points {
                for nth in [0, passes / 2, passes - 1] {
                    let run = Run::new(guarantee);
                    let (left, wanted) = (AtomicUsize::new(nth), point.clone());
                    let faults = Faults::hook(move |name| {
                        if name == wanted && left.fetch_sub(1, Ordering::SeqCst) == 0 {
                            if kind == ErrorKind::Panic {
                                std::panic::resume_unwind(Box::new("injected"));
                            }
                            return Err(Error::new(kind, "injected").with_retry(Retry::Indeterminate));
                        }
                        Ok(())
                    });
                    run.to_end(&[], faults).await.unwrap_or_else(|e| panic!("{point} {nth}: {e}"));
                    assert_eq!(run.numbers(), (0..1000).collect::<Vec<_>>(), "{guarantee:?} {point} {nth}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_batch_under_way() {
    let run = Run::new(Guarantee::Idempotent);
    let handle = start(run.spec(&[("source.bounded", "false")]), run.environment());
    while run.numbers().len() < 1000 {
        run.watch.committed.notified().await;
    }
    handle.stop();
    handle.join().await.unwrap();
    assert_eq!(run.watch.states.lock().unwrap().last().unwrap(), "Stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_while_the_sink_is_busy_gather_in_one_batch() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::Transactional] {
        let run = Run::new(guarantee);
        let extra =
            [("source.count", "100"), ("source.drip", "true"), ("source.bounded", "false"), ("sink.hold", "true")];
        let handle = start(run.spec(&extra), run.environment());
        while run.numbers().len() < 100 {
            run.watch.committed.notified().await;
        }
        handle.stop();
        handle.join().await.unwrap();
        assert_eq!(run.numbers(), (0..100).collect::<Vec<_>>());
        assert_eq!(run.watch.batches.lock().unwrap()[..1], [(0, 1)]);
        assert!(
            run.watch.batches.lock().unwrap()[1].1 >= 2,
            "the second number waited for the first, and not for others"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_fail_the_task_or_become_dead_letters() {
    let run = Run::new(Guarantee::Idempotent);
    let error = run.to_end(&[("source.bad", "true")], Faults::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("number 50"), "{error}");

    let run = Run::new(Guarantee::Idempotent);
    run.to_end(&[("source.bad", "true"), ("errors.tolerance", "all")], Faults::none()).await.unwrap();
    assert_eq!(run.numbers().len(), 990);
    let mut letters = Vec::new();
    for file in std::fs::read_dir(run.folder.path().join("p/dead-letters")).unwrap() {
        letters.extend(std::fs::read_to_string(file.unwrap().path()).unwrap().lines().map(str::to_owned));
    }
    letters.sort();
    assert_eq!(letters.len(), 10);
    let first: serde_json::Value = serde_json::from_str(&letters[0]).unwrap();
    assert_eq!(first["position"], "number 50");
    assert_eq!(first["raw"], "50");
}

/// Every pipeline has a batch 0: its letters must not overwrite those of another one, or of a run from another checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_several_checkpoints_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let extra = [("source.bad", "true"), ("errors.tolerance", "all"), ("errors.deadletterqueue.path", place)];
    let first = Run::new(Guarantee::Idempotent);
    first.to_end(&extra, Faults::none()).await.unwrap();
    // What a killed run of the first has left goes at its next start, and not before.
    let letters = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let name = letters(folder.path())[0].file_name().unwrap().to_str().unwrap().to_owned();
    let staged = folder.path().join(format!(".{name}.1-0.staged"));
    std::fs::write(&staged, "half").unwrap();
    let second = Run::new(Guarantee::Idempotent);
    second.to_end(&extra, Faults::none()).await.unwrap();
    assert!(staged.exists());
    first.to_end(&extra, Faults::none()).await.unwrap();
    assert!(!staged.exists());
    let lines: usize =
        letters(folder.path()).iter().map(|path| std::fs::read_to_string(path).unwrap().lines().count()).sum();
    assert_eq!(lines, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_one_pipeline_is_refused() {
    let run = Run::new(Guarantee::Idempotent);
    let first = start(run.spec(&[("source.bounded", "false")]), run.environment());
    run.watch.committed.notified().await;
    let error = run.to_end(&[], Faults::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    first.stop();
    first.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_mode_needs_an_aggregation() {
    let run = Run::new(Guarantee::Idempotent);
    let error = levada_engine::plan(&run.spec(&[("output.mode", "complete")])).await.unwrap_err();
    assert!(error.to_string().contains("no aggregation"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_lost_its_data_is_noticed() {
    let run = Run::new(Guarantee::Transactional);
    run.to_end(&[], Faults::none()).await.unwrap();
    run.held.lock().unwrap().clear();
    let error = run.to_end(&[], Faults::none()).await.unwrap_err();
    assert!(error.to_string().contains("the sink holds no batch"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_adapt_to_a_target_duration() {
    let run = Run::new(Guarantee::Idempotent);
    let extra = [("batch.max.rows", "100000"), ("batch.target.duration", "10 s"), ("source.boundary", "10")];
    run.to_end(&extra, Faults::none()).await.unwrap();
    assert_eq!(run.numbers().len(), 1000);
}

/// A source that cannot be reached: how often the task began, and how long that took.
async fn attempts(extra: &[(&str, &str)]) -> (usize, std::time::Duration) {
    let run = Run::new(Guarantee::Idempotent);
    let began = std::time::Instant::now();
    let faults = Faults::hook(|name| match name {
        "read.before" => Err(Error::new(ErrorKind::Unavailable, "nobody answers")),
        _ => Ok(()),
    });
    let error = run.to_end(extra, faults).await.unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error}");
    let states = run.watch.states.lock().unwrap().clone();
    assert_eq!(states.last().unwrap(), "Failed");
    (states.iter().filter(|state| *state == "Restarting").count(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_for_as_long_as_the_user_says() {
    let (restarts, _) = attempts(&[("restart.attempts", "3")]).await;
    assert_eq!(restarts, 3);
    let (restarts, _) = attempts(&[("errors.retry.timeout", "0")]).await;
    assert_eq!(restarts, 0);
    let retry = [("errors.retry.timeout", "400"), ("errors.retry.delay.max.ms", "20"), ("restart.attempts", "0")];
    let (restarts, took) = attempts(&retry).await;
    assert!(restarts >= 5, "only {restarts} in {took:?}");
    assert!(took >= std::time::Duration::from_millis(400), "{took:?}");
}

/// A clock that stands still: the next hour never comes.
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        0
    }
}

/// A clock that stands an hour and a half later each time that it is asked.
struct Leaps(std::sync::atomic::AtomicI64);

impl Clock for Leaps {
    fn now_ms(&self) -> i64 {
        self.0.fetch_add(5_400_000, Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_took_longer_than_the_interval_is_followed_at_once() {
    let run = Run::new(Guarantee::Idempotent);
    let environment = Environment { clock: Arc::new(Leaps(0.into())), ..run.environment() };
    let pipeline = start(run.spec(&[("trigger", "1 hour"), ("source.boundary", "60")]), environment);
    tokio::time::timeout(std::time::Duration::from_secs(60), pipeline.join()).await.expect("it waits").unwrap();
    assert_eq!(run.numbers(), (0..1000).collect::<Vec<_>>());
}
