//! Files that change, vanish, cannot be read or come too late: each is reported by its name.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use levada_connector_api::*;

use crate::source::{all, make, opened, values, write};

/// What is logged on this thread while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!("{field}={value:?} "));
        });
        text.push('\n');
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

async fn poll(source: &mut Box<dyn Source>, batch: u64) -> Vec<String> {
    // The folder is listed at most once an interval of a millisecond: there is time for several.
    let wait = std::time::Duration::from_millis(20);
    values(&source.poll(&PollLimit { wait, ..PollLimit::unlimited(batch) }).await.unwrap())
}

#[tokio::test]
async fn a_file_that_grows_after_it_was_read_is_reported() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"one\n", 1);
    let mut source = opened(folder.path(), &[], &Offsets::new()).await;
    assert_eq!(poll(&mut source, 0).await, ["one"]);
    assert!(poll(&mut source, 1).await.is_empty());
    assert!(!log.text().contains("changed"), "{}", log.text());
    fs::OpenOptions::new().append(true).open(folder.path().join("a.txt")).unwrap().write_all(b"two\n").unwrap();
    assert!(poll(&mut source, 2).await.is_empty());
    assert!(poll(&mut source, 3).await.is_empty());
    let text = log.text();
    assert!(text.contains("a.txt") && text.contains("a file changed after it was read"), "{text}");
    assert_eq!(text.matches("changed").count(), 1, "{text}");
}

#[tokio::test]
async fn what_a_file_grew_by_before_it_was_opened_is_read_and_no_change() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"one\n", 1);
    write(folder.path(), "b.txt", b"x\n", 2);
    let mut source = opened(folder.path(), &[("max.files.per.trigger", "1")], &Offsets::new()).await;
    assert_eq!(poll(&mut source, 0).await, ["one"]);
    // It has been listed with two bytes.
    fs::OpenOptions::new().append(true).open(folder.path().join("b.txt")).unwrap().write_all(b"y\n").unwrap();
    assert_eq!(poll(&mut source, 1).await, ["x", "y"]);
    assert!(poll(&mut source, 2).await.is_empty());
    assert!(!log.text().contains("changed"), "{}", log.text());
}

#[tokio::test]
async fn a_file_that_vanishes_before_it_is_read_is_reported_and_left_out() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3 {
        write(folder.path(), &format!("{i}.txt"), format!("{i}\n").as_bytes(), i);
    }
    let mut source = opened(folder.path(), &[("max.files.per.trigger", "1")], &Offsets::new()).await;
    assert_eq!(poll(&mut source, 0).await, ["0"]);
    fs::remove_file(folder.path().join("1.txt")).unwrap();
    assert_eq!(poll(&mut source, 1).await, ["2"]);
    assert!(log.text().contains("1.txt") && log.text().contains("vanished"), "{}", log.text());
}

#[tokio::test]
async fn a_file_that_comes_too_late_is_reported_and_left_out() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    let options = [("max.file.age", "1 minute")];
    // At first every file counts, whatever its age.
    write(folder.path(), "a.txt", b"old\n", 0);
    write(folder.path(), "b.txt", b"new\n", 1000);
    let mut source = opened(folder.path(), &options, &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    assert_eq!(values(&polled), ["old", "new"]);
    write(folder.path(), "late.txt", b"late\n", 900);
    write(folder.path(), "just.txt", b"just\n", 940);
    assert_eq!(poll(&mut source, 1).await, ["just"]);
    let text = log.text();
    assert!(text.contains("late.txt") && text.contains("max.file.age") && !text.contains("just.txt"), "{text}");
    // The same after a restart.
    let mut at = Offsets::new();
    at.apply(&polled.ranges).unwrap();
    let mut again = opened(folder.path(), &options, &at).await;
    assert_eq!(again.latest().await.unwrap().len(), 1);
    assert_eq!(poll(&mut again, 1).await, ["just"]);
}

/// The superuser may read everything: then the test runs itself again as somebody else.
#[tokio::test]
async fn a_file_that_must_not_be_read_is_named() {
    const INNER: &str = "LEVADA_TEST_UNREADABLE";
    if let Some(folder) = std::env::var_os(INNER) {
        return unreadable(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    write(folder.path(), "secret.txt", b"x\n", 1);
    fs::set_permissions(folder.path().join("secret.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(folder.path().join("secret.txt")).is_err() {
        return unreadable(folder.path()).await;
    }
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", "changes::a_file_that_must_not_be_read_is_named"]).env(INNER, folder.path());
    match inner.uid(65534).gid(65534).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "the test cannot run itself as another user: {error}");
            eprintln!("SKIPPED: the test cannot run itself as another user: {error}");
        }
    }
}

async fn unreadable(folder: &Path) {
    let mut source = opened(folder, &[], &Offsets::new()).await;
    let error = source.poll(&PollLimit::unlimited(0)).await.unwrap_err();
    assert!(error.to_string().contains("secret.txt: permission denied"), "{error}");
    assert_eq!(error.retry(), Retry::Retriable);
    let mut inferring = make(folder, &[("format", "json")]);
    let error = inferring.schema().await.unwrap_err();
    assert!(error.to_string().contains("secret.txt: permission denied"), "{error}");
}

#[tokio::test]
async fn the_order_of_files_does_not_depend_on_the_age_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..5 {
        write(folder.path(), &format!("{i}.txt"), format!("{i}\n").as_bytes(), 1000 * i);
    }
    assert_eq!(all(folder.path(), &[("max.file.age", "1 second")]).await.0, ["0", "1", "2", "3", "4"]);
}

/// Two of three lines are read, one is not: the offsets of a checkpoint.
async fn read_in_part(folder: &Path) -> Offsets {
    write(folder, "a.txt", b"one\ntwo\nthree\n", 1);
    let mut source = opened(folder, &[], &Offsets::new()).await;
    let polled = source.poll(&PollLimit { rows: 2, ..PollLimit::unlimited(0) }).await.unwrap();
    assert_eq!(values(&polled), ["one", "two"]);
    let mut at = Offsets::new();
    at.apply(&polled.ranges).unwrap();
    at
}

#[tokio::test]
async fn a_file_that_is_gone_or_shorter_after_a_part_of_it_was_committed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = read_in_part(folder.path()).await;
    for (content, wanted) in [
        (None, "a.txt: the file is gone, but only a part of it was committed"),
        (Some("one\n"), "a.txt: the file ends at byte 4, but it had 14 bytes when it was recorded"),
        (Some("one\ntwo\nth\n"), "a.txt: the file ends at byte 11, but it had 14 bytes when it was recorded"),
    ] {
        match content {
            None => fs::remove_file(folder.path().join("a.txt")).unwrap(),
            Some(content) => write(folder.path(), "a.txt", content.as_bytes(), 2),
        }
        // Both where the end is known at the start, and where files are looked for all the time.
        let mut source = opened(folder.path(), &[], &at).await;
        let error = source.latest().await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        let mut source = opened(folder.path(), &[], &at).await;
        let error = source.poll(&PollLimit::unlimited(1)).await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_was_written_again_after_a_part_of_it_was_read_is_reported() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    let at = read_in_part(folder.path()).await;
    write(folder.path(), "a.txt", b"ONE\nTWO\nTHREE\n", 2);
    let mut source = opened(folder.path(), &[], &at).await;
    assert_eq!(poll(&mut source, 1).await, ["THREE"]);
    assert!(log.text().contains("written again"), "{}", log.text());
}

#[tokio::test]
async fn a_file_that_grew_is_reported_where_reading_ends_with_what_is_there() {
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"one\n", 1);
    let mut source = opened(folder.path(), &[], &Offsets::new()).await;
    assert_eq!(poll(&mut source, 0).await, ["one"]);
    write(folder.path(), "a.txt", b"one\ntwo\n", 2);
    assert_eq!(source.latest().await.unwrap().len(), 0);
    assert!(log.text().contains("a file changed after it was read"), "{}", log.text());
}

#[tokio::test]
async fn a_damaged_file_is_named_for_good_whatever_its_compression() {
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(b"some text without repetition\n").unwrap();
    let mut zstd = zstd.finish().unwrap();
    let middle = zstd.len() / 2;
    zstd[middle] ^= 1;
    for (name, content) in [("a.zst", &zstd[..]), ("a.gz", &b"\x1f\x8b\x08\x00no"[..])] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, content, 1);
        let mut source = opened(folder.path(), &[], &Offsets::new()).await;
        let error = source.poll(&PollLimit::unlimited(0)).await.unwrap_err();
        assert!(error.to_string().contains("the compressed data is damaged"), "{error}");
        assert_eq!(error.retry(), Retry::Permanent, "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.gz", "b.zst", "c.txt"] {
        write(folder.path(), name, b"", 1);
    }
    assert_eq!(all(folder.path(), &[]).await, (vec![], vec![]));
}

/// Files are known by their names below the folder.
#[tokio::test]
async fn another_folder_with_the_same_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (jan, feb) = (folder.path().join("jan"), folder.path().join("feb"));
    for month in [&jan, &feb] {
        fs::create_dir(month).unwrap();
        write(month, "1.txt", b"one\n", 1);
        write(month, "2.txt", b"two\n", 2);
    }
    let mut at = Offsets::new();
    let mut source = opened(&jan, &[], &at).await;
    for batch in 0..2 {
        at.apply(&source.poll(&PollLimit { rows: 1, ..PollLimit::unlimited(batch) }).await.unwrap().ranges).unwrap();
    }
    opened(&jan, &[], &at).await;
    let mut other = make(&feb, &[]);
    other.schema().await.unwrap();
    let error = other.open(&TaskContext::new("p"), &at).await.unwrap_err().to_string();
    assert!(error.contains("jan") && error.contains("feb") && error.contains("another checkpoint.location"), "{error}");
    // A file by its name lies in the same folder.
    opened(&jan.join("1.txt"), &[], &at).await;
    // Each further piece of the first file has the notes again.
    write(&jan, "3.txt", b"three\n", 3);
    let mut again = opened(&jan, &[], &at).await;
    assert_eq!(poll(&mut again, 2).await, ["three"]);
}

#[tokio::test]
async fn what_cannot_be_read_at_all_does_not_keep_the_rest_from_being_read() {
    use std::os::unix::ffi::OsStrExt as _;
    let (log, _guard) = Log::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.txt", b"good\n", 1);
    fs::create_dir(folder.path().join("below")).unwrap();
    write(&folder.path().join("below"), "deep.txt", b"deep\n", 2);
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"b\xffad.txt")), "bad\n").unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("below/loop")).unwrap();
    std::os::unix::fs::symlink("self", folder.path().join("self")).unwrap();
    std::os::unix::fs::symlink("nothing", folder.path().join("dangling")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert_eq!(all(folder.path(), &[]).await.0, ["good"]);
    assert_eq!(all(folder.path(), &[("recursive", "true")]).await.0, ["good", "deep"]);
    for (pattern, wanted) in [("[g].txt", &[][..]), ("g*.txt", &["good"]), ("*/*.txt", &["deep"]), ("**/d*", &["deep"])]
    {
        assert_eq!(all(&folder.path().join(pattern), &[]).await.0, wanted, "{pattern}");
    }
    for part in ["its name is no UTF-8", "no regular file", "a folder above it", "leads nowhere"] {
        assert!(log.text().contains(part), "{part}: {}", log.text());
    }
    drop(socket);
}
