//! Names of tables and columns, quoted so that any text can be one.

use std::fmt;

/// The longest name that the server keeps; it cuts longer ones silently.
const MAX_BYTES: usize = 63;

/// `name` as an identifier: `"of ""mine"""`.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `names` as identifiers with commas between.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Why `name` cannot be a column or table.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is empty".to_owned());
    }
    if name.contains('\0') {
        return Err(format!("the name {name:?} holds a NUL character"));
    }
    if name.len() > MAX_BYTES {
        return Err(format!("the name '{name}' is longer than Postgres's {MAX_BYTES} bytes"));
    }
    Ok(())
}

/// A table, with its schema where that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

impl TableName {
    /// Parses `table`, `schema.table` or, with quotes for names that hold a period, `"my.schema"."my table"`. The case
    /// counts, with and without quotes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        loop {
            let (part, after) = match rest.strip_prefix('"') {
                Some(inside) => quoted_part(inside).ok_or_else(|| "a quote is not closed".to_owned())?,
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    let (part, after) = rest.split_at(end);
                    (part.trim().to_owned(), after)
                }
            };
            check(&part)?;
            parts.push(part);
            match after.trim_start().strip_prefix('.') {
                Some(more) => rest = more.trim_start(),
                None if after.trim().is_empty() => break,
                None => return Err(format!("'{}' follows a closing quote", after.trim())),
            }
        }
        match (parts.pop(), parts.pop(), parts.is_empty()) {
            (Some(table), schema, true) => Ok(Self { schema, table }),
            _ => Err("it has more than two parts; write 'table' or 'schema.table', with quotes around a name that \
                      holds a period"
                .to_owned()),
        }
    }

    /// The name as SQL.
    pub(crate) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.table)),
            None => quoted(&self.table),
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, after)),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_people_write_them() {
        for (text, sql) in [
            ("t", "\"t\""),
            ("Car Info", "\"Car Info\""),
            ("public.car_info", "\"public\".\"car_info\""),
            ("\"my.schema\".\"a \"\"b\"\"\"", "\"my.schema\".\"a \"\"b\"\"\""),
            ("s.\"x.y\"", "\"s\".\"x.y\""),
        ] {
            assert_eq!(TableName::parse(text).unwrap().sql(), sql, "{text}");
        }
        for text in ["", "a.b.c", "\"open", "a.", "\"a\"b", "nul\0", &"x".repeat(64)] {
            assert!(TableName::parse(text).is_err(), "{text}");
        }
    }
}
