//! JSON: the type of each field that fits all its values.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::{Error, Result};

use crate::ddl::array_type;
use crate::json::{Cursor, Numeric, Syntax};

/// Deeper records count as malformed.
const MAX_DEPTH: usize = 100;

/// What the values of a field have been so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Long,
    /// Precision and scale of whole numbers beyond 64 bits.
    Decimal(u8),
    Double,
    String,
    Array(Box<Kind>),
    Struct(BTreeMap<String, Kind>),
}

/// The schema of JSON records, one a line: BIGINT, DOUBLE, STRING, BOOLEAN, STRUCT and ARRAY, with the fields sorted by
/// name. What was only ever null is STRING. If a record is malformed, the schema has `_corrupt_record` too.
pub fn infer_json_schema<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Schema> {
    let mut fields = BTreeMap::new();
    let mut malformed = false;
    let mut scratch = Vec::new();
    for line in lines {
        let mut cursor = Cursor { bytes: line.strip_prefix(crate::text::BOM).unwrap_or(line), at: 0 };
        cursor.skip_blanks();
        if cursor.at_end() {
            continue;
        }
        match kind(&mut cursor, &mut scratch, 0) {
            Ok(Kind::Struct(record)) => merge_fields(&mut fields, record),
            Ok(Kind::Array(element)) => match *element {
                Kind::Struct(record) => merge_fields(&mut fields, record),
                Kind::Null => {}
                _ => malformed = true,
            },
            _ => malformed = true,
        }
    }
    if malformed {
        fields.entry("_corrupt_record".to_owned()).or_insert(Kind::String);
    }
    let fields = to_fields(fields);
    if fields.is_empty() {
        return Err(Error::data("no schema can be inferred, since no record has a field").hint("give the schema"));
    }
    Ok(Schema::new(fields))
}

fn kind(cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>, depth: usize) -> std::result::Result<Kind, Syntax> {
    if depth > MAX_DEPTH {
        return cursor.fail("the value is nested too deeply");
    }
    match cursor.peek() {
        quote @ (b'"' | b'\'') => {
            cursor.at += 1;
            let text = cursor.string(quote, scratch)?;
            Ok(if text.bytes(scratch).is_empty() { Kind::Null } else { Kind::String })
        }
        b'n' => cursor.word(b"null").map(|()| Kind::Null),
        b't' => cursor.word(b"true").map(|()| Kind::Boolean),
        b'f' => cursor.word(b"false").map(|()| Kind::Boolean),
        bracket @ (b'{' | b'[') => {
            cursor.at += 1;
            let is_object = bracket == b'{';
            let close = if is_object { b'}' } else { b']' };
            let mut fields = BTreeMap::new();
            let mut element = Kind::Null;
            cursor.skip_blanks();
            let mut more = cursor.peek() != close;
            while more {
                if is_object {
                    let quote = cursor.peek();
                    if !matches!(quote, b'"' | b'\'') {
                        return cursor.fail("expected a name in quotes");
                    }
                    cursor.at += 1;
                    let name = cursor.string(quote, scratch)?;
                    let name = String::from_utf8_lossy(name.bytes(scratch)).into_owned();
                    cursor.skip_blanks();
                    cursor.expect(b':', "expected a colon after the name")?;
                    cursor.skip_blanks();
                    let value = kind(cursor, scratch, depth + 1)?;
                    merge_fields(&mut fields, BTreeMap::from([(name, value)]));
                } else {
                    element = merge(element, kind(cursor, scratch, depth + 1)?);
                }
                cursor.skip_blanks();
                more = cursor.peek() == b',';
                if more {
                    cursor.at += 1;
                    cursor.skip_blanks();
                }
            }
            cursor.expect(close, "expected a comma or the closing bracket")?;
            Ok(if is_object { Kind::Struct(fields) } else { Kind::Array(Box::new(element)) })
        }
        _ => Ok(match cursor.numeric()? {
            Numeric::Special(_) => Kind::Double,
            Numeric::Finite(number) if number.float => Kind::Double,
            Numeric::Finite(number) if number.to_i64().is_some() => Kind::Long,
            Numeric::Finite(number) => {
                let digits = number.text.iter().filter(|b| b.is_ascii_digit()).count();
                u8::try_from(digits).ok().filter(|d| *d <= 38).map_or(Kind::Double, Kind::Decimal)
            }
        }),
    }
}

fn merge_fields(into: &mut BTreeMap<String, Kind>, from: BTreeMap<String, Kind>) {
    for (name, kind) in from {
        let merged = match into.remove(&name) {
            Some(before) => merge(before, kind),
            None => kind,
        };
        into.insert(name, merged);
    }
}

fn merge(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Null, other) | (other, Kind::Null) => other,
        (Kind::Long, Kind::Double) | (Kind::Double, Kind::Long) => Kind::Double,
        (Kind::Decimal(_), Kind::Double) | (Kind::Double, Kind::Decimal(_)) => Kind::Double,
        // A BIGINT has up to 20 digits as Spark counts them.
        (Kind::Decimal(p), Kind::Long) | (Kind::Long, Kind::Decimal(p)) => Kind::Decimal(p.max(20)),
        (Kind::Decimal(p), Kind::Decimal(q)) => Kind::Decimal(p.max(q)),
        (Kind::Array(a), Kind::Array(b)) => Kind::Array(Box::new(merge(*a, *b))),
        (Kind::Struct(mut a), Kind::Struct(b)) => {
            merge_fields(&mut a, b);
            Kind::Struct(a)
        }
        _ => Kind::String,
    }
}

fn to_fields(fields: BTreeMap<String, Kind>) -> Vec<Field> {
    fields.into_iter().filter_map(|(name, kind)| Some(Field::new(name, to_type(kind)?, true))).collect()
}

/// `None` for objects that never had a field.
fn to_type(kind: Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Null | Kind::String => DataType::Utf8,
        Kind::Boolean => DataType::Boolean,
        Kind::Long => DataType::Int64,
        Kind::Decimal(precision) => DataType::Decimal128(precision, 0),
        Kind::Double => DataType::Float64,
        Kind::Array(element) => array_type(to_type(*element)?),
        Kind::Struct(fields) => {
            let fields = to_fields(fields);
            if fields.is_empty() {
                return None;
            }
            DataType::Struct(fields.into())
        }
    })
}
