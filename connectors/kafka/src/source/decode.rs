//! Messages to the rows of the pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{BadRow, Batch, Error, Origin, Record, Records, Result, columns};
use levada_formats::converter::{self, Converted, Converter, ConverterOptions};
use levada_formats::{MalformedFields, MalformedRows, Rejected, ddl};

use super::columns::{Messages, headers_of, headers_type};
use super::keys::Keys;

/// A column beside the payload's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metadata {
    Key,
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    Headers,
}

impl Metadata {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "key" => Self::Key,
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            "timestamp_type" => Self::TimestampType,
            "headers" => Self::Headers,
            _ => return None,
        })
    }

    /// Its column, beside a key of this type.
    fn field(self, key: &DataType, prefix: &str) -> Field {
        let (name, data_type) = match self {
            Self::Key => ("key", key.clone()),
            Self::Topic => ("topic", DataType::Utf8),
            Self::Partition => ("partition", DataType::Int32),
            Self::Offset => ("offset", DataType::Int64),
            Self::Timestamp => ("timestamp", ddl::timestamp_type()),
            Self::TimestampType if prefix.is_empty() => ("timestampType", DataType::Int32),
            Self::TimestampType => ("timestamp_type", DataType::Int32),
            Self::Headers => ("headers", headers_type()),
        };
        Field::new(format!("{prefix}{name}"), data_type, true)
    }
}

/// Decodes messages.
pub(super) struct Decoder {
    key: Keys,
    value: Box<dyn Converter>,
    /// The metadata's places in the schema: before the value, as in Spark, or after the payload's columns.
    metadata: Vec<Metadata>,
    /// Whether the value stands between key and the others.
    raw: bool,
    /// What stands before the metadata's names.
    prefix: String,
    schema: SchemaRef,
    /// Whether rows keep the messages that they are made of.
    keeps: bool,
    /// The metadata that nobody looks at: nulls stand in its place.
    unread: Vec<Metadata>,
}

impl Decoder {
    /// Whether the columns must be found in messages first.
    pub(super) fn needs_schema(config: &Config) -> bool {
        let name = config.string_opt("value.converter");
        let json = name.is_some_and(|name| converter::canonical(name.trim()) == Some("json"));
        json && config.string_opt("value.converter.schema").is_none()
    }

    /// A decoder; `found` are the columns unless the configuration names them.
    pub(super) fn new(config: &Config, found: Option<SchemaRef>) -> Result<Self> {
        let key = Keys::new(config)?;
        let value_converter = config.string_opt("value.converter");
        let raw = value_converter.is_none();
        let schema = match config.string_opt("value.converter.schema") {
            Some(text) => Some(Arc::new(ddl::parse_schema(&text)?)),
            None => found,
        };
        let options = ConverterOptions {
            envelope: config.bool("value.converter.schemas.enable"),
            schema,
            rows: match config.string("malformed.rows").to_ascii_lowercase().as_str() {
                "null" => MalformedRows::Null,
                "drop" => MalformedRows::Drop,
                _ => MalformedRows::Error,
            },
            fields: match config.string("malformed.fields").to_ascii_lowercase().as_str() {
                "error" => MalformedFields::Error,
                _ => MalformedFields::Null,
            },
        };
        let name = value_converter.unwrap_or_else(|| "bytes".to_owned());
        let value = converter::converter(name.trim(), columns::VALUE, options)?;
        let names = config.list_opt("metadata.columns").unwrap_or_else(|| {
            let all = ["key", "topic", "partition", "offset", "timestamp", "timestamp_type"];
            all.iter().filter(|name| raw || **name != "timestamp_type").map(|name| (*name).to_owned()).collect()
        });
        let mut metadata: Vec<_> = names.iter().filter_map(|name| Metadata::of(name)).collect();
        if config.bool("include.headers") && !metadata.contains(&Metadata::Headers) {
            metadata.push(Metadata::Headers);
        }
        let prefix = config.string_opt("metadata.prefix").unwrap_or_else(|| if raw { "" } else { "_" }.to_owned());
        let schema = schema_of(key.data_type(), &value.schema(), &metadata, raw, &prefix)?;
        Ok(Self { key, value, metadata, raw, schema, keeps: false, unread: Vec::new(), prefix })
    }

    /// Lets rows keep the messages that they are made of, as long as they are under way: they may become dead letters.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Only these columns are looked at.
    pub(super) fn only(&mut self, columns: &[String]) {
        self.value.only(columns);
        let unread = |kind: &Metadata| !columns.contains(kind.field(self.key.data_type(), &self.prefix).name());
        self.unread = self.metadata.iter().copied().filter(unread).collect();
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(super) fn with_headers(&self) -> bool {
        self.metadata.contains(&Metadata::Headers) && !self.unread.contains(&Metadata::Headers)
    }

    /// The rows of messages of one partition, called `label`, and those that are none.
    pub(super) fn decode(
        &mut self,
        messages: &Messages,
        topic: &str,
        partition: i32,
        label: &Arc<str>,
    ) -> Result<(Option<Batch>, Vec<BadRow>)> {
        let mut converted = self.value.convert(&messages.values)?;
        let keys = match self.metadata.contains(&Metadata::Key) && !self.unread.contains(&Metadata::Key) {
            true => {
                let (keys, wrong) = self.key.convert(&messages.keys)?;
                if !wrong.is_empty() {
                    converted = without(converted, wrong, messages.len())?;
                }
                Some(keys)
            }
            false => None,
        };
        let read = Read { messages: messages.clone(), topic: topic.into(), partition, label: label.clone() };
        let bad = |index: usize, reason| BadRow {
            reason,
            stage: "source".to_owned(),
            position: read.place(index).unwrap_or_default(),
            raw: if messages.values.is_valid(index) { messages.values.value(index).to_vec() } else { Vec::new() },
            record: read.record(index).map(Box::new),
        };
        let rejected = converted.rejected.into_iter().map(|r| bad(r.index, r.reason)).collect();
        let rows = converted.rows.num_rows();
        if rows == 0 {
            return Ok((None, rejected));
        }
        let records: Arc<dyn Records> = match self.keeps {
            true => Arc::new(Rows { read, origins: converted.origins.clone() }),
            false => {
                Arc::new(Tombstones { nulls: messages.values.nulls().cloned(), origins: converted.origins.clone() })
            }
        };
        let origins = converted.origins.map(UInt32Array::from);
        let mut metadata = Vec::with_capacity(self.metadata.len());
        for column in &self.metadata {
            if self.unread.contains(column) {
                let field = column.field(self.key.data_type(), &self.prefix);
                metadata.push(new_null_array(field.data_type(), rows));
                continue;
            }
            let array = match column {
                Metadata::Key => keys.clone().ok_or_else(|| Error::internal("keys were not read"))?,
                Metadata::Topic => repeated(topic, messages.len()),
                Metadata::Partition => Arc::new(Int32Array::from(vec![partition; messages.len()])),
                Metadata::Offset => Arc::new(Int64Array::new(messages.offsets.clone(), None)),
                Metadata::Timestamp => timestamps(messages),
                Metadata::TimestampType => Arc::new(Int32Array::new(messages.timestamp_types.clone(), None)),
                Metadata::Headers => match &messages.headers {
                    Some(headers) => Arc::new(headers.clone()) as ArrayRef,
                    None => return Err(Error::internal("headers were not read")),
                },
            };
            metadata.push(match &origins {
                Some(origins) => take(&array, origins, None)?,
                None => array,
            });
        }
        let columns = arrange(metadata, converted.rows.columns(), &self.metadata, self.raw);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let origin = match messages.range() {
            Some((first, _)) if messages.gapless() && origins.is_none() => {
                Origin::exact(label.clone(), "offset", u64::try_from(first).unwrap_or(0))
            }
            Some((first, end)) => Origin::near(format!("{label}, offsets {first} to {}", end - 1)),
            None => Origin::near(label.clone()),
        };
        Ok((Some(Batch::with_origin(rows, origin.with_records(records))), rejected))
    }
}

/// What the reason begins with where a key is wrong: its dead letter says so, too.
pub(crate) const KEY: &str = "the key: ";

/// What was decoded without the messages whose keys are `wrong`.
fn without(converted: Converted, wrong: Vec<Rejected>, messages: usize) -> Result<Converted> {
    let Converted { rows, origins, mut rejected } = converted;
    let mut is_bad = vec![false; messages];
    for bad in &wrong {
        is_bad.iter_mut().skip(bad.index).take(1).for_each(|is_bad| *is_bad = true);
    }
    let origins = origins.unwrap_or_else(|| (0..rows.num_rows() as u32).collect());
    let good = |index: &u32| !is_bad.get(*index as usize).copied().unwrap_or(false);
    let mask: BooleanArray = origins.iter().map(|index| Some(good(index))).collect();
    let rows = filter_record_batch(&rows, &mask)?;
    // Of a message of which both are wrong, the value says why.
    let said: BTreeSet<usize> = rejected.iter().map(|rejected| rejected.index).collect();
    let key = |bad: Rejected| Rejected { reason: format!("{KEY}{}", bad.reason), ..bad };
    rejected.extend(wrong.into_iter().filter(|bad| !said.contains(&bad.index)).map(key));
    rejected.sort_by_key(|bad| bad.index);
    Ok(Converted { rows, origins: Some(origins.into_iter().filter(good).collect()), rejected })
}

/// The messages that rows are made of, kept for what becomes a dead letter.
struct Read {
    messages: Messages,
    topic: Arc<str>,
    partition: i32,
    label: Arc<str>,
}

impl Read {
    fn place(&self, index: usize) -> Option<String> {
        self.messages.offsets.get(index).map(|offset| format!("{}, offset {offset}", self.label))
    }

    fn record(&self, index: usize) -> Option<Record> {
        let messages = &self.messages;
        let bytes = |array: &BinaryArray| array.is_valid(index).then(|| array.value(index).to_vec());
        let timed = messages.timestamp_types.get(index).is_some_and(|kind| *kind >= 0);
        Some(Record {
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: *messages.offsets.get(index)?,
            timestamp: messages.timestamps.get(index).copied().filter(|_| timed),
            key: bytes(&messages.keys),
            value: bytes(&messages.values),
            headers: messages.headers.as_ref().map(|headers| headers_of(headers, index)).unwrap_or_default(),
        })
    }
}

/// The messages of a batch's rows.
struct Rows {
    read: Read,
    /// Which message each row was made of; `None`: each of the message with its number.
    origins: Option<Vec<u32>>,
}

/// The message that a row was made of.
fn index(origins: Option<&Vec<u32>>, row: usize) -> Option<usize> {
    origins.map_or(Some(row), |origins| origins.get(row).map(|index| *index as usize))
}

impl Records for Rows {
    fn place(&self, row: usize) -> Option<String> {
        self.read.place(index(self.origins.as_ref(), row)?)
    }

    fn record(&self, row: usize) -> Option<Record> {
        self.read.record(index(self.origins.as_ref(), row)?)
    }

    fn is_tombstone(&self, row: usize) -> Option<bool> {
        let values = &self.read.messages.values;
        index(self.origins.as_ref(), row).filter(|index| *index < values.len()).map(|index| values.is_null(index))
    }
}

/// Which of a batch's rows were tombstones, of which nothing else is kept.
struct Tombstones {
    nulls: Option<NullBuffer>,
    /// As those of [`Rows`].
    origins: Option<Vec<u32>>,
}

impl Records for Tombstones {
    fn place(&self, _: usize) -> Option<String> {
        None
    }

    fn record(&self, _: usize) -> Option<Record> {
        None
    }

    fn is_tombstone(&self, row: usize) -> Option<bool> {
        let index = index(self.origins.as_ref(), row)?;
        Some(self.nulls.as_ref().is_some_and(|nulls| index < nulls.len() && nulls.is_null(index)))
    }
}

/// The order of the columns: Spark's key, value, topic, …, or the payload's and then the metadata's.
fn arrange<T: Clone>(metadata: Vec<T>, payload: &[T], kinds: &[Metadata], raw: bool) -> Vec<T> {
    if !raw {
        return payload.iter().cloned().chain(metadata).collect();
    }
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (column, kind) in metadata.into_iter().zip(kinds) {
        if *kind == Metadata::Key { keys.push(column) } else { others.push(column) }
    }
    keys.into_iter().chain(payload.iter().cloned()).chain(others).collect()
}

fn schema_of(key: &DataType, value: &SchemaRef, metadata: &[Metadata], raw: bool, prefix: &str) -> Result<SchemaRef> {
    let field = |kind: &Metadata| Arc::new(kind.field(key, prefix));
    let fields = arrange(metadata.iter().map(field).collect(), value.fields(), metadata, raw);
    for (i, field) in fields.iter().enumerate() {
        if fields.iter().skip(i + 1).any(|other| other.name() == field.name()) {
            return Err(Error::config(format!("there are two columns '{}'", field.name()))
                .hint("rename the one of the schema, or set metadata.prefix"));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

fn timestamps(messages: &Messages) -> ArrayRef {
    // Without a time, Kafka says -1.
    let time = |(ms, kind): (&i64, &i32)| (*kind >= 0).then(|| ms.saturating_mul(1000));
    let times = messages.timestamps.iter().zip(messages.timestamp_types.iter()).map(time);
    Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC"))
}
