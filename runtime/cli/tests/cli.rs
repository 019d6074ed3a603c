//! The command as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join(format!("{name}.yaml"))
}

fn levada(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_levada")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(file: &Path, data: &Path, more: &[&str]) -> Output {
    let mut args = vec!["run", "--data-dir", data.to_str().unwrap(), file.to_str().unwrap()];
    args.extend(more);
    levada(&args)
}

#[test]
fn word_count_counts_and_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let first = run(&example("word-count"), data.path(), &["--available-now"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let printed = text(&first.stdout);
    assert!(printed.contains("Batch: 1") && printed.contains("|    the|    5|"), "{printed}");
    let second = run(&example("word-count"), data.path(), &["--available-now"]);
    assert!(second.status.success() && second.stdout.is_empty());
    let shown = levada(&["checkpoint", "show", data.path().to_str().unwrap()]);
    assert!(text(&shown.stdout).contains("last batch     1"), "{}", text(&shown.stdout));
}

#[test]
fn the_csv_example_keeps_those_of_age() {
    let data = tempfile::tempdir().unwrap();
    let out = text(&run(&example("csv-filter"), data.path(), &["--available-now"]).stdout);
    let names: Vec<&str> =
        ["Ana", "Bento", "Carla", "Duarte", "Elsa"].into_iter().filter(|n| out.contains(n)).collect();
    assert_eq!(names, ["Ana", "Carla", "Elsa"]);
}

#[test]
fn the_parquet_example_writes_parquet() {
    let data = tempfile::tempdir().unwrap();
    let out = data.path().join("out");
    let path = format!("sink.path={}", out.display());
    let more = ["--set", "trigger=available", "--set", path.as_str(), "--set", "source.rows=100"];
    let done = run(&example("parquet-every-5-seconds"), data.path(), &more);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(out.join("part-00000-00000000000000000000.parquet").exists());
}

#[test]
fn the_windows_example_gives_each_window_once() {
    let data = tempfile::tempdir().unwrap();
    let out = data.path().join("out");
    let path = format!("sink.path={}", out.display());
    let done = run(&example("windowed-words"), data.path(), &["--available-now", "--set", path.as_str()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(out.join("part-00000-00000000000000000004.parquet").exists());
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/windowed-words/windowed-words-sql.yaml");
    let tables = text(&run(&sql, data.path(), &["--available-now"]).stdout);
    assert!(tables.contains("| turns|    7|"), "{tables}");
    // Nothing new: nothing is given out again.
    let again = text(&run(&sql, data.path(), &["--available-now"]).stdout);
    assert!(!again.contains("turns"), "{again}");
}

#[test]
fn the_postgres_example_keeps_each_customers_last_order() {
    let Some(server) = levada_services::postgres::shared() else { return };
    let (data, url) = (tempfile::tempdir().unwrap(), server.database("example"));
    let run = || {
        let file = example("orders-to-postgres");
        let done = Command::new(env!("CARGO_BIN_EXE_levada"))
            .env("PGURL", &url)
            .args(["run", "--data-dir", data.path().to_str().unwrap(), file.to_str().unwrap()])
            .args([
                "--set",
                "trigger=available",
                "--set",
                "source.rows=5000",
                "--set",
                "source.rows.per.second=1000000",
            ])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        server.sql(&url, "SELECT count(*) = count(DISTINCT customer), max(order_id) FROM last_orders").trim().to_owned()
    };
    let last = |row: String| row.strip_prefix("t|").unwrap_or_else(|| panic!("{row}")).parse::<u64>().unwrap();
    let first = last(run());
    let second = last(run());
    assert!(first < second || second == 4999, "{first}, then {second}");
}

#[test]
fn every_error_is_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "source: {class: Fils, path: in}\nsink: {class: Console, truncat: 5}\ntriger: once\n")
        .unwrap();
    let out = levada(&["validate", file.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    let errors = text(&out.stderr);
    for part in ["did you mean 'Files'?", "did you mean 'sink.truncate'?", "did you mean 'trigger'?"] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    // Options whose prefix was forgotten.
    let unprefixed = "source: {class: Files}\nsink: {class: Files}\npath: in\nrecursive: true\ncondition: 'true'\n\
                      transforms: f\ntransforms.f.type: Filter\n";
    std::fs::write(&file, unprefixed).unwrap();
    let errors = text(&levada(&["validate", file.to_str().unwrap()]).stderr);
    for part in [
        "path: unknown key; did you mean 'source.path' or 'sink.path'?",
        "recursive: unknown key; did you mean 'source.recursive'?",
        "condition: unknown key; did you mean 'transforms.f.condition'?",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
}

/// Every plugin with a check of its own: its keys are told as they stand in the file.
#[test]
fn what_options_do_not_go_together_is_named_by_the_keys_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let pipeline = r#"{
        "source": {"class": "Datagen", "kind": "orders", "skew": 2},
        "transforms": "a, b, c, d",
        "transforms.a.type": "Select",
        "transforms.b": {"type": "WordCount", "column": "x", "word.column": "w", "count.column": "w"},
        "transforms.c": {"type": "WindowedAggregate", "slide": "1 second", "aggregates": "count(*)"},
        "transforms.d.type": "Filter",
        "sink": {"class": "Files", "path": "out", "format": "Parquet", "compression": "GZIP"}
    }"#;
    std::fs::write(&file, pipeline).unwrap();
    let errors = text(&levada(&["validate", file.to_str().unwrap()]).stderr);
    for part in [
        "source.skew: ",
        "transforms.a.columns: missing",
        "transforms.b.count.column = 'w'",
        "transforms.c.slide: ",
        "transforms.d.condition: missing",
        "sink.compression = 'gzip'",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    for twice in ["source.source.", "transforms.a.transforms.", "transforms.b.transforms.b", "sink.sink."] {
        assert!(!errors.contains(twice), "{errors}");
    }
}

#[test]
fn an_interrupt_ends_it_well() {
    let data = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_levada"))
        .args(["run", "--data-dir", data.path().to_str().unwrap(), example("word-count").to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Batch: 1")));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_readme_names_every_plugin() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    for line in text(&levada(&["plugin", "list"]).stdout).lines() {
        let name = line.split_whitespace().nth(1).unwrap();
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README's table");
    }
}

#[test]
fn plugins_describe_themselves() {
    let list = text(&levada(&["plugin", "list"]).stdout);
    for name in ["Files", "Datagen", "WordCount", "Filter", "Select", "Console", "Null"] {
        assert!(list.contains(name), "{name} is not in {list}");
    }
    assert!(text(&levada(&["plugin", "describe", "files"]).stdout).contains("`source.max.files.per.trigger`"));
    assert!(text(&levada(&["plugin", "describe", "pipeline"]).stdout).contains("`batch.max.rows`"));
    let functions = text(&levada(&["plugin", "describe", "functions"]).stdout);
    assert!(functions.contains("date_format") && functions.contains("collect_list"), "{functions}");
    assert_eq!(levada(&["plugin", "describe", "Consol"]).status.code(), Some(2));
    assert!(text(&levada(&["completions", "bash"]).stdout).contains("_levada"));
}

#[test]
fn validate_shows_columns_as_ddl_and_all_errors_at_once() {
    let out = levada(&["validate", example("parquet-every-5-seconds").to_str().unwrap()]);
    assert!(text(&out.stdout).contains("out: order_id BIGINT, customer STRING, total DECIMAL(21,2), ts TIMESTAMP"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let config = "triger: once\nsource: {class: Datagen, kind: orders}\ntransforms: a, b\n\
                  transforms.a: {type: Filter, condition: quantty > 3}\ntransforms.b: {type: Fliter}\n\
                  sink: {class: Fils}\n";
    std::fs::write(&file, config).unwrap();
    let errors = text(&levada(&["validate", file.to_str().unwrap(), "missing.yaml"]).stderr);
    for part in
        ["did you mean 'trigger'?", "did you mean 'Filter'?", "did you mean 'Files'?", "did you mean 'quantity'?"]
    {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    assert!(errors.contains("missing.yaml: does not exist"), "{errors}");
}

#[test]
fn a_pipeline_that_would_read_what_it_writes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let file = folder.path().join("p.yaml");
    let config = "source: {class: Files, path: \"${dir}/in\"}\nsink: {class: Files, path: \"${dir}/out\"}\n";
    std::fs::write(&file, config).unwrap();
    let validate = |set: &str| {
        let set = set.replace("DIR", folder.path().to_str().unwrap());
        let out = levada(&["validate", file.to_str().unwrap(), "--set", &set]);
        (out.status.code(), text(&out.stderr))
    };
    let letters = "errors.deadletterqueue.path";
    for (set, wanted) in [
        ("sink.path=DIR/in", Some("sink.path: the source 'Files' would read what is written there")),
        ("sink.path=DIR/in/_out", None),
        ("errors.deadletterqueue.path=DIR/in", Some("the source 'Files' would read the dead letters")),
        ("errors.deadletterqueue.path=DIR/out/bad", Some("who reads the sink's files would take")),
        ("errors.deadletterqueue.path=DIR/out/_bad", None),
        ("errors.deadletterqueue.path=DIR/bad", None),
    ] {
        let (code, errors) = validate(set);
        assert_eq!(code, Some(if wanted.is_some() { 2 } else { 0 }), "{set}: {errors}");
        assert!(errors.contains(wanted.unwrap_or_default()), "{set}: {errors}");
        assert!(!set.starts_with(letters) || wanted.is_none() || errors.contains(letters), "{errors}");
    }
}

/// The checkpoint lies one folder further down: one level up everything would be read again.
#[test]
fn a_pipelines_folder_is_no_checkpoint() {
    let data = tempfile::tempdir().unwrap();
    let done = run(&example("word-count"), data.path(), &["--available-now"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for (folder, wanted) in [("word-count", 2), ("word-count/checkpoint", 0)] {
        let set = format!("checkpoint.location={}", data.path().join(folder).display());
        let again = run(&example("word-count"), data.path(), &["--available-now", "--set", &set]);
        assert_eq!(again.status.code(), Some(wanted), "{}", text(&again.stderr));
        assert!(again.stdout.is_empty(), "nothing is counted again");
    }
}

#[test]
fn late_rows_are_told_with_their_batch() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let config = "source: {class: Files, path: \"${dir}/in\", format: json, schema: \"at TIMESTAMP, k STRING\"}\n\
                  transforms: c\n\
                  transforms.c: {type: WindowedAggregate, time: at, watermark: 500 ms, window: 1h, group.by: k, \
                  aggregates: count(*) AS n}\nsink: {class: \"Null\"}\n";
    std::fs::write(&file, config).unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let rows = "{\"at\":\"1969-07-20T20:17:40Z\",\"k\":\"a\"}\n{\"at\":\"1971-01-01\",\"k\":\"a\"}\n";
    std::fs::write(folder.path().join("in/1.json"), rows).unwrap();
    // Of a run before, which was killed while it wrote.
    let progress = folder.path().join("progress");
    std::fs::write(&progress, "{\"half").unwrap();
    let more = ["--available-now", "--progress", progress.to_str().unwrap()];
    let told = text(&run(&file, folder.path(), &more).stderr);
    assert!(told.contains("late_rows=1"), "{told}");
    let progress = std::fs::read_to_string(&progress).unwrap();
    let (half, events) = progress.split_once('\n').unwrap();
    assert_eq!(half, "{\"half");
    assert!(events.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{events}");
}

#[test]
fn exit_codes_say_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let bad = folder.path().join("bad.yaml");
    std::fs::write(folder.path().join("people.csv"), "Ana,old\n").unwrap();
    let config = "source: {class: Files, path: \"${dir}/people.csv\", format: csv, schema: a STRING, malformed.rows: error}\n\
                  sink: {class: \"Null\"}\n";
    std::fs::write(&bad, config).unwrap();
    let failed = run(&bad, folder.path(), &["--once"]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("people.csv, line 1"), "{}", text(&failed.stderr));
    assert_eq!(levada(&["run"]).status.code(), Some(2));
    assert_eq!(levada(&["run", "--log-level", "loud", "p.yaml"]).status.code(), Some(2));

    let mut first = Command::new(env!("CARGO_BIN_EXE_levada"))
        .args(["run", "--data-dir", data, example("word-count").to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Batch: 1")));
    let second = run(&example("word-count"), folder.path(), &["--once"]);
    assert_eq!(second.status.code(), Some(3), "{}", text(&second.stderr));
    let shown = levada(&["checkpoint", "show", data]);
    assert_eq!(shown.status.code(), Some(3), "{}", text(&shown.stderr));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn more_tasks_than_can_run_are_said() {
    let out = levada(&["validate", "--set", "tasks.max=4", example("word-count").to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0));
    assert!(
        text(&out.stderr).contains("tasks.max = 4, but the source 'Files' cannot be split"),
        "{}",
        text(&out.stderr)
    );
}

/// A terminal is made by script(1), which is part of util-linux.
#[test]
fn a_terminal_shows_a_live_line_and_a_pipe_does_not() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("p.yaml");
    std::fs::write(&file, "source: {class: Datagen, kind: orders, rows: 10}\nsink: {class: \"Null\"}\n").unwrap();
    let command = format!(
        "{} run --data-dir {} {}",
        env!("CARGO_BIN_EXE_levada"),
        data.path().join("a").display(),
        file.display()
    );
    let made = Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
    let Ok(made) = made else {
        assert!(std::env::var_os("CI").is_none(), "script(1) is missing");
        eprintln!("SKIPPED: script(1) is missing");
        return;
    };
    let shown = text(&made.stdout);
    assert!(shown.contains("p  batch ") && shown.contains("10 rows"), "{shown}");
    assert!(!shown.contains("batch committed"), "{shown}");
    let piped = text(&run(&file, &data.path().join("b"), &[]).stderr);
    assert!(piped.contains("batch committed") && !piped.contains('\r'), "{piped}");
}

/// What is said of bad rows, which are tolerated, with these settings.
fn said_of_bad_rows(settings: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    std::fs::create_dir(&input).unwrap();
    std::fs::write(input.join("a.jsonl"), "{\"n\": 1}\n{\"n\": secret-1\n{\"n\": \"secret-2\"}\n").unwrap();
    let file = folder.path().join("p.yaml");
    let config = format!(
        "source: {{class: Files, path: \"{}\", format: json, schema: n STRING}}\n\
         transforms: pick\n\
         transforms.pick: {{type: Select, columns: \"CAST(n AS INT) AS n\", ansi: \"true\"}}\n\
         sink: {{class: \"Null\"}}\nerrors.tolerance: all\n",
        input.display()
    );
    std::fs::write(&file, config).unwrap();
    let mut more = vec!["--available-now"];
    settings.iter().for_each(|setting| more.extend(["--set", *setting]));
    let done = run(&file, folder.path(), &more);
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stderr)
}

#[test]
fn bad_rows_are_logged_as_far_as_wanted() {
    let said = said_of_bad_rows(&[]);
    assert!(!said.contains("bad row") && !said.contains("secret"), "{said}");

    let said = said_of_bad_rows(&["errors.log.enable=true"]);
    let lines: Vec<_> = said.lines().filter(|line| line.contains("bad row")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("stage=source") && lines[0].contains("a.jsonl, line 2"), "{said}");
    assert!(lines[0].contains("malformed JSON"), "{said}");
    assert!(lines[1].contains("stage=pick") && lines[1].contains("a.jsonl, line 3"), "{said}");
    assert!(!said.contains("content="), "{said}");

    let said = said_of_bad_rows(&["errors.log.enable=true", "errors.log.include.messages=true"]);
    let lines: Vec<_> = said.lines().filter(|line| line.contains("bad row")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("content=") && lines[0].contains("secret-1"), "{said}");
    assert!(lines[1].contains("content=") && lines[1].contains("secret-2"), "{said}");

    let said = said_of_bad_rows(&["errors.log.include.messages=true"]);
    assert!(!said.contains("bad row"), "{said}");
}
