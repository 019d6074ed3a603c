//! Rows by the folder that they go to, as Hive and Spark name them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use levada_connector_api::config::nearest;
use levada_connector_api::{Error, Result};

/// What stands for null in a folder's name.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

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
            let index = schema.index_of(name).map_err(|_| {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let error = Error::config(format!("partition.by: there is no column '{name}'"));
                match nearest(name, names.iter().copied()) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(format!("there are {}", names.join(", "))),
                }
            })?;
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
    pub(crate) fn split(&self, rows: RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        if self.columns.is_empty() {
            return Ok(vec![(String::new(), rows)]);
        }
        let schema = rows.schema();
        let mut texts = Vec::new();
        for index in &self.columns {
            texts.push((schema.field(*index).name().clone(), cast(rows.column(*index), &DataType::Utf8)?));
        }
        let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut folder = String::new();
        for row in 0..rows.num_rows() {
            folder.clear();
            for (name, values) in &texts {
                if !folder.is_empty() {
                    folder.push('/');
                }
                escape(name, &mut folder);
                folder.push('=');
                match values.is_null(row) {
                    true => folder.push_str(NULL),
                    false => escape(values.as_string::<i32>().value(row), &mut folder),
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
        groups.into_iter().map(take).collect()
    }
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
