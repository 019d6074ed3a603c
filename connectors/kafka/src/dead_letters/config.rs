//! The options of the queue for bad rows: Kafka Connect's, and how the brokers are reached.

use levada_connector_api::config::{
    Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, RawConfig, Validator,
};

use crate::client;
use crate::config::SINK_FIXED;

/// Below these, options go to librdkafka as they are.
pub(super) const PREFIXES: [&str; 2] = ["kafka.", "producer.override."];
/// What stands before such options of a source or a sink.
const FOREIGN: [&str; 3] = ["kafka.", "consumer.override.", "producer.override."];

pub(super) fn definition() -> ConfigDef {
    use ConfigType::{Boolean, Int, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(
            key(
                "topic.name",
                String,
                High,
                "The topic that bad rows go to, with the key and the value that they had, byte for \
                byte. It is created if it is missing.",
            )
            .validator(Validator::non_empty()),
        )
        .key(
            key(
                "topic.replication.factor",
                Int,
                Medium,
                "How many replicas it gets when it is created; -1 is the broker's default. \
                A single broker takes 1.",
            )
            .default(3)
            .validator(Validator::at_least(-1)),
        )
        .key(
            key(
                "context.headers.enable",
                Boolean,
                Medium,
                "Whether each message tells in headers, `__connect.errors.*`, where it \
                came from and what was wrong with it.",
            )
            .default(false),
        )
        .key(
            key(
                "bootstrap.servers",
                String,
                Medium,
                "The brokers, and below `kafka.` how they are reached. Default: those of the \
                pipeline's Kafka source or sink.",
            )
            .optional()
            .validator(Validator::non_empty()),
        )
        .key(
            key(
                "progress.topic",
                String,
                Low,
                "The compacted topic for progress records. Default: the sink's, or `levada-progress-` and \
                the pipeline's name.",
            )
            .optional()
            .validator(Validator::non_empty()),
        )
        .key(
            key(
                "transactional.id",
                String,
                Low,
                "What transactional ids begin with; the task's number and `-dead-letters` follow. \
                Default: the sink's, or `levada-` and the pipeline's name.",
            )
            .optional()
            .validator(Validator::non_empty()),
        )
        .key(key("kafka.*", String, Medium, "Goes to librdkafka as it is.").optional())
        .key(key("producer.override.*", String, Medium, "The same, under Connect's name.").optional())
}

pub(super) fn check(config: &Config) -> Vec<ConfigError> {
    client::check(config, &PREFIXES, &SINK_FIXED)
}

/// How the brokers are reached is taken over from the pipeline's source or sink, unless it is given.
pub(super) fn inherit(own: &mut RawConfig, end: &Config) {
    let elsewhere = own.contains_key("bootstrap.servers") || own.contains_key("kafka.bootstrap.servers");
    for key in ["progress.topic", "transactional.id", "bootstrap.servers"] {
        if let Some((_, value)) = end.below("").find(|(name, _)| *name == key)
            && !elsewhere
        {
            own.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    for (key, value) in FOREIGN.iter().flat_map(|prefix| end.below(prefix)) {
        if client::is_for_all(key) && !elsewhere {
            own.entry(format!("kafka.{key}")).or_insert_with(|| value.to_owned());
        }
    }
}
