//! The keys of a pipeline itself.

use levada_connector_api::OutputMode;
use levada_connector_api::config::{ConfigDef, ConfigKey, ConfigType, Importance, Validator};

use crate::Trigger;

/// The definition of a pipeline's own keys: those without a plugin's prefix.
pub fn definition() -> ConfigDef {
    use ConfigType::{Boolean, Duration, Int, List, Long, Size, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(
            key("name", String, High, "The pipeline's name: its state is found by it. Not given: the file's name without its end.")
                .validator(Validator::new("letters, digits, '.', '_' and '-'", |text| {
                    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
                    if !text.is_empty() && text.chars().all(fits) && !text.starts_with('.') {
                        Ok(())
                    } else {
                        Err("use letters, digits, '.', '_' and '-' only, and no '.' at the start".to_owned())
                    }
                })),
        )
        .key(
            key("connector.class", String, Medium, "'Pipeline' names both its ends. A sink's name makes a sink connector as in Kafka \
                Connect, which reads 'topics' or 'topics.regex'; a source's name a source connector, which writes to 'topic'. The \
                keys of a connector and of its topics need no prefix.")
                .default(super::connect::PIPELINE),
        )
        .key(
            key(super::connect::SERVERS, String, Medium, "The Kafka brokers, for every end that is Kafka and names none: \
                'host:9092,host:9092'. Also 'levada run --bootstrap-servers', or LEVADA_BOOTSTRAP_SERVERS.")
                .optional()
                .validator(Validator::non_empty()),
        )
        .key(
            key("tasks.max", Int, Low, "How many tasks the work may be split over, by the source's partitions. It may change between \
                runs. Sources that cannot be split, and sinks that take one writer, run one.")
                .default(1)
                .validator(Validator::at_least(1)),
        )
        .key(
            key("sources", List, Medium, "The aliases of the sources, when there are several; their keys are 'sources.<alias>.…'. \
                A transform names what it reads in 'input' or 'inputs'.")
                .default(""),
        )
        .key(key("transforms", List, High, "The aliases of the transforms, in order.").default(""))
        .key(
            key("trigger", String, High, "When a micro-batch starts: an interval ('5 seconds', aligned to its multiples), \
                'available-now' (what is there, then end), 'once' (the same in one batch) or 'available' (as soon as there is data: \
                with little of it at a time, hundreds of small batches, and files, a second).")
                .default("available")
                .group("Batches")
                .validator(Validator::new("an interval, available-now, once, available", |text| {
                    text.parse::<Trigger>().map(|_| ())
                })),
        )
        .key(
            key("output.mode", String, High, "What of the result goes to the sink: new rows, changed rows, or all of it.")
                .default("append")
                .group("Batches")
                .one_of(&OutputMode::NAMES),
        )
        .key(
            key("watermark.policy", String, Low, "How the watermarks of several inputs become one: 'min' waits for the slowest \
                input, 'max' follows the fastest.")
                .default("min")
                .group("Batches")
                .one_of(&["min", "max"]),
        )
        .key(
            key("batch.max.rows", Long, Medium, "How many rows a micro-batch may have.")
                .optional()
                .group("Batches")
                .validator(Validator::at_least(1)),
        )
        .key(
            key("batch.max.bytes", Size, Medium, "How many bytes of input a micro-batch may have. What is left of a trigger \
                follows at once in the next; a source's limits per trigger leave it for the next trigger.")
                .default("64 MB")
                .group("Batches")
                .validator(Validator::size_at_least(1)),
        )
        .key(
            key("batch.target.duration", Duration, Low, "How long a micro-batch should take: its rows are adapted, growing \
                while batches are quick and shrinking when they are late.")
                .optional()
                .group("Batches"),
        )
        .key(
            key("checkpoint.location", String, High, "The folder or URL that holds offsets and state. Default: the folder \
                `checkpoint` in the one named after the pipeline in the data folder.")
                .optional()
                .group("State")
                .validator(Validator::non_empty()),
        )
        .key(
            key("errors.tolerance", String, Medium, "What becomes of bad rows: 'none' fails the task with the row's place, \
                'all' sends them to the dead letters.")
                .default("none")
                .group("Errors")
                .one_of(&["none", "all"]),
        )
        .key(
            key("errors.deadletterqueue.path", String, Medium, "The folder for dead letters, one file of JSON lines a \
                micro-batch. Default: 'dead-letters' in the pipeline's folder in the data \
                folder.")
                .optional()
                .group("Errors")
                .validator(Validator::non_empty()),
        )
        .key(
            key("errors.deadletterqueue.class", String, Low, "The queue that dead letters go to instead of files. Its options \
                follow as 'errors.deadletterqueue.…'; with 'topic.name' alone it is the one that this build has.")
                .optional()
                .group("Errors")
                .validator(Validator::non_empty()),
        )
        .key(
            key("errors.deadletterqueue.*", String, Medium, "Options of the queue: 'topic.name', the topic that dead letters go \
                to, 'topic.replication.factor', 'context.headers.enable'; see 'levada plugin describe' of its class.")
                .optional()
                .group("Errors"),
        )
        .key(
            key("errors.log.enable", Boolean, Low, "Whether each bad row is logged, too, with its place and reason.")
                .default(false)
                .group("Errors"),
        )
        .key(
            key("errors.log.include.messages", Boolean, Low, "Whether the log has the content of bad rows, too.")
                .default(false)
                .group("Errors"),
        )
        .key(
            key("errors.retry.timeout", Long, Medium, "How long what failed and may pass is tried again, in milliseconds, \
                by starting the task again from its last commit: 0 is not at all, -1 for ever. Given, it takes the place \
                of restart.attempts.")
                .optional()
                .group("Errors")
                .validator(Validator::at_least(-1)),
        )
        .key(
            key("errors.retry.delay.max.ms", Long, Medium, "The longest wait before such a retry, in milliseconds. Given, it \
                takes the place of restart.delay.max.")
                .optional()
                .group("Errors")
                .validator(Validator::at_least(0)),
        )
        .key(
            key("restart.attempts", Int, Low, "How often in a row a failed task is started again without a batch committed \
                between. Errors that cannot pass by themselves are not tried again.")
                .default(10)
                .group("Errors")
                .validator(Validator::at_least(0)),
        )
        .key(
            key("restart.delay", Duration, Low, "How long to wait before the first restart; it doubles each time.")
                .default("1 second")
                .group("Errors"),
        )
        .key(
            key("restart.delay.max", Duration, Low, "The longest wait before a restart.")
                .default("1 minute")
                .group("Errors"),
        )
        .key(
            key("stop.timeout", Duration, Low, "How long a stop waits for the batch under way before it is abandoned; it is \
                repeated at the next start.")
                .default("10 seconds")
                .group("Errors"),
        )
}
