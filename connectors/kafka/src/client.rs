//! What source and sink share: the client's configuration, its log, and errors in our words.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levada_connector_api::config::{Config, ConfigError};
use levada_connector_api::{Error, ErrorKind, Result, Retry};
pub(crate) use levada_storage::blocking;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientContext, TopicPartitionList};

/// How long a request to the brokers may take before it is an error that may pass.
pub(crate) const REQUEST: Duration = Duration::from_secs(30);

/// librdkafka's 100 ms keep each new client waiting for half of it before it connects for the first time. Whoever cannot be
/// reached is asked more and more seldom.
const BACKOFF_MS: &str = "20";

/// How often the same trouble is told.
const AGAIN: Duration = Duration::from_secs(60);

/// The client's log goes to ours.
#[derive(Clone, Default)]
pub(crate) struct Context(Arc<Mutex<Heard>>);

/// What the client has told of its troubles.
#[derive(Default)]
struct Heard {
    /// The last that says something, and when.
    last: Option<(String, Instant)>,
    /// When each was told.
    told: HashMap<String, Instant>,
}

impl Context {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last trouble of which the client has told.
    fn told(&self) -> Option<String> {
        self.heard().last.as_ref().map(|(told, _)| told.clone())
    }

    /// Says of an error why the brokers cannot be reached, where the client has told so lately.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let recent = |(told, at): &(String, Instant)| (at.elapsed() < AGAIN).then(|| told.clone());
        match self.heard().last.as_ref().and_then(recent) {
            Some(told) if error.kind() == ErrorKind::Unavailable && error.remedy().is_none() => {
                error.hint(format!("{told}; look into the brokers' logs: one whose disk is full, for one, shuts down"))
            }
            _ => error,
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // An option that is ours to set; it has its default.
            _ if facility == "CONFWARN" && message.contains("enable.gapless.guarantee") => {}
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => tracing::debug!(facility, "{message}"),
            _ => tracing::warn!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is asked for, and no error.
        if matches!(error, KafkaError::Global(Code::PartitionEOF)) {
            return;
        }
        // How long it took, and how often, is no other trouble.
        let text = reason.split(" (after ").next().unwrap_or(reason).to_owned();
        let mut heard = self.heard();
        // That no broker is left is no cause.
        if !matches!(error, KafkaError::Global(Code::AllBrokersDown)) {
            heard.last = Some((text.clone(), Instant::now()));
        }
        heard.told.retain(|_, at| at.elapsed() < AGAIN);
        if heard.told.contains_key(&text) {
            return;
        }
        heard.told.insert(text, Instant::now());
        drop(heard);
        // The client connects again by itself; what it cannot get over comes back from a call.
        tracing::warn!(%error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "the consumer group's offsets could not be committed: lag tools show old numbers");
        }
    }
}

/// A consumer of ours.
pub(crate) type Consumer = BaseConsumer<Context>;

/// A client that ends by itself: leaving takes it a moment, and nobody has to wait for it.
pub(crate) struct Closing<T: Send + 'static = Consumer>(Option<T>);

impl<T: Send + 'static> Closing<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> std::ops::Deref for Closing<T> {
    type Target = T;

    #[allow(clippy::expect_used, reason = "it is only taken when it is dropped")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("the client is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client));
    }
}

/// What has a default of ours and two names, librdkafka's and Java's.
const TWO_NAMES: [[&str; 2]; 1] = [["fetch.message.max.bytes", "max.partition.fetch.bytes"]];

/// The client's configuration: `defaults`, above them what the user hands through, above all `fixed`.
pub(crate) fn client(
    config: &Config,
    prefixes: &[&str],
    defaults: &[(&str, &str)],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("reconnect.backoff.ms", BACKOFF_MS);
    for (key, value) in defaults {
        client.set(*key, *value);
    }
    if let Some(servers) = config.string_opt("bootstrap.servers") {
        client.set("bootstrap.servers", servers);
    }
    for prefix in prefixes {
        for (key, value) in config.below(prefix) {
            // Under another name, a default of ours would be in its way.
            for other in TWO_NAMES.iter().filter(|names| names.contains(&key)).flatten().filter(|name| **name != key) {
                client.remove(other);
            }
            client.set(key, value);
        }
    }
    for (key, value) in fixed {
        client.set(*key, *value);
    }
    client
}

/// Checks what is handed through: keys that are ours to set, keys and values that the client does not know.
pub(crate) fn check(config: &Config, prefixes: &[&str], fixed: &[(&str, &str)]) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let servers = prefixes.iter().any(|prefix| config.below(prefix).any(|(key, _)| key == "bootstrap.servers"));
    if !servers && !config.is_given("bootstrap.servers") {
        errors.push(ConfigError::new("bootstrap.servers", "missing; it names the brokers: 'host:9092,host:9092'"));
    }
    for prefix in prefixes {
        for (key, value) in config.below(prefix) {
            if fixed.iter().any(|(own, _)| *own == key) {
                errors.push(ConfigError::new(format!("{prefix}{key}"), "it is set by the connector; remove it"));
                continue;
            }
            if key.starts_with("ssl.")
                && key.ends_with(".location")
                && value != "probe"
                && let Err(why) = std::fs::metadata(value)
            {
                errors.push(ConfigError::new(format!("{prefix}{key}"), format!("'{value}' cannot be read: {why}")));
                continue;
            }
            let mut single = ClientConfig::new();
            // Alone, a key is checked for its name and its own value.
            if let Err(KafkaError::ClientConfig(_, why, _, _)) = single.set(key, value).create_native_config() {
                let hint = "the keys are librdkafka's (CONFIGURATION.md), mostly those of Java's client";
                errors.push(ConfigError::new(format!("{prefix}{key}"), format!("{why}; {hint}")));
            }
        }
    }
    errors
}

/// Whether a key of a producer's configuration has a meaning for other clients: how they reach the brokers.
pub(crate) fn is_for_all(key: &str) -> bool {
    let parts =
        ["security.", "sasl.", "ssl.", "enable.sasl", "enable.ssl", "socket.", "broker.", "reconnect.", "debug"];
    matches!(key, "bootstrap.servers" | "metadata.broker.list" | "client.id" | "client.rack" | "client.dns.lookup")
        || parts.iter().any(|part| key.starts_with(part))
}

/// Of a client's configuration what tells another client how to reach the brokers. Of what only a producer understands, a
/// consumer would warn.
pub(crate) fn access(config: &ClientConfig) -> ClientConfig {
    let mut own = ClientConfig::new();
    // The map hides the values of passwords; `get` has them.
    for key in config.config_map().into_keys().filter(|key| is_for_all(key)) {
        if let Some(value) = config.get(key) {
            own.set(key, value);
        }
    }
    own
}

/// Whether the brokers let this user in: otherwise the client tries for ever, and all that a caller sees is a request that
/// takes too long. Without encryption and passwords there is nothing to be refused for. Blocks.
pub(crate) fn check_access(config: &ClientConfig) -> Result<()> {
    if config.get("security.protocol").is_none_or(|protocol| protocol.eq_ignore_ascii_case("plaintext")) {
        return Ok(());
    }
    let own = access(config);
    let consumer: Consumer = own.create_with_context(Context::default()).map_err(|e| error("making a consumer", e))?;
    let consumer = Closing::new(consumer);
    let since = Instant::now();
    while since.elapsed() < REQUEST && consumer.client().fetch_cluster_id(Duration::from_millis(200)).is_none() {
        while let Some(answer) = consumer.poll(Duration::ZERO) {
            let Err(refused) = answer else { continue };
            match code(&refused) {
                Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
                    let told = consumer.context().told().unwrap_or_default();
                    let error = error(format!("the brokers refuse the user: {told}"), refused);
                    return Err(match told.to_ascii_lowercase().contains("unsupported") {
                        true => error.hint("check kafka.sasl.mechanism"),
                        false => error,
                    });
                }
                Some(Code::SSL) => {
                    let hint =
                        "check kafka.ssl.ca.location, and that the certificate names the host in bootstrap.servers";
                    let found = Error::new(ErrorKind::Config, format!("no encrypted connection: {refused}"));
                    return Err(found.with_retry(Retry::Permanent).hint(hint));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Topics and their partitions: of `topic`, or all that there are. `what` says what for. Blocks.
///
/// # Errors
/// The brokers do not answer: with what the client has to say about it.
pub(crate) fn metadata(consumer: &Consumer, topic: Option<&str>, what: &str) -> Result<Metadata> {
    metadata_within(REQUEST, consumer, topic, what)
}

fn metadata_within(patience: Duration, consumer: &Consumer, topic: Option<&str>, what: &str) -> Result<Metadata> {
    let done = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        // Its troubles are told when they come, not when the request is given up.
        let listening = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                while consumer.poll(Duration::ZERO).is_some() {}
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let answer = consumer.fetch_metadata(topic, patience);
        done.store(true, Ordering::Release);
        listening.thread().unpark();
        answer
    });
    answer.map_err(|failed| {
        let told = consumer.context().told();
        let error = error(what, failed);
        match told.filter(|_| error.kind() == ErrorKind::Unavailable) {
            Some(told) => Error::new(ErrorKind::Unavailable, format!("{what}: {told}")).source(error).hint(
                "check bootstrap.servers, and kafka.security.protocol where the brokers want TLS or a user; the task tries again",
            ),
            None => error,
        }
    })
}

/// An error of the client. `what` says what was tried, with topic and partition where there is one.
pub(crate) fn error(what: impl std::fmt::Display, error: KafkaError) -> Error {
    if let KafkaError::ClientConfig(_, why, key, _) = &error {
        return Error::config(format!("{what}: kafka.{key}: {why}"));
    }
    let code = code(&error);
    let fatal = matches!(&error, KafkaError::Transaction(inner) if inner.is_fatal());
    let (kind, retry, hint) = verdict(code);
    let retry =
        if fatal && retry == Retry::Permanent && kind == ErrorKind::Internal { Retry::Indeterminate } else { retry };
    let message = match &error {
        KafkaError::Transaction(inner) => format!("{what}: {inner}"),
        other => format!("{what}: {other}"),
    };
    let error = Error::new(kind, message).with_retry(retry).source(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Whether a message was refused for its size, by the client or by the brokers.
pub(crate) fn is_too_large(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize)
}

/// Why brokers refuse a message that would be refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its size, or that of the batch that it was sent in.
    Size,
    /// Its content: no key for a compacted topic, a time that the topic does not take.
    Content,
    /// Nothing: another message of its batch was refused.
    Neighbour,
}

impl Refusal {
    pub(crate) fn of(code: Code) -> Option<Self> {
        match code {
            code if is_too_large(code) => Some(Self::Size),
            Code::InvalidRecord | Code::InvalidTimestamp => Some(Self::Content),
            Code::InvalidDifferentRecord => Some(Self::Neighbour),
            _ => None,
        }
    }
}

/// The code inside.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::Transaction(inner) => Some(inner.code()),
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

fn verdict(code: Option<Code>) -> (ErrorKind, Retry, Option<&'static str>) {
    match code {
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
            (ErrorKind::Fenced, Retry::Permanent, Some("another run of this task has taken over"))
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            (ErrorKind::NotFound, Retry::Permanent, Some("create the topic, or correct its name"))
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => (ErrorKind::Config, Retry::Permanent, Some("grant the user access (kafka-acls), or use another user")),
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
            (ErrorKind::Config, Retry::Permanent, Some("check kafka.sasl.username and kafka.sasl.password"))
        }
        Some(code) if is_too_large(code) => (
            ErrorKind::Data,
            Retry::Permanent,
            Some("raise kafka.message.max.bytes here and max.message.bytes of the topic, or shorten the rows"),
        ),
        Some(Code::InvalidRecord) => (
            ErrorKind::Data,
            Retry::Permanent,
            Some(
                "a compacted topic takes no message without a key (set key.column), and a topic may limit times \
                 (message.timestamp.before.max.ms, …after.max.ms)",
            ),
        ),
        Some(Code::InvalidTimestamp) => (
            ErrorKind::Data,
            Retry::Permanent,
            Some(
                "the topic limits times: raise its message.timestamp.before.max.ms and message.timestamp.after.max.ms, or leave \
                 out timestamp.column",
            ),
        ),
        Some(
            Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::PolicyViolation
            | Code::InvalidArgument,
        ) => (ErrorKind::Config, Retry::Permanent, None),
        Some(_) => (ErrorKind::Unavailable, Retry::Retriable, None),
        None => (ErrorKind::Internal, Retry::Permanent, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_cannot_be_reached_are_named_with_the_cause() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let consumer: Consumer = config.create_with_context(Context::default()).unwrap();
        let patience = Duration::from_secs(3);
        let error = metadata_within(patience, &consumer, Some("t"), "looking for topic 't'").unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Retriable));
        let text = error.to_string();
        for part in ["looking for topic 't': ", "127.0.0.1:1/", "refused", "check bootstrap.servers"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_default_gives_way_under_either_name() {
        for key in TWO_NAMES[0] {
            let given = [(format!("kafka.{key}"), "7".to_owned())].into_iter().collect();
            let config = crate::config::source().parse(&given, "").unwrap();
            let client = client(&config, &["kafka."], &[("fetch.message.max.bytes", "9")], &[]);
            let found: Vec<_> = TWO_NAMES[0].iter().filter_map(|name| client.get(name)).collect();
            assert_eq!(found, ["7"], "{key}");
        }
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let context = Context::default();
        let code = KafkaError::Global(Code::BrokerTransportFailure);
        context.error(code.clone(), "b:1/1: Connect failed (after 1ms in state CONNECT)");
        context.error(code, "b:1/1: Connect failed (after 7ms in state CONNECT, 3 identical error(s) suppressed)");
        context.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        let told = context.heard().told.len();
        assert_eq!((told, context.told().as_deref()), (2, Some("b:1/1: Connect failed")));
    }
}
