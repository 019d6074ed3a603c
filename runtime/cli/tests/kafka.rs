//! The examples over Kafka, with real servers, and connectors in Kafka Connect's form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use levada_services::kafka::Kafka;
use levada_services::postgres;
use tempfile::TempDir;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A person at a shell: a folder, and what is exported.
struct Shell {
    data: TempDir,
    exported: Vec<(&'static str, String)>,
}

impl Shell {
    fn new(exported: &[(&'static str, &str)]) -> Self {
        let exported = exported.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { data: tempfile::tempdir().unwrap(), exported }
    }

    fn levada(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.current_dir(self.data.path()).env_remove("LEVADA_BOOTSTRAP_SERVERS").args(args);
        command.envs(self.exported.iter().map(|(key, value)| (*key, value))).output().unwrap()
    }

    fn run(&self, file: &Path, settings: &[&str]) -> Output {
        let mut args = vec!["run", file.to_str().unwrap()];
        settings.iter().for_each(|setting| {
            args.extend(if setting.starts_with("--") { vec![*setting] } else { vec!["--set", *setting] });
        });
        let done = self.levada(&args);
        assert!(done.status.success(), "{}", text(&done.stderr));
        done
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.data.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What validating a connector says.
    fn validate(&self, name: &str, content: &str) -> String {
        let path = self.file(name, content);
        let said = self.levada(&["validate", path.to_str().unwrap()]);
        format!("{}{}", text(&said.stdout), text(&said.stderr))
    }
}

fn topic(stem: &str) -> String {
    format!("{stem}-{}", std::process::id())
}

#[test]
fn cars_come_into_the_table_once() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let url = server.database("cars");
    let shell = Shell::new(&[("LEVADA_BOOTSTRAP_SERVERS", kafka.bootstrap()), ("PGURL", &url)]);
    let (feed, cars) = (example("car-info/feed.json"), example("car-info/car-info.json"));
    let name = topic("cars");
    let (from, into) = (format!("topics={name}"), format!("topic={name}"));
    let count = || {
        shell.run(&cars, &["--available-now", &from]);
        let counts = "SELECT count(*), count(DISTINCT data_id), min(vhclesped) >= 0 FROM car_info_table";
        server.sql(&url, counts).trim().to_owned()
    };
    shell.run(&feed, &[&into, "rows=20000", "rows.per.second=1000000", "trigger=available"]);
    assert_eq!(count(), "20000|20000|t");
    assert_eq!(count(), "20000|20000|t", "nothing is new");

    // The publisher writes what datagen writes: its rows come beside those, and none becomes a dead letter.
    let publisher = example("car-info/publisher");
    let folder = tempfile::tempdir().unwrap();
    for file in ["package.json", "package-lock.json", "publish.js"] {
        std::fs::copy(publisher.join(file), folder.path().join(file)).unwrap();
    }
    let publish = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(folder.path()).env("KAFKA_BROKERS", kafka.bootstrap()).env("KAFKA_TOPIC", &name);
        command.output()
    };
    match publish("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]) {
        Ok(done) if done.status.success() => {}
        failed => {
            assert!(std::env::var_os("CI").is_none(), "npm ci: {failed:?}");
            eprintln!("SKIPPED: the publisher needs node.js and npm: {failed:?}");
            return;
        }
    }
    let done = publish("node", &["publish.js", "3000", "100000"]).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(count(), "23000|23000|t");
}

#[test]
fn words_of_a_topic_are_counted() {
    let Some(kafka) = Kafka::shared() else { return };
    let shell = Shell::new(&[]);
    let name = topic("words");
    let servers = ["source", "sink"].map(|end| format!("{end}.bootstrap.servers={}", kafka.bootstrap()));
    let settings = ["source.rows=500", "source.rows.per.second=100000", "trigger=available"];
    let into = format!("sink.topic={name}");
    shell.run(&example("kafka-word-count/feed.yaml"), &[&settings[..], &[&servers[1], &into]].concat());
    let from = format!("source.topics={name}");
    let count = || {
        let done =
            shell.run(&example("kafka-word-count/kafka-word-count.yaml"), &["--available-now", &servers[0], &from]);
        text(&done.stdout)
    };
    let printed = count();
    // The same words, without a topic between.
    let direct = "source: {class: Datagen, kind: words, rows: 500}\ntransforms: count\ntransforms.count.type: WordCount\n\
                  sink: {class: Console}\ntrigger: once\noutput.mode: complete\n";
    let expected = text(&shell.run(&shell.file("direct.yaml", direct), &[]).stdout);
    assert!(printed == expected && printed.contains("Batch: 0"), "{printed}\nis not\n{expected}");
    assert_eq!(count(), "", "nothing is new");
}

#[test]
fn irises_of_a_topic_are_classified_by_a_model_trained_from_the_files() {
    let Some(kafka) = Kafka::shared() else { return };
    let shell = Shell::new(&[]);
    let (flowers, species) = (topic("flowers"), topic("species"));
    let servers = ["source", "sink"].map(|end| format!("{end}.bootstrap.servers={}", kafka.bootstrap()));
    let rows = ["1.csv", "2.csv"].map(|name| std::fs::read_to_string(example("iris/input").join(name)).unwrap());
    let rows = shell.file("iris.csv", &rows.concat());
    let trained = shell.levada(&["model", "train", rows.to_str().unwrap(), "--label", "_c4", "--out", "my-iris"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let (from, into) = (format!("source.topics={flowers}"), format!("sink.topic={species}"));
    let feed = format!("sink.topic={flowers}");
    let classify = |model: &Path| {
        let model = format!("transforms.predict.model={}", model.display());
        let settings = ["--available-now", &servers[0], &servers[1], &from, &into, &model];
        shell.run(&example("iris/kafka.yaml"), &settings);
    };
    let counted = || {
        let back = format!(
            "name: back\nsource: {{class: Kafka, bootstrap.servers: \"{}\", topics: {species}, value.converter: json, \
             metadata.columns: \"\", value.converter.schema: \"_c2 DOUBLE, _c4 STRING, prediction DOUBLE, species STRING, \
             model_version STRING\"}}\nsink: {{class: Files, path: back, format: csv}}\ntrigger: available-now\n",
            kafka.bootstrap()
        );
        shell.run(&shell.file("back.yaml", &back), &[]);
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(shell.data.path().join("back")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "csv") {
                lines.extend(std::fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned));
            }
        }
        lines
    };
    shell.run(&example("iris/feed.yaml"), &[&servers[1], &feed]);
    // The model of the example first, then the one trained here: it scores what comes after it.
    classify(&example("iris/model"));
    assert_eq!(counted().len(), 150);
    shell.run(&example("iris/feed.yaml"), &[&servers[1], &feed, "name=again"]);
    classify(&shell.data.path().join("my-iris"));
    let lines = counted();
    assert_eq!(lines.len(), 300, "each flower once in each run");
    let fields: Vec<Vec<&str>> = lines.iter().map(|line| line.split(',').collect()).collect();
    let right = fields.iter().filter(|fields| fields[1] == fields[3]).count();
    assert!(right >= 290, "{right} of 300 are right");
    let versions: std::collections::BTreeSet<&str> = fields.iter().map(|fields| fields[4]).collect();
    assert_eq!(versions.len(), 2, "{versions:?}");
    // Both are the same tree: what one says of a flower, the other says, too.
    let mut said = std::collections::BTreeMap::<(&str, &str), usize>::new();
    fields.iter().for_each(|fields| *said.entry((fields[4], fields[3])).or_default() += 1);
    let of =
        |version: &str| said.iter().filter(|(key, _)| key.0 == version).map(|(key, n)| (key.1, *n)).collect::<Vec<_>>();
    let counts: Vec<_> = versions.iter().map(|version| of(version)).collect();
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn a_source_connector_writes_to_its_topic() {
    let Some(kafka) = Kafka::shared() else { return };
    let shell = Shell::new(&[]);
    shell.file("lines.txt", "one\ntwo\nthree\n");
    let name = topic("lines");
    let source = format!(
        "name=lines\nconnector.class=Files\npath=${{dir}}/lines.txt\nformat=text\ntopic={name}\ntrigger=available-now\n"
    );
    let source = shell.file("lines.properties", &source);
    let servers = ["--bootstrap-servers", kafka.bootstrap()];
    let done = shell.levada(&[&["run", source.to_str().unwrap()][..], &servers].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let sink = format!(
        "name: shown\nconnector.class: Console\ntopics: [{name}]\nvalue.converter: org.apache.kafka.connect.storage.StringConverter\n\
         metadata.columns: \"\"\ntrigger: available-now\nbootstrap.servers: {}\n",
        kafka.bootstrap()
    );
    let printed = text(&shell.run(&shell.file("shown.yaml", &sink), &[]).stdout);
    assert!(["one", "two", "three"].iter().all(|line| printed.contains(line)), "{printed}");
}

#[test]
fn what_is_wrong_with_a_connector_is_said_in_its_own_keys() {
    let shell = Shell::new(&[]);
    let said = shell.validate(
        "a.json",
        r#"{"name": "a", "connector.class": "PostgresSink", "topics": "t", "bootstrap.servers": "b:1", "tabel": "t",
            "value.converter": "jsn", "pk.moed": "none", "errors.tolerence": "all", "fetch.min": "1"}"#,
    );
    for part in [
        "tabel: unknown key; did you mean 'table'?",
        "pk.moed: unknown key; did you mean 'pk.mode'?",
        "errors.tolerence: unknown key; did you mean 'errors.tolerance'?",
        "fetch.min: unknown key; 'levada plugin describe PostgresSink'",
        "connection.url: missing; it is required",
        "value.converter = 'jsn': use one of",
    ] {
        assert!(said.contains(part), "{part}\nnot in\n{said}");
    }
    let said = shell.validate("b.properties", "connector.class=PostgresSnik\ntopics=t\n");
    assert!(
        said.contains("connector.class = 'PostgresSnik': no connector is called so; did you mean 'PostgresSink'?"),
        "{said}"
    );
    let said = shell.validate("c.yaml", "connector.class: PostgresSink\nconnection.url: postgres://h/d\ntable: t\n");
    assert!(said.contains("topics: missing; set topics, topics.regex or assign"), "{said}");
    assert!(said.contains("bootstrap.servers: missing"), "{said}");
    let said = shell.validate("d.yaml", "connector.class: Files\npath: p\n");
    assert!(said.contains("it is a source and a sink: set 'topics'"), "{said}");
    let said = shell.validate("e.yaml", "connector.class: Console\nsource.class: Datagen\n");
    assert!(said.contains("source.class: 'connector.class=Console' has Kafka at its other end"), "{said}");
}

#[test]
fn a_connector_is_a_pipeline_with_kafka_at_its_other_end() {
    let shell = Shell::new(&[("LEVADA_BOOTSTRAP_SERVERS", "broker:9092"), ("PGURL", "postgres://h/d")]);
    let file = example("car-info/car-info.json");
    let said = shell.levada(&["validate", "--set", "auto.create=false", file.to_str().unwrap()]);
    let said = text(&said.stdout);
    assert!(said.contains("ok: car-info: Kafka -> pick (Select) -> PostgresSink; append; exactly once"), "{said}");
    assert!(said.contains("in:  dataId STRING NOT NULL, trsmDy INT"), "{said}");
    assert!(said.contains("out: data_id STRING NOT NULL, trmncd STRING, detclot DOUBLE"), "{said}");
    let said = shell.validate(
        "m.json",
        r#"{"name": "m", "config": {"connector.class": "Kafka", "topics.regex": "a.*", "sink.topic": "b"}}"#,
    );
    assert!(said.contains("ok: m: Kafka -> Kafka; append"), "{said}");
}
