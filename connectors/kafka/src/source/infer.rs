//! Columns that are found in messages.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{Field, Schema, SchemaRef};
use levada_connector_api::{Error, Result};
use levada_formats::converter::envelope_schema;
use levada_formats::infer::infer_json_schema;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::places::{self, Wanted};
use crate::client::{self, Consumer, Context, REQUEST};

/// How many messages are looked at.
const MESSAGES: usize = 1000;

/// The columns of the oldest messages that there are. Blocks.
///
/// # Errors
/// There are no messages yet, or none of them says anything.
pub(super) fn columns(config: &ClientConfig, wanted: &Wanted, envelope: bool) -> Result<SchemaRef> {
    let mut config = config.clone();
    config.set("group.id", "levada-columns");
    client::check_access(&config)?;
    let failed = |e| client::error("looking for columns in messages", e);
    let consumer: Consumer = config.create_with_context(Context::default()).map_err(failed)?;
    let places = places::find(&consumer, wanted, false)?;
    let mut list = TopicPartitionList::new();
    for (topic, partition) in &places {
        list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    // As many of each partition: one may hold other messages than another.
    let each = (MESSAGES / places.len().max(1)).max(1);
    let mut found: Vec<(Vec<Vec<u8>>, bool)> = vec![(Vec::new(), false); places.len()];
    let since = Instant::now();
    while found.iter().any(|(_, done)| !done) {
        if since.elapsed() > REQUEST {
            return Err(Error::new(
                levada_connector_api::ErrorKind::Unavailable,
                "the first messages were not read in time",
            ));
        }
        match consumer.poll(REQUEST) {
            Some(Ok(message)) => {
                let of = |(topic, partition): &places::Place| {
                    (topic.as_str(), *partition) == (message.topic(), message.partition())
                };
                let Some((payloads, done)) = places.iter().position(of).and_then(|at| found.get_mut(at)) else {
                    continue;
                };
                if payloads.len() < each {
                    payloads.extend(message.payload().map(<[u8]>::to_vec));
                }
                *done |= payloads.len() >= each;
            }
            // Which partition it is, rust-rdkafka tells by its number alone.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let ended = places.iter().zip(&mut found).filter(|((_, id), _)| *id == partition);
                // Of several topics' partitions with one number, the first that is not done.
                ended.map(|(_, found)| &mut found.1).find(|done| !**done).into_iter().for_each(|done| *done = true);
            }
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
    }
    let messages: Vec<Vec<u8>> = found.into_iter().flat_map(|(payloads, _)| payloads).collect();
    let schema = if envelope { of_envelopes(&messages) } else { infer_json_schema(messages.iter().map(Vec::as_slice)) };
    schema.map(without_corrupt).map_err(|error| {
        error
            .context("the columns are to be found in the messages")
            .hint("set value.converter.schema: 'name STRING, age INT'")
    })
}

/// The columns that the messages' schemas name, each as the first that names it.
fn of_envelopes(messages: &[Vec<u8>]) -> Result<Schema> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut wrong = None;
    let (mut last, mut all) = (None, 0);
    for message in messages {
        match envelope_schema(message) {
            Ok(schema) => {
                if last.as_ref() == Some(&schema) {
                    continue;
                }
                for field in schema.fields() {
                    match fields.iter_mut().find(|known| known.name() == field.name()) {
                        None if all == 0 => fields.push(field.clone()),
                        // What is not in all messages may be null.
                        None => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
                        Some(known) if field.is_nullable() => {
                            *known = Arc::new(known.as_ref().clone().with_nullable(true));
                        }
                        Some(_) => {}
                    }
                }
                for known in &mut fields {
                    if schema.field_with_name(known.name()).is_err() {
                        *known = Arc::new(known.as_ref().clone().with_nullable(true));
                    }
                }
                all += 1;
                last = Some(schema);
            }
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    match (fields.is_empty(), wrong) {
        (false, _) => Ok(Schema::new(fields)),
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::data("no schema can be found, since there are no messages")),
    }
}

/// What is no JSON is a bad row, or one of nulls: there is no column for it, as Spark would have one.
fn without_corrupt(schema: Schema) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| field.name() != "_corrupt_record").cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
