//! Casts of arrays, maps and structs: part by part.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::{DataType, Fields};
use datafusion_common::{Result, exec_err};

use super::{Mode, cast_array};

/// Casts between nested types of one shape.
pub(crate) fn cast(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match to {
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = cast_array(list.values(), field.data_type(), mode)?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())?))
        }
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let DataType::Struct(fields) = field.data_type() else { return exec_err!("a map without entries") };
            let entries = structs(map.entries(), fields, mode)?;
            let nulls = map.nulls().cloned();
            Ok(Arc::new(MapArray::try_new(Arc::clone(field), map.offsets().clone(), entries, nulls, *sorted)?))
        }
        DataType::Struct(fields) => Ok(Arc::new(structs(array.as_struct(), fields, mode)?)),
        other => exec_err!("no cast from {} to {other}", array.data_type()),
    }
}

fn structs(array: &StructArray, fields: &Fields, mode: Mode) -> Result<StructArray> {
    let columns = array
        .columns()
        .iter()
        .zip(fields)
        .map(|(column, field)| cast_array(column, field.data_type(), mode))
        .collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())?)
}
