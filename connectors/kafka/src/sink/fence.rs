//! Whether somebody else has taken over: what a call says is not always it.

use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Result, Retry};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::producer::{self, Producer};
use super::progress::Track;
use super::stall;
use crate::client::{self, blocking};

/// The brokers' patience with a transaction, where the configuration names none: librdkafka's default.
const TRANSACTION: Duration = Duration::from_secs(60);
/// How long an abort may take that is only to ask whether we are still the one who may.
const ASKING: Duration = Duration::from_secs(10);

/// How long the brokers let a transaction be open.
pub(crate) fn transaction_timeout(client: &ClientConfig) -> Duration {
    let given = client.get("transaction.timeout.ms").and_then(|ms| ms.trim().parse().ok());
    given.map_or(TRANSACTION, Duration::from_millis)
}

/// What errors of a transactional producer mean.
pub(crate) struct Judge {
    pub(crate) producer: Producer,
    pub(crate) track: Track,
    /// When the transaction began, and how long it may take.
    pub(crate) transaction: Option<(Instant, Duration)>,
}

impl Judge {
    /// Does what blocks, and judges its error.
    pub(crate) async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(move || work().map_err(|error| self.judge(error))).await
    }

    /// A producer that another has fenced says so once. Every call after it fails in its own way: for the state it is in, for
    /// messages that it no longer takes.
    fn judge(&self, error: Error) -> Error {
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<KafkaError>());
        if error.kind() != ErrorKind::Fenced && cause.and_then(client::code) == Some(Code::InvalidTransactionalState) {
            // The partition's leader knows of no transaction of ours; whether another's is why, the coordinator knows.
            let _ = producer::while_served(&self.producer, || self.producer.abort_transaction(ASKING));
        }
        let fatal = self.producer.client().fatal_error();
        let is_fence = |code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        let error = match fatal {
            Some((code, text)) if is_fence(code) && error.kind() != ErrorKind::Fenced => {
                client::error(text, KafkaError::Global(code)).context(error.to_string())
            }
            // A transaction that a topic has spoilt says of every call that it is not allowed in this state.
            _ if error.kind() == ErrorKind::Unavailable => match stall::is_gone(&self.producer) {
                Some(topic) => stall::gone(&self.producer, &topic).source(error),
                None => self.producer.context().explain(error),
            },
            _ => error,
        };
        match self.transaction {
            // The brokers give up a transaction that takes too long, and lock out who began it, as if another had taken over.
            // Whether one has, they do not say; but it has left a record as soon as it has written anything.
            Some((begun, lasts)) if error.kind() == ErrorKind::Fenced && begun.elapsed() >= lasts => {
                match self.track.is_overtaken() {
                    Ok(true) => return error,
                    Ok(false) => {}
                    Err(why) => tracing::debug!(%why, "whether another run has taken over is not known"),
                }
                let message = format!(
                    "the transaction has taken longer than the {} s that the brokers allow",
                    lasts.as_secs_f64()
                );
                Error::new(ErrorKind::Unavailable, message)
                    .with_retry(Retry::Indeterminate)
                    .hint("raise kafka.transaction.timeout.ms, or make micro-batches smaller; the task asks what is committed and goes on")
                    .source(error)
            }
            _ => error,
        }
    }
}
