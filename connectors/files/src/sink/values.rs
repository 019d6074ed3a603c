//! Values that Arrow's CSV writer would write so that nobody reads them back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use levada_connector_api::json::{far_times_as_text, has_special, special_number};

/// Numbers that are not finite by their names, and times of any year.
pub(crate) fn for_csv(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows = &far_times_as_text(rows)?;
    let wanted = |column: &ArrayRef| match column.data_type() {
        DataType::Float64 => has_special(column.as_primitive::<Float64Type>()),
        DataType::Float32 => has_special(column.as_primitive::<Float32Type>()),
        _ => false,
    };
    if !rows.columns().iter().any(wanted) {
        return Ok(rows.clone());
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if !wanted(column) {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        }
        let (texts, numbers) = (cast(column, &DataType::Utf8)?, cast(column, &DataType::Float64)?);
        let numbers = numbers.as_primitive::<Float64Type>().iter();
        let texts = texts.as_string::<i32>().iter().zip(numbers);
        let named = texts.map(|(text, number)| number.and_then(special_number).or(text)).collect::<StringArray>();
        fields.push(Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)));
        columns.push(Arc::new(named));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
