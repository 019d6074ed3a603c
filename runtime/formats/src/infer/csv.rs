//! CSV: names from a header, types from the values if asked for.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::{Error, Result};

use crate::csv::{CsvOptions, is_skipped, java_long, parse_header, tokenize};
use crate::ddl::timestamp_type;
use crate::scalar::{java_double, parse_date, parse_timestamp};

/// What the values of a column have been so far. The order is that in which Spark tries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Null,
    Int,
    Long,
    Double,
    Date,
    Timestamp,
    Boolean,
    String,
}

/// The schema of CSV lines. Names come from the first line if it is a `header`, else they are `_c0`, `_c1`, …; all types
/// are STRING unless `types`, which reads every value.
pub fn infer_csv_schema<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    header: bool,
    types: bool,
    options: &CsvOptions,
) -> Result<Schema> {
    let mut lines = lines.into_iter().filter(|line| !is_skipped(line, options)).peekable();
    let Some(first) = lines.peek() else {
        return Err(Error::data("no schema can be inferred, since there are no lines").hint("give the schema"));
    };
    let mut names = parse_header(first, options);
    if header {
        lines.next();
        number_duplicates(&mut names);
    } else {
        names.iter_mut().enumerate().for_each(|(i, name)| *name = format!("_c{i}"));
    }
    let mut kinds = vec![Kind::Null; names.len()];
    let mut scratch = Vec::new();
    for line in lines.filter(|_| types) {
        tokenize(line, options, &mut scratch, |index, token| {
            let value = token.filter(|text| *text != options.null_value.as_bytes());
            if let (Some(kind), Some(text)) = (kinds.get_mut(index), value) {
                *kind = merge(*kind, kind_of(text, *kind, options));
            }
        });
    }
    let data_type = |kind: &Kind| match kind {
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Double => DataType::Float64,
        Kind::Date => DataType::Date32,
        Kind::Timestamp => timestamp_type(),
        Kind::Boolean => DataType::Boolean,
        Kind::Null | Kind::String => DataType::Utf8,
    };
    let fields: Vec<_> = names.into_iter().zip(&kinds).map(|(n, k)| Field::new(n, data_type(k), true)).collect();
    Ok(Schema::new(fields))
}

/// Names that differ at most in case get their place appended.
fn number_duplicates(names: &mut [String]) {
    let mut counts = HashMap::new();
    for name in names.iter() {
        *counts.entry(name.to_lowercase()).or_insert(0) += 1;
    }
    for (index, name) in names.iter_mut().enumerate() {
        if counts.get(&name.to_lowercase()).is_some_and(|count| *count > 1) {
            name.push_str(&index.to_string());
        }
    }
}

/// The first kind, from what the column has been on, that takes the text.
fn kind_of(text: &[u8], from: Kind, options: &CsvOptions) -> Kind {
    let Ok(string) = std::str::from_utf8(text) else { return Kind::String };
    let special = [&options.nan_value, &options.positive_inf, &options.negative_inf];
    let fits = |kind: Kind| match kind {
        Kind::Null => false,
        Kind::Int => java_long(text).is_some_and(|v| i32::try_from(v).is_ok()),
        Kind::Long => java_long(text).is_some(),
        Kind::Double => java_double(string).is_some() || special.iter().any(|s| *s == string),
        // Only whole dates: a year alone is a number.
        Kind::Date => string.len() == 10 && parse_date(string).is_some(),
        Kind::Timestamp => string.len() > 8 && parse_timestamp(string).is_some(),
        Kind::Boolean => string.eq_ignore_ascii_case("true") || string.eq_ignore_ascii_case("false"),
        Kind::String => true,
    };
    [Kind::Int, Kind::Long, Kind::Double, Kind::Date, Kind::Timestamp, Kind::Boolean]
        .into_iter()
        .find(|kind| *kind >= from && fits(*kind))
        .unwrap_or(Kind::String)
}

fn merge(a: Kind, b: Kind) -> Kind {
    match (a.min(b), a.max(b)) {
        (Kind::Null, kind) => kind,
        (low, high) if low == high => low,
        (Kind::Int | Kind::Long, high @ (Kind::Long | Kind::Double)) => high,
        (Kind::Date, Kind::Timestamp) => Kind::Timestamp,
        _ => Kind::String,
    }
}
