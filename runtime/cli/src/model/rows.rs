//! Rows of files, for `levada model`: CSV, or Parquet.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use levada_connector_api::{Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Reads a CSV file, a Parquet file, or the Parquet files of a folder. In CSV all columns are text, and an empty field is
/// null.
pub(super) fn read(path: &Path, header: bool) -> Result<RecordBatch> {
    let place = path.display().to_string();
    let io = |error| Error::io(&place, error);
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut files: Vec<PathBuf> = entries.map_err(io)?.iter().map(std::fs::DirEntry::path).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort();
        if files.is_empty() {
            return Err(Error::data("there is no Parquet file in the folder").context(place));
        }
        let batches = files.iter().map(|file| parquet(file)).collect::<Result<Vec<_>>>()?;
        let schema = batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(Schema::empty()));
        return concat_batches(&schema, &batches).map_err(|error| Error::data(error.to_string()).context(place));
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(io)?;
    if start == b"PAR1" { parquet(path) } else { csv(path, header) }
}

fn csv(path: &Path, header: bool) -> Result<RecordBatch> {
    let place = path.display().to_string();
    let open = || File::open(path).map_err(|error| Error::io(&place, error));
    let wrong = |error: arrow::error::ArrowError| Error::data(error.to_string()).context(place.clone());
    let (schema, _) = Format::default().with_header(header).infer_schema(open()?, Some(1)).map_err(wrong)?;
    let name = |(at, field): (usize, &Arc<Field>)| if header { field.name().clone() } else { format!("_c{at}") };
    let fields = schema.fields().iter().enumerate().map(name).map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_header(header).build(open()?).map_err(wrong)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    concat_batches(&schema, &batches).map_err(wrong)
}

fn parquet(path: &Path) -> Result<RecordBatch> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|error| Error::io(&place, error))?;
    let wrong = |error: String| Error::data(error).context(place.clone());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(error.to_string()))?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| wrong(error.to_string()))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    concat_batches(&schema, &batches).map_err(|error| wrong(error.to_string()))
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| {
        let schema = rows.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::config(format!("there is no column '{name}'; there are {}", names.join(", ")))
            .hint("name others with --features, or say that a CSV file has a --header")
    })
}

/// A column as text.
pub(super) fn text(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let column = column(rows, name)?;
    let kind = column.data_type();
    let text = cast(column, &DataType::Utf8)
        .map_err(|_| Error::config(format!("column '{name}' is {kind}, text is needed")))?;
    Ok(text.as_string::<i32>().clone())
}

/// A column as numbers, text that is one included.
pub(super) fn numbers(rows: &RecordBatch, name: &str) -> Result<Float64Array> {
    let column = column(rows, name)?;
    let kind = column.data_type();
    if matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let text = text(rows, name)?;
        let number = |(at, field): (usize, Option<&str>)| match field {
            None => Ok(None),
            Some(field) => field.trim().parse::<f64>().map(Some).map_err(|_| {
                Error::data(format!("'{field}' is no number")).context(format!("row {}, column '{name}'", at + 1))
            }),
        };
        return text.iter().enumerate().map(number).collect::<Result<Vec<_>>>().map(Float64Array::from);
    }
    if !(kind.is_numeric() || *kind == DataType::Boolean) {
        return Err(Error::config(format!("column '{name}' is {kind}, a number is needed")));
    }
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

/// Fails at the first null of a column: `what` it is.
pub(super) fn known(column: &dyn Array, what: &str) -> Result<()> {
    match (0..column.len()).find(|row| column.is_null(*row)) {
        None => Ok(()),
        Some(row) => Err(Error::data(format!("row {}: {what} is missing", row + 1))),
    }
}
