//! A broker whose disk is full: it shuts down, and what was promised must be there when it comes back.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use levada_services::kafka::Kafka;
use tempfile::TempDir;

use crate::broken::{Tmpfs, fill, no_disk};
use crate::support::{Site, topics, wait};

/// Rows of one micro-batch: more than a page, so that a disk that is full has no room left for them.
fn lines(batch: usize) -> String {
    let line = |row: usize| format!("{batch}-{row:03} {}\n", "x".repeat(200));
    (0..500).map(line).collect()
}

#[test]
fn it_is_told_and_each_row_arrives_once_when_there_is_space() {
    let root = TempDir::new().unwrap();
    let disk = root.path().join("disk");
    let mounted = match Tmpfs::mount(&disk, 48 << 10) {
        Ok(mounted) => mounted,
        Err(reason) => return no_disk(&reason),
    };
    let Some(mut kafka) = Kafka::start_in(&disk.join("topics")) else { return };
    let (topic, input) = (topics::unique("full"), root.path().join("in"));
    fs::create_dir(&input).unwrap();
    let config = [
        ("name", topic.as_str()),
        ("source.class", "Files"),
        ("source.path", &input.display().to_string()),
        ("source.format", "text"),
        ("source.max.files.per.trigger", "1"),
        ("sink.class", "Kafka"),
        ("sink.bootstrap.servers", kafka.bootstrap()),
        ("sink.topic", &topic),
        // Two minutes are long in a test.
        ("sink.kafka.message.timeout.ms", "3000"),
        ("trigger", "50 ms"),
        ("restart.attempts", "0"),
    ];
    let config: BTreeMap<_, _> = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let site = Site::new(TempDir::new().unwrap(), &config, None);
    // A file comes as a whole.
    let add = |batch: usize| {
        let path = root.path().join(format!("{batch}.txt"));
        fs::write(&path, lines(batch)).unwrap();
        fs::rename(path, input.join(format!("{batch}.txt"))).unwrap();
    };
    add(0);
    topics::write(&kafka, &topic, 2, &["first".to_owned()]);
    let mut running = site.spawn(&[]);
    let since = Instant::now();
    while topics::read(&kafka, &topic).len() == 1 {
        assert!(since.elapsed() < Duration::from_secs(60) && running.try_wait().unwrap().is_none(), "no row came");
        std::thread::sleep(Duration::from_millis(20));
    }
    let filler = fill(&disk);
    add(1);
    let ended = wait(running);
    let error = ended.error();
    assert!(error.starts_with("unavailable: ") && error.contains(kafka.bootstrap()), "{error}");
    assert!(error.contains("disk"), "what to look for: {error}");

    fs::remove_file(filler).unwrap();
    kafka.restart();
    add(2);
    site.set("trigger", "available-now");
    site.run(&[]).succeeded();
    let mut found = topics::read(&kafka, &topic);
    found.sort();
    let expected = (0..3).map(lines).collect::<String>() + "first";
    assert!(found.iter().map(String::as_str).eq(expected.lines()), "{} rows of 1501", found.len());
    kafka.stop();
    drop(mounted);
}
