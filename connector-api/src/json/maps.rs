//! Maps as objects: keys of any type as text, and entries without a value, which Arrow's writer refuses and leaves out.

use arrow::array::{Array, AsArray as _, MapArray};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderOptions, NullableEncoder, make_encoder};

struct Maps<'a> {
    map: &'a MapArray,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
    key: Vec<u8>,
}

/// The encoder of a column of maps.
pub(super) fn encoder<'a>(
    array: &'a dyn Array,
    options: &'a EncoderOptions,
) -> Result<Box<dyn Encoder + 'a>, ArrowError> {
    let map: &MapArray = array.as_map();
    let [key, value] = map.entries().fields().as_ref() else {
        return Err(ArrowError::JsonError("a map has no keys and values".to_owned()));
    };
    let keys = make_encoder(key, map.keys().as_ref(), options)?;
    if keys.has_nulls() {
        return Err(ArrowError::JsonError("a key of a map is null".to_owned()));
    }
    let values = make_encoder(value, map.values().as_ref(), options)?;
    Ok(Box::new(Maps { map, keys, values, key: Vec::new() }))
}

impl Encoder for Maps<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let offsets = self.map.value_offsets();
        let place = |at: usize| offsets.get(at).and_then(|at| usize::try_from(*at).ok()).unwrap_or(0);
        out.push(b'{');
        let first = place(index);
        for entry in first..place(index + 1) {
            if entry > first {
                out.push(b',');
            }
            self.key.clear();
            self.keys.encode(entry, &mut self.key);
            match self.key.first() {
                Some(b'"') => out.extend_from_slice(&self.key),
                // A key in JSON is text.
                _ => {
                    let text = serde_json::Value::from(String::from_utf8_lossy(&self.key)).to_string();
                    out.extend_from_slice(text.as_bytes());
                }
            }
            out.push(b':');
            match self.values.is_null(entry) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(entry, out),
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Builder, MapBuilder, RecordBatch, StringBuilder};

    use super::super::write_lines;

    #[test]
    fn keys_are_text_and_entries_without_a_value_are_there() {
        let mut texts = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        let mut numbers = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        for row in [&[("k\"1", Some(1)), ("k2", None)][..], &[][..], &[("k3", None)]] {
            for (key, value) in row {
                texts.keys().append_value(key);
                texts.values().append_option(*value);
                numbers.keys().append_value(key.len() as i32);
                numbers.values().append_option(value.map(|value| value.to_string()));
            }
            texts.append(true).unwrap();
            numbers.append(!row.is_empty()).unwrap();
        }
        let columns: [(&str, arrow::array::ArrayRef); 2] =
            [("t", Arc::new(texts.finish())), ("n", Arc::new(numbers.finish()))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut out = Vec::new();
        write_lines(&rows, &mut out).unwrap();
        write_lines(&rows.slice(2, 1), &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let last = r#"{"t":{"k3":null},"n":{"2":null}}"#;
        let expected = [r#"{"t":{"k\"1":1,"k2":null},"n":{"3":"1","2":null}}"#, r#"{"t":{}}"#, last, last];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }
}
