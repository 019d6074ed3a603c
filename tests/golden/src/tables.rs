//! Tables of text beside a case: CSV with a header, an empty field is null.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};

/// A table whose columns are all text.
#[derive(Debug)]
pub(crate) struct Table(RecordBatch);

impl Table {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let place = |error: String| format!("{}: {error}", path.display());
        let open = || File::open(path).map_err(|error| place(error.to_string()));
        let (names, _) = Format::default()
            .with_header(true)
            .infer_schema(open()?, Some(0))
            .map_err(|error| place(error.to_string()))?;
        let fields: Vec<Field> =
            names.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let reader = ReaderBuilder::new(schema.clone())
            .with_header(true)
            .build(open()?)
            .map_err(|error| place(error.to_string()))?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| place(error.to_string()))?;
        Ok(Self(concat_batches(&schema, &batches).map_err(|error| place(error.to_string()))?))
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.num_rows()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    pub(crate) fn text(&self, name: &str) -> Result<StringArray, String> {
        let column = self.0.column_by_name(name).ok_or_else(|| format!("there is no column '{name}'"))?;
        Ok(column.as_string::<i32>().clone())
    }

    /// A column of numbers.
    pub(crate) fn numbers(&self, name: &str) -> Result<ArrayRef, String> {
        let text = self.text(name)?;
        let mut numbers = Vec::with_capacity(text.len());
        for field in &text {
            let number = field.map(|field| field.parse::<f64>().map_err(|_| format!("'{field}' is no number")));
            numbers.push(number.transpose()?);
        }
        Ok(Arc::new(Float64Array::from(numbers)))
    }
}
