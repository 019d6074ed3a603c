//! The options of the Kafka source and sink.

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_formats::{converter, ddl};

use crate::client;
use crate::source::keys;
use crate::source::places;

/// Below these, the source's options go to librdkafka as they are.
pub(crate) const SOURCE_PREFIXES: [&str; 2] = ["kafka.", "consumer.override."];
/// What the source sets itself.
pub(crate) const SOURCE_FIXED: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
];
/// What can stand beside the payload's columns.
pub(crate) const METADATA: [&str; 7] =
    ["key", "topic", "partition", "offset", "timestamp", "timestamp_type", "headers"];

fn servers() -> ConfigKey {
    let doc = "The brokers to begin with: `host:9092,host:9092`. `kafka.bootstrap.servers` means the same.";
    ConfigKey::new("bootstrap.servers", ConfigType::String, Importance::High, doc)
        .optional()
        .validator(Validator::non_empty())
}

fn through(name: &str, doc: &str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, Importance::Medium, doc).optional().group("Connection")
}

/// The options of the source.
pub(crate) fn source() -> ConfigDef {
    use ConfigType::{Boolean, Duration, List, Long, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(servers())
        .key(key("topics", List, High, "The topics to read.").optional())
        .key(
            key("topics.regex", String, High, "A pattern that the whole name of a topic must match; new topics are found while running.")
                .optional()
                .validator(Validator::new("a regular expression", |text| places::pattern(text).map(|_| ()).map_err(|e| e.message().to_owned()))),
        )
        .key(
            key("assign", String, Medium, "Certain partitions, as JSON: `{\"cars\": [0, 2]}`.")
                .optional()
                .validator(Validator::new("JSON", |text| places::assignment(text).map(|_| ()))),
        )
        .key(
            key("starting.offsets", String, High, "Where a pipeline without a checkpoint begins: `earliest`, `latest`, or JSON with \
                an offset for each partition, where -2 is the earliest and -1 the latest: `{\"cars\": {\"0\": 42, \"1\": -2}}`. \
                Partitions that appear later are read from their first message.")
                .default("earliest")
                .validator(Validator::new("earliest, latest, JSON", |text| places::Start::parse(text).map(|_| ()))),
        )
        .key(
            key("starting.timestamp", String, Medium, "Begin with the first message of this time or later instead: milliseconds since \
                1970, for all partitions, or as JSON for each: `{\"cars\": {\"0\": 1700000000000}}`. A partition without such a \
                message begins at its end.")
                .optional()
                .validator(Validator::new("milliseconds, JSON", |text| places::Start::parse_times(text).map(|_| ()))),
        )
        .key(
            key("fail.on.data.loss", Boolean, High, "Whether the task fails when messages that it has not read are gone (expired, or their \
                topic was deleted). If not, it warns and goes on after them.")
                .default(true),
        )
        .key(
            key("max.offsets.per.trigger", Long, High, "How many messages a trigger may have, over all partitions. Several tasks \
                have equal parts of it.")
                .optional()
                .validator(Validator::at_least(1)),
        )
        .key(
            key("min.offsets.per.trigger", Long, Medium, "How many messages a micro-batch waits for.")
                .optional()
                .validator(Validator::at_least(1))
                .dependents(&["max.trigger.delay"]),
        )
        .key(key("max.trigger.delay", Duration, Medium, "How long it waits for them at most.").default("15 minutes"))
        .key(
            key("isolation.level", String, Medium, "Whether messages of transactions that are not committed are read.")
                .default("read_committed")
                .one_of(&["read_committed", "read_uncommitted"]),
        )
        .key(
            key("transaction.wait", Duration, Low, "How long a run that ends (triggers available-now and once) waits, when it begins, \
                for transactions that are not decided: the brokers tell of a commit a moment after it was made.")
                .default("10 seconds"),
        )
        .key(
            key("partition.discovery.interval", Duration, Low, "How often new partitions and topics are looked for.")
                .default("10 seconds"),
        )
        .key(
            key("value.converter", String, High, "How values become columns: `csv` needs `value.converter.schema`, `json` should have it; \
                without a converter the value is a binary column. The class names of Connect's converters mean the same.")
                .optional()
                .group("Columns")
                .validator(converter_name(converter::NAMES)),
        )
        .key(
            key("value.converter.schema", String, High, "The columns, as DDL: `dataId STRING NOT NULL, trsmDy INT`. Without it those of json are \
                found when the pipeline starts: in the schemas of messages, or in up to 1,000 of the oldest messages as \
                Spark infers them. A field that is in none of them is left out.")
                .optional()
                .group("Columns")
                .validator(Validator::new("DDL", |text| ddl::parse_schema(text).map(|_| ()).map_err(|e| e.to_string()))),
        )
        .key(
            key("value.converter.schemas.enable", Boolean, Medium, "Of json: whether each message is Connect's `{\"schema\": …, \"payload\": …}`. \
                (Connect's own default is true.)")
                .default(false)
                .group("Columns"),
        )
        .key(
            key("key.converter", String, Medium, "How keys are read. `json` needs `key.converter.schema`. A key that cannot be read makes the \
                message a bad row.")
                .default("bytes")
                .group("Columns")
                .validator(converter_name(&["bytes", "string", "json", "short", "integer", "long", "float", "double"])),
        )
        .key(
            key("key.converter.schema", String, Medium, "The fields of JSON keys, as DDL: `id BIGINT NOT NULL, place STRING`; the column is a STRUCT \
                of them. Where keys are single values, their type: `BIGINT`.")
                .optional()
                .group("Columns")
                .validator(Validator::new("DDL", |text| keys::parse_schema(text).map(|_| ()).map_err(|e| e.to_string()))),
        )
        .key(
            key("key.converter.schemas.enable", Boolean, Medium, "Of json: whether each key is Connect's `{\"schema\": …, \"payload\": …}`.")
                .default(false)
                .group("Columns"),
        )
        .key(
            key("metadata.columns", List, Medium, "What stands beside the value: of key, topic, partition, offset, timestamp, \
                timestamp_type, headers. Default: all but headers; with a converter also without timestamp_type.")
                .optional()
                .group("Columns")
                .validator(Validator::new(METADATA.join(", "), |text| {
                    let unknown = |name: &&str| !name.is_empty() && !METADATA.contains(name);
                    match text.split(',').map(str::trim).find(unknown) {
                        Some(name) => Err(format!("'{name}' is none of {}", METADATA.join(", "))),
                        None => Ok(()),
                    }
                })),
        )
        .key(
            key("metadata.prefix", String, Low, "What the names of these columns begin with. Default: `_` with a converter, nothing without.")
                .optional()
                .group("Columns"),
        )
        .key(key("include.headers", Boolean, Medium, "Whether there is a column of headers, as in Spark.").default(false).group("Columns"))
        .key(
            key("malformed.rows", String, Medium, "What becomes of a value that cannot be decoded: `error` makes it a bad row (see \
                `errors.tolerance`), `null` a row of nulls, `drop` nothing.")
                .default("error")
                .group("Columns")
                .one_of(&["error", "null", "drop"]),
        )
        .key(
            key("malformed.fields", String, Medium, "What becomes of a field that does not fit its type: `null`, as Spark's from_json has \
                it, or `error`, which makes the message a bad row, as does a null in a NOT NULL column.")
                .default("null")
                .group("Columns")
                .one_of(&["null", "error"]),
        )
        .key(
            key("group.id", String, Medium, "The consumer group that offsets are committed to after the sink has them, for lag tools: \
                reading does not depend on it. Default: `levada-` and the pipeline's name.")
                .optional()
                .group("Connection")
                .validator(Validator::non_empty()),
        )
        .key(through("kafka.*", "Goes to librdkafka as it is: `kafka.security.protocol`, `kafka.sasl.mechanism`, `kafka.ssl.ca.location`, …"))
        .key(through("consumer.override.*", "The same, under Connect's name."))
}

fn converter_name(allowed: &'static [&'static str]) -> Validator {
    Validator::new(allowed.join(", "), move |text| match converter::canonical(text.trim()) {
        Some(name) if allowed.contains(&name) => Ok(()),
        _ => Err(format!("use one of {}", allowed.join(", "))),
    })
}

/// What no single option of the source can tell.
pub(crate) fn check_source(config: &Config) -> Vec<ConfigError> {
    let mut errors = client::check(config, &SOURCE_PREFIXES, &SOURCE_FIXED);
    let given: Vec<_> = ["topics", "topics.regex", "assign"].into_iter().filter(|key| config.is_given(key)).collect();
    match given.as_slice() {
        [] => errors.push(ConfigError::new("topics", "missing; set topics, topics.regex or assign")),
        [_] => {}
        [_, other, ..] => errors.push(ConfigError::new(*other, format!("only one of {} can be set", given.join(", ")))),
    }
    if config.list_opt("topics").is_some_and(|topics| topics.is_empty()) {
        errors.push(ConfigError::new("topics", "it names no topic"));
    }
    if config.is_given("starting.timestamp") && config.is_given("starting.offsets") {
        errors.push(ConfigError::new("starting.timestamp", "starting.offsets is set, too; remove one of them"));
    }
    let json_keys = converter::canonical(config.string("key.converter").trim()) == Some("json");
    if json_keys && !config.is_given("key.converter.schema") {
        let message = "missing; JSON keys need their fields: 'id BIGINT NOT NULL', or their type: 'BIGINT'";
        errors.push(ConfigError::new("key.converter.schema", message));
    }
    for key in ["key.converter.schema", "key.converter.schemas.enable"] {
        if !json_keys && config.is_given(key) {
            errors.push(ConfigError::new(key, "it is for key.converter=json"));
        }
    }
    let kind = config.string_opt("value.converter").and_then(|name| converter::canonical(name.trim()));
    let needs = kind == Some("csv");
    if needs && !config.is_given("value.converter.schema") {
        let message = format!("missing; {} needs its columns: 'name STRING, age INT'", kind.unwrap_or_default());
        errors.push(ConfigError::new("value.converter.schema", message));
    }
    if config.bool("value.converter.schemas.enable") && kind != Some("json") {
        errors.push(ConfigError::new("value.converter.schemas.enable", "it is for value.converter=json"));
    }
    if !matches!(kind, Some("json" | "csv")) && config.is_given("value.converter.schema") {
        errors.push(ConfigError::new("value.converter.schema", "it is for value.converter=json or csv"));
    }
    errors
}

/// Below these, the sink's options go to librdkafka as they are.
pub(crate) const SINK_PREFIXES: [&str; 2] = ["kafka.", "producer.override."];
/// What the sink sets itself.
pub(crate) const SINK_FIXED: [(&str, &str); 3] = [
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "false"),
    // Of a million messages that arrive, nobody wants to hear: a flush counts them.
    ("delivery.report.only.error", "true"),
];

/// The options of the sink.
pub(crate) fn sink() -> ConfigDef {
    use ConfigType::{Boolean, Int, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(servers())
        .key(
            key("topic", String, High, "The topic to write to. Without it each row names its topic in the column `_topic`, or `topic`.")
                .optional()
                .validator(Validator::non_empty()),
        )
        .key(
            key("delivery.guarantee", String, High, "`exactly-once`: a transaction a micro-batch, with a progress record. `at-least-once`: \
                rows are sent as they come, sooner seen, and may be seen twice after a crash.")
                .default("exactly-once")
                .one_of(&["exactly-once", "at-least-once"]),
        )
        .key(
            key("value.converter", String, High, "How rows become values: `json` writes all columns that are not metadata as an object; \
                `string` and `bytes` write the column `value` as it is. Default: as it is where `value` is the only such column \
                and is text or binary, else json. The class names of Connect's converters mean the same.")
                .optional()
                .group("Columns")
                .validator(converter_name(&["json", "string", "bytes"])),
        )
        .key(
            key("value.converter.schemas.enable", Boolean, Medium, "Of json: whether each message is Connect's `{\"schema\": …, \"payload\": …}`, as \
                its JDBC sinks want it.")
                .default(false)
                .group("Columns"),
        )
        .key(
            key("key.column", String, High, "The column that becomes the key; rows with equal keys go to one partition. Default: `_key` \
                or `key`, where there is one of them beside the value.")
                .optional()
                .group("Columns"),
        )
        .key(key("headers.column", String, Low, "The column of headers. Default: `_headers`, or `headers` beside a raw `value`.").optional().group("Columns"))
        .key(key("partition.column", String, Low, "The column that says which partition a row goes to.").optional().group("Columns"))
        .key(key("timestamp.column", String, Low, "The column that becomes the time of the message, a TIMESTAMP.").optional().group("Columns"))
        .key(
            key("json.timestamps", String, Low, "Of json with schemas: how times are written. `millis`: as Connect's Timestamp, without what is finer than \
                a millisecond; `micros`: as Debezium's MicroTimestamp.")
                .default("millis")
                .one_of(&["millis", "micros"])
                .group("Columns"),
        )
        .key(key("json.nulls", Boolean, Low, "Whether columns that are null are written as such, not left out.").default(false).group("Columns"))
        .key(
            key("compression", String, Medium, "How batches of messages are compressed.")
                .default("none")
                .one_of(&["none", "gzip", "snappy", "lz4", "zstd"]),
        )
        .key(key("topic.creation.enable", Boolean, Medium, "Whether topics that are missing are created.").default(true).group("Topics"))
        .key(
            key("topic.creation.partitions", Int, Medium, "How many partitions they get; -1 is the broker's default.")
                .default(-1)
                .group("Topics")
                .validator(Validator::at_least(-1)),
        )
        .key(
            key("topic.creation.replication.factor", Int, Medium, "How many replicas they get; -1 is the broker's default.")
                .default(-1)
                .group("Topics")
                .validator(Validator::at_least(-1)),
        )
        .key(
            key("progress.topic", String, Low, "The compacted topic for progress records. Default: `levada-progress-` and the pipeline's name.")
                .optional()
                .group("Topics")
                .validator(Validator::non_empty()),
        )
        .key(
            key("transactional.id", String, Low, "What transactional ids begin with; the task's number follows, and for every second micro-batch `-second`. Default: `levada-` and the \
                pipeline's name.")
                .optional()
                .group("Connection")
                .validator(Validator::non_empty()),
        )
        .key(through("kafka.*", "Goes to librdkafka as it is: `kafka.security.protocol`, `kafka.linger.ms`, `kafka.transaction.timeout.ms`, …"))
        .key(through("producer.override.*", "The same, under Connect's name."))
}

/// What no single option of the sink can tell.
pub(crate) fn check_sink(config: &Config) -> Vec<ConfigError> {
    client::check(config, &SINK_PREFIXES, &SINK_FIXED)
}
