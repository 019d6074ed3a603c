//! Rows to messages.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use levada_connector_api::config::Config;
use levada_connector_api::json::JsonValues;
use levada_connector_api::{Error, Result, columns, find_column};
use levada_formats::converter::{self, ConnectTimes};
use rdkafka::message::{Header, OwnedHeaders};

/// Columns that say where a row came from: never part of a JSON value.
const RESERVED: [&str; 7] = [
    columns::KEY,
    columns::TOPIC,
    columns::PARTITION,
    columns::OFFSET,
    columns::TIMESTAMP,
    columns::TIMESTAMP_TYPE,
    columns::HEADERS,
];
/// Spark's names of them, which stand beside a raw value.
const SPARKS: [&str; 7] = ["key", "topic", "partition", "offset", "timestamp", "timestampType", "headers"];

/// Where in the rows each part of a message is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    value: Value,
    key: Option<usize>,
    topic: Option<usize>,
    partition: Option<usize>,
    timestamp: Option<usize>,
    headers: Option<usize>,
}

#[derive(Debug, Clone)]
enum Value {
    /// This column as it is.
    Column(usize),
    /// These columns as an object.
    Json {
        columns: Vec<usize>,
        nulls: bool,
        /// What stands before each object: Connect's schema of the columns; and how it has times.
        schema: Option<(Arc<str>, ConnectTimes)>,
    },
}

impl Layout {
    pub(super) fn new(config: &Config, schema: &SchemaRef) -> Result<Self> {
        let find = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        let given = |option: &str| -> Result<Option<usize>> {
            let Some(name) = config.string_opt(option) else { return Ok(None) };
            find_column(schema, &name).map(Some).map_err(|error| error.context(config.full_key(option)))
        };
        let wanted = config.string_opt("value.converter").and_then(|name| converter::canonical(name.trim()));
        let value = find(columns::VALUE);
        let plain = value.is_some_and(|value| is_bytes(schema.field(value).data_type()));
        let alone = names().all(|name| name == columns::VALUE || RESERVED.contains(&name) || SPARKS.contains(&name));
        let raw = match wanted {
            None => plain && alone,
            Some("json") => false,
            Some(_) if plain => true,
            Some(converter) => {
                return Err(Error::config(format!("value.converter={converter} writes the column 'value'"))
                    .hint("give the rows a column 'value' of STRING or BINARY, or use json"));
            }
        };
        let metadata = |reserved: &str, sparks: &str| find(reserved).or_else(|| find(sparks).filter(|_| raw));
        let key = given("key.column")?.or_else(|| metadata(columns::KEY, "key"));
        let topic = match config.string_opt("topic") {
            Some(_) => None,
            None => Some(metadata(columns::TOPIC, "topic").or_else(|| find("topic")).ok_or_else(|| {
                Error::config("no topic is set, and no column '_topic' names one for each row").hint("set sink.topic")
            })?),
        };
        let (partition, timestamp) = (given("partition.column")?, given("timestamp.column")?);
        let headers = given("headers.column")?.or_else(|| metadata(columns::HEADERS, "headers"));
        let value = match value.filter(|_| raw) {
            Some(value) => Value::Column(value),
            None => {
                let payload = |(_, name): &(usize, &str)| !RESERVED.contains(name);
                let columns: Vec<usize> = names().enumerate().filter(payload).map(|(index, _)| index).collect();
                let mut fields: Vec<_> = names().enumerate().filter(payload).map(|(_, name)| name).collect();
                fields.sort_unstable();
                if let Some([name, _]) = fields.windows(2).find(|pair| pair.first() == pair.last()) {
                    return Err(Error::config(format!("two columns are called '{name}'"))
                        .hint("give one of them another name in a Select before"));
                }
                let envelope = config.bool("value.converter.schemas.enable");
                let before = match envelope {
                    true => {
                        let times = match config.string("json.timestamps").to_ascii_lowercase().as_str() {
                            "micros" => ConnectTimes::Micros,
                            _ => ConnectTimes::Millis,
                        };
                        let told = converter::to_connect_schema(schema.project(&columns)?.fields(), times)?;
                        Some((format!("{{\"schema\":{told},\"payload\":").into(), times))
                    }
                    false => None,
                };
                // With a schema, what is null is said.
                Value::Json { columns, nulls: envelope || config.bool("json.nulls"), schema: before }
            }
        };
        Ok(Self { value, key, topic, partition, timestamp, headers })
    }

    /// The messages of these rows.
    pub(super) fn messages(&self, rows: &RecordBatch) -> Result<Messages> {
        let column = |index: Option<usize>| index.and_then(|index| rows.columns().get(index));
        let typed = |index: Option<usize>, data_type: &DataType, what: &str| match column(index) {
            Some(column) => {
                cast(column, data_type).map(Some).map_err(|e| Error::config(format!("the column of {what}s: {e}")))
            }
            None => Ok(None),
        };
        let values = match &self.value {
            Value::Column(index) => {
                Values::Column(binary(column(Some(*index)).ok_or_else(|| Error::internal("no value"))?)?)
            }
            Value::Json { columns, nulls, schema } => {
                let rows = prepared(&rows.project(columns)?, schema.as_ref().map(|(_, times)| *times))?;
                json(&rows, *nulls, schema.as_ref().map(|(before, _)| &**before))?
            }
        };
        Ok(Messages {
            rows: rows.num_rows(),
            values,
            keys: column(self.key).map(key).transpose()?,
            topics: typed(self.topic, &DataType::Utf8, "topic")?.map(|array| array.as_string::<i32>().clone()),
            partitions: typed(self.partition, &DataType::Int32, "partition")?.map(|array| array.as_primitive().clone()),
            timestamps: typed(self.timestamp, &DataType::Timestamp(TimeUnit::Millisecond, None), "timestamp")?
                .map(|array| array.as_primitive().clone()),
            headers: column(self.headers).map(headers).transpose()?,
        })
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(data_type, Binary | LargeBinary | BinaryView | Utf8 | LargeUtf8 | Utf8View)
}

/// A column as bytes: text and binary as they are, anything else as text.
fn binary(column: &ArrayRef) -> Result<BinaryArray> {
    let plain = if is_bytes(column.data_type()) { column.clone() } else { cast(column, &DataType::Utf8)? };
    Ok(cast(&plain, &DataType::Binary)?.as_binary::<i32>().clone())
}

/// A key: a struct as JSON, anything else as it is.
fn key(column: &ArrayRef) -> Result<BinaryArray> {
    let Some(fields) = column.as_struct_opt() else { return binary(column) };
    let options = RecordBatchOptions::new().with_row_count(Some(fields.len()));
    // Where a struct is null its fields are, too, which must not be null elsewhere.
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let schema = Arc::new(Schema::new(fields.fields().iter().map(nullable).collect::<Vec<_>>()));
    let rows = RecordBatch::try_new_with_options(schema, fields.columns().to_vec(), &options)?;
    let keys = Messages::of(rows.num_rows(), json(&prepared(&rows, None)?, true, None)?);
    Ok((0..rows.num_rows()).map(|row| keys.value(row).filter(|_| fields.is_valid(row))).collect())
}

fn headers(column: &ArrayRef) -> Result<ListArray> {
    let fits = |entry: &DataType| match entry {
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).eq([&DataType::Utf8, &DataType::Binary]),
        _ => false,
    };
    match column.data_type() {
        DataType::List(entry) if fits(entry.data_type()) => Ok(column.as_list::<i32>().clone()),
        other => Err(Error::config(format!("the column of headers is {other}"))
            .hint("make it ARRAY<STRUCT<key: STRING, value: BINARY>>")),
    }
}

enum Values {
    Column(BinaryArray),
    /// Objects one after the other, and where each begins and ends.
    Text {
        text: Vec<u8>,
        ends: Vec<usize>,
    },
}

/// The columns as they are written: binary in base 64, and with a schema all as Connect has them.
fn prepared(rows: &RecordBatch, times: Option<ConnectTimes>) -> Result<RecordBatch> {
    let columns: Result<Vec<ArrayRef>> = rows
        .columns()
        .iter()
        .map(|column| match (times, column.data_type()) {
            (Some(times), _) => converter::to_connect_values(column, times),
            (None, DataType::Binary) => Ok(converter::base64_column(column)),
            _ => Ok(column.clone()),
        })
        .collect();
    let columns = columns?;
    let changed =
        |(field, column): (&Arc<Field>, &ArrayRef)| field.as_ref().clone().with_data_type(column.data_type().clone());
    let fields: Vec<Field> = rows.schema_ref().fields().iter().zip(&columns).map(changed).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

fn json(rows: &RecordBatch, nulls: bool, schema: Option<&str>) -> Result<Values> {
    let mut text = Vec::with_capacity(rows.num_rows() * 128);
    let mut ends = Vec::with_capacity(rows.num_rows());
    if rows.num_columns() == 0 {
        for _ in 0..rows.num_rows() {
            text.extend_from_slice(b"{}\n");
        }
    } else {
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(nulls)
            .with_encoder_factory(Arc::new(JsonValues))
            .build::<_, LineDelimited>(&mut text);
        writer.write(rows)?;
        writer.finish()?;
    }
    if let Some(schema) = schema {
        text = enveloped(&text, schema);
    }
    // A line end inside a string is escaped: each line is a row.
    let mut end = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        ends.push(end);
    }
    if ends.len() != rows.num_rows() {
        return Err(Error::internal(format!("{} rows became {} lines", rows.num_rows(), ends.len())));
    }
    Ok(Values::Text { text, ends })
}

/// Each line as Connect's envelope around it.
fn enveloped(lines: &[u8], before: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        text.extend_from_slice(b"}\n");
    }
    text
}

/// Rows as messages.
pub(super) struct Messages {
    pub(super) rows: usize,
    values: Values,
    keys: Option<BinaryArray>,
    topics: Option<StringArray>,
    partitions: Option<Int32Array>,
    timestamps: Option<TimestampMillisecondArray>,
    headers: Option<ListArray>,
}

impl Messages {
    /// Values alone.
    fn of(rows: usize, values: Values) -> Self {
        Self { rows, values, keys: None, topics: None, partitions: None, timestamps: None, headers: None }
    }

    /// Whether they have neither headers nor times of their own.
    pub(super) fn are_plain(&self) -> bool {
        self.headers.is_none() && self.timestamps.is_none()
    }

    /// Whether nothing says where they go.
    pub(super) fn find_any_place(&self) -> bool {
        self.keys.is_none() && self.partitions.is_none()
    }

    /// The value of a row; `None` is a tombstone.
    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Column(column) => column.is_valid(row).then(|| column.value(row)),
            Values::Text { text, ends } => {
                let start = row.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
                // Without the line end.
                text.get(start..ends.get(row)?.saturating_sub(1))
            }
        }
    }

    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        self.keys.as_ref().filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row))
    }

    pub(super) fn topic(&self, row: usize) -> Option<&str> {
        self.topics.as_ref().filter(|topics| topics.is_valid(row)).map(|topics| topics.value(row))
    }

    /// Whether all partitions that are named are such.
    pub(super) fn all_partitions(&self, are: impl Fn(i32) -> bool) -> bool {
        self.partitions.as_ref().is_none_or(|partitions| partitions.iter().flatten().all(are))
    }

    pub(super) fn partition(&self, row: usize) -> Option<i32> {
        self.partitions.as_ref().filter(|partitions| partitions.is_valid(row)).map(|partitions| partitions.value(row))
    }

    pub(super) fn timestamp(&self, row: usize) -> Option<i64> {
        self.timestamps.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    pub(super) fn headers(&self, row: usize) -> Option<OwnedHeaders> {
        let entries = self.headers.as_ref().filter(|headers| headers.is_valid(row))?.value(row);
        let entries = entries.as_struct();
        let (keys, values) =
            (entries.columns().first()?.as_string::<i32>(), entries.columns().get(1)?.as_binary::<i32>());
        let mut headers = OwnedHeaders::new_with_capacity(entries.len());
        for i in 0..entries.len() {
            let value = values.is_valid(i).then(|| values.value(i));
            headers = headers.insert(Header { key: keys.value(i), value });
        }
        Some(headers)
    }

    /// The topics that rows name.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        let mut found: Vec<Arc<str>> = Vec::new();
        for topic in self.topics.iter().flat_map(|topics| topics.iter().flatten()) {
            if !found.iter().any(|known| **known == *topic) {
                found.push(topic.into());
            }
        }
        found
    }
}
