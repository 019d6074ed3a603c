//! CSV into Arrow with Spark's rules, a line at a time.
//!
//! A line is one record: a line end inside quotes ends it all the same (Spark's default). Lines with too few or too
//! many values are malformed rows; a value that does not fit its column is a malformed field.

mod decoder;
mod long;
mod tokens;
mod value;

pub use decoder::{CsvDecoder, CsvOptions, separator};

/// The values of a header line. Empty ones are named `_c0`, `_c1`, … by their place.
pub fn parse_header(line: &[u8], options: &CsvOptions) -> Vec<String> {
    let mut names = Vec::new();
    let line = line.strip_prefix(crate::text::BOM).unwrap_or(line);
    tokenize(line, options, &mut Vec::new(), |index, token| {
        let name = token.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).filter(|name| !name.is_empty());
        names.push(name.unwrap_or_else(|| format!("_c{index}")));
    });
    names
}

/// Whether a line holds no record: it is blank or a comment.
pub fn is_skipped(line: &[u8], options: &CsvOptions) -> bool {
    line.iter().all(|b| *b <= b' ') || options.comment.is_some_and(|c| line.first() == Some(&c))
}

pub(crate) use tokens::tokenize;
pub(crate) use value::java_long;

#[cfg(test)]
mod tests;
