//! The parser.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use levada_connector_api::{Error, Result};

use super::{COMMENT, array_type, map_type, timestamp_type};

/// Deeper types are refused, so that hostile text cannot exhaust the stack.
const MAX_DEPTH: usize = 100;

/// A schema from its columns, `name STRING NOT NULL, age INT COMMENT 'in years'`, or from one `STRUCT<…>`.
pub fn parse_schema(ddl: &str) -> Result<Schema> {
    let mut parser = Parser { text: ddl, at: 0, depth: 0 };
    parser.skip_blanks();
    if parser.rest().is_empty() {
        return Err(Error::config("the schema is empty").hint("write columns such as: name STRING, age INT"));
    }
    let mark = parser.at;
    let whole_struct = parser.word().is_some_and(|w| w.eq_ignore_ascii_case("struct")) && parser.peek() == Some('<');
    parser.at = mark;
    let fields = if whole_struct {
        match parser.data_type()? {
            DataType::Struct(fields) => fields.iter().map(|f| f.as_ref().clone()).collect(),
            _ => Vec::new(),
        }
    } else {
        parser.fields(None)?
    };
    parser.end()?;
    if let Some(name) = first_duplicate(&fields) {
        return Err(Error::config(format!("the schema has two columns named '{name}'")).hint("rename one of them"));
    }
    Ok(Schema::new(fields))
}

/// A type by its Spark name: `bigint`, `decimal(10,2)`, `map<string,array<int>>`.
pub fn parse_type(text: &str) -> Result<DataType> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let data_type = parser.data_type()?;
    parser.end()?;
    Ok(data_type)
}

fn first_duplicate(fields: &[Field]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    fields.iter().map(|f| f.name().as_str()).find(|name| !seen.insert(*name))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest().chars().next()
    }

    fn take(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn expect(&mut self, symbol: char, hint: &str) -> Result<()> {
        if self.take(symbol) { Ok(()) } else { Err(self.error(&format!("expected '{symbol}'"), hint)) }
    }

    /// A bare word of letters, digits and underscores.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest.get(..end).filter(|w| !w.is_empty())?;
        self.at += end;
        Some(word)
    }

    fn take_word(&mut self, expected: &str) -> bool {
        let mark = self.at;
        let found = self.word().is_some_and(|w| w.eq_ignore_ascii_case(expected));
        if !found {
            self.at = mark;
        }
        found
    }

    fn error(&mut self, problem: &str, hint: &str) -> Error {
        self.skip_blanks();
        let rest = self.rest();
        let found = match rest.chars().next() {
            None => "the end".to_owned(),
            Some(c) if c.is_alphanumeric() => {
                let end = rest.find(|c: char| c.is_whitespace() || ",<>():".contains(c)).unwrap_or(rest.len());
                format!(
                    "'{}'",
                    rest.chars().take(rest.get(..end).map_or(0, |w| w.chars().count()).min(40)).collect::<String>()
                )
            }
            Some(c) => format!("'{c}'"),
        };
        self.error_at(self.at, &format!("{problem}, found {found}"), hint)
    }

    fn error_at(&self, at: usize, problem: &str, hint: &str) -> Error {
        let position = self.text.get(..at).map_or(0, |t| t.chars().count()) + 1;
        Error::config(format!("schema, position {position}: {problem}")).hint(hint)
    }

    fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error(
                "expected ',' or the end",
                "separate columns by commas and put names with other characters in `backticks`",
            )),
        }
    }

    fn name(&mut self) -> Result<String> {
        if self.peek() != Some('`') {
            let hint = "start each column with its name; put names with blanks or other characters in `backticks`";
            return match self.word() {
                Some(word) => Ok(word.to_owned()),
                None => Err(self.error("expected a column name", hint)),
            };
        }
        let start = self.at;
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((index, c)) = chars.next() {
            if c != '`' {
                name.push(c);
            } else if chars.next_if(|(_, next)| *next == '`').is_some() {
                name.push('`');
            } else if name.is_empty() {
                break;
            } else {
                self.at = start + index + 1;
                return Ok(name);
            }
        }
        Err(self.error_at(start, "this backtick starts no name", "close the name with a second backtick"))
    }

    /// Fields up to `close`, which is not consumed, or to where no comma follows.
    fn fields(&mut self, close: Option<char>) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        if close.is_some() && self.peek() == close {
            return Ok(fields);
        }
        loop {
            fields.push(self.field()?);
            if !self.take(',') {
                return Ok(fields);
            }
        }
    }

    fn field(&mut self) -> Result<Field> {
        let name = self.name()?;
        self.take(':');
        let data_type = self.data_type()?;
        let mut nullable = true;
        let mut comment = None;
        loop {
            if self.take_word("not") {
                if !self.take_word("null") {
                    return Err(self.error("expected NULL after NOT", "write NOT NULL"));
                }
                nullable = false;
            } else if self.take_word("comment") {
                comment = Some(self.string()?);
            } else {
                break;
            }
        }
        let field = Field::new(name, data_type, nullable);
        Ok(match comment {
            Some(text) => field.with_metadata(HashMap::from([(COMMENT.to_owned(), text)])),
            None => field,
        })
    }

    fn string(&mut self) -> Result<String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return Err(self.error("expected a text in quotes", "write COMMENT 'text'"));
        };
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((index, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.at = start + index + 1;
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(self.error_at(start, "this quote is not closed", "close the text with the same quote"))
    }

    fn data_type(&mut self) -> Result<DataType> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("the type is nested too deeply", "flatten the schema"));
        }
        self.depth += 1;
        let data_type = self.data_type_inner();
        self.depth -= 1;
        data_type
    }

    fn data_type_inner(&mut self) -> Result<DataType> {
        self.skip_blanks();
        let start = self.at;
        let Some(word) = self.word() else {
            return Err(self.error("expected a type", "name a type such as STRING, INT or ARRAY<STRING>"));
        };
        Ok(match word.to_ascii_lowercase().as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "string" => DataType::Utf8,
            "binary" => DataType::Binary,
            "date" => DataType::Date32,
            "timestamp" | "timestamp_ltz" => timestamp_type(),
            "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "void" => DataType::Null,
            "varchar" | "char" | "character" => {
                self.expect('(', "give the length, as in VARCHAR(20)")?;
                self.number()?;
                self.expect(')', "close the length with ')'")?;
                DataType::Utf8
            }
            "decimal" | "dec" | "numeric" => self.decimal(start)?,
            "array" => {
                self.expect('<', "give the type of the elements, as in ARRAY<STRING>")?;
                let element = self.data_type()?;
                self.expect('>', "close ARRAY<…> with '>'")?;
                array_type(element)
            }
            "map" => {
                self.expect('<', "give the types of keys and values, as in MAP<STRING, INT>")?;
                let key = self.data_type()?;
                self.expect(',', "give the types of keys and values, as in MAP<STRING, INT>")?;
                let value = self.data_type()?;
                self.expect('>', "close MAP<…> with '>'")?;
                map_type(key, value)
            }
            "struct" => {
                self.expect('<', "give the fields, as in STRUCT<x: DOUBLE, y: DOUBLE>")?;
                let fields = self.fields(Some('>'))?;
                self.expect('>', "separate fields by commas and close STRUCT<…> with '>'")?;
                DataType::Struct(fields.into())
            }
            _ => {
                let hint = "use one of STRING, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), \
                            DATE, TIMESTAMP, TIMESTAMP_NTZ, BINARY, ARRAY<…>, MAP<…>, STRUCT<…>";
                return Err(self.error_at(start, &format!("unknown type '{word}'"), hint));
            }
        })
    }

    fn decimal(&mut self, start: usize) -> Result<DataType> {
        let (mut precision, mut scale) = (10, 0);
        if self.take('(') {
            precision = self.number()?;
            if self.take(',') {
                scale = self.number()?;
            }
            self.expect(')', "close DECIMAL(p,s) with ')'")?;
        }
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(p @ 1..=38), Ok(s)) if scale <= precision => Ok(DataType::Decimal128(p, s)),
            _ => Err(self.error_at(
                start,
                &format!("decimal({precision},{scale}) does not exist"),
                "the precision is 1 to 38, the scale 0 to the precision",
            )),
        }
    }

    fn number(&mut self) -> Result<u32> {
        self.skip_blanks();
        let mark = self.at;
        match self.word().and_then(|w| w.parse().ok()) {
            Some(number) => Ok(number),
            None => {
                self.at = mark;
                Err(self.error("expected a whole number", "as in DECIMAL(10,2) or VARCHAR(20)"))
            }
        }
    }
}
