//! Rows by the folder that they go to, as Hive and Spark name them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use levada_connector_api::{Error, Result, find_column};
use levada_formats::scalar::{format_date, format_double, format_float, format_timestamp};

/// What stands for null in a folder's name.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The most bytes that file systems and stores allow for a folder's name.
const LONGEST: usize = 255;

/// Rows by their folders, and the rows that have none, with the reason.
pub(crate) struct Split {
    pub(crate) folders: Vec<(String, RecordBatch)>,
    pub(crate) refused: Vec<(usize, String)>,
}

/// Splits rows by the columns that become folders.
pub(crate) struct Partitioner {
    columns: Vec<usize>,
    kept: Vec<usize>,
    /// The columns that stay in the files.
    pub(crate) schema: SchemaRef,
}

impl Partitioner {
    pub(crate) fn new(by: &[String], schema: &SchemaRef) -> Result<Self> {
        let mut columns = Vec::new();
        for name in by {
            let index = find_column(schema, name).map_err(|error| error.context("partition.by"))?;
            let data_type = schema.field(index).data_type();
            if !has_text(data_type) {
                return Err(Error::config(format!(
                    "partition.by: the column '{name}' is {data_type}: no folder can be named by it"
                ))
                .hint(
                    "choose a column of numbers, texts, booleans, dates or timestamps, or cast it to STRING before",
                ));
            }
            if columns.contains(&index) {
                return Err(Error::config(format!("partition.by names the column '{name}' twice")));
            }
            columns.push(index);
        }
        let kept: Vec<usize> = (0..schema.fields().len()).filter(|i| !columns.contains(i)).collect();
        if kept.is_empty() {
            return Err(Error::config("partition.by names every column: nothing is left for the files"));
        }
        let fields: Vec<_> = kept.iter().filter_map(|i| schema.fields().get(*i).cloned()).collect();
        Ok(Self { columns, kept, schema: Arc::new(Schema::new(fields)) })
    }

    /// The rows of each folder; the folder is empty without partition columns.
    pub(crate) fn split(&self, rows: &RecordBatch) -> Result<Split> {
        if self.columns.is_empty() {
            return Ok(Split { folders: vec![(String::new(), rows.clone())], refused: Vec::new() });
        }
        let mut refused = Vec::new();
        let schema = rows.schema();
        let mut columns = Vec::new();
        for index in &self.columns {
            columns.push((schema.field(*index).name().clone(), texts(rows.column(*index))?));
        }
        let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut folder = String::new();
        'rows: for row in 0..rows.num_rows() {
            folder.clear();
            for (name, values) in &columns {
                if !folder.is_empty() {
                    folder.push('/');
                }
                let start = folder.len();
                escape(name, &mut folder);
                folder.push('=');
                match values.is_null(row) {
                    true => folder.push_str(NULL),
                    false => escape(values.value(row), &mut folder),
                }
                let length = folder.len() - start;
                if length > LONGEST {
                    let reason = format!(
                        "partition.by: the folder's name would have {length} bytes by the value of '{name}'; at most \
                         {LONGEST} are possible"
                    );
                    refused.push((row, reason));
                    continue 'rows;
                }
            }
            match groups.get_mut(&folder) {
                Some(group) => group.push(row as u32),
                None => {
                    groups.insert(folder.clone(), vec![row as u32]);
                }
            }
        }
        let rows = rows.project(&self.kept)?;
        let take =
            |(folder, group): (String, Vec<u32>)| Ok((folder, take_record_batch(&rows, &UInt32Array::from(group))?));
        Ok(Split { folders: groups.into_iter().map(take).collect::<Result<_>>()?, refused })
    }
}

fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => true,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        other => other.is_numeric(),
    }
}

/// Values as Spark casts them to text: timestamps in UTC.
fn texts(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    // A value that has no text must not become null: its row would lie in another folder.
    let cast = |to: &DataType| cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() });
    let list = match column.data_type() {
        DataType::Timestamp(_, zone) => {
            let micros = cast(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            micros.as_primitive::<TimestampMicrosecondType>().iter().map(|at| at.map(format_timestamp)).collect()
        }
        DataType::Date32 | DataType::Date64 => {
            cast(&DataType::Date32)?.as_primitive::<Date32Type>().iter().map(|at| at.map(format_date)).collect()
        }
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().map(|x| x.map(format_double)).collect(),
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().map(|x| x.map(format_float)).collect(),
        _ => cast(&DataType::Utf8)?.as_string::<i32>().clone(),
    };
    Ok(list)
}

/// Hive's escapes: what a path must not hold becomes `%XX`. An empty value is written as null is.
fn escape(text: &str, out: &mut String) {
    if text.is_empty() {
        out.push_str(NULL);
    }
    for c in text.chars() {
        if c.is_control() || "\"#%'*/:=?\\{[]^".contains(c) {
            let _ = write!(out, "%{:02X}", c as u32);
        } else {
            out.push(c);
        }
    }
}
