//! How lines are decoded, from the configuration.

use std::sync::Arc;

use levada_connector_api::config::Config;
use levada_formats::csv::CsvOptions;
use levada_formats::json::{JsonMode, JsonOptions, JsonSyntax};
use levada_formats::scalar::{Formats, Pattern};
use levada_formats::{MalformedFields, MalformedRows};

use crate::config::{JSON_SYNTAX, byte, quoting_byte};

/// What becomes of what does not fit, for all formats.
#[derive(Debug, Clone)]
pub(crate) struct Malformed {
    pub(crate) rows: MalformedRows,
    pub(crate) fields: MalformedFields,
    /// The column that takes the text of bad lines, if the schema has it.
    pub(crate) corrupt_column: String,
}

impl Malformed {
    /// `has_corrupt`: the schema has the column for the text of bad lines, so they are wanted.
    pub(crate) fn new(config: &Config, has_corrupt: bool) -> Self {
        let word = |key: &str| config.string_opt(key).unwrap_or_default().to_ascii_lowercase();
        let (rows, fields) = match word("mode").as_str() {
            "permissive" => (MalformedRows::Null, MalformedFields::Null),
            "dropmalformed" => (MalformedRows::Drop, MalformedFields::Error),
            "failfast" => (MalformedRows::Error, MalformedFields::Error),
            _ if has_corrupt => (MalformedRows::Null, MalformedFields::Null),
            _ => (MalformedRows::Error, MalformedFields::Null),
        };
        let rows = match word("malformed.rows").as_str() {
            "null" => MalformedRows::Null,
            "drop" => MalformedRows::Drop,
            "error" => MalformedRows::Error,
            _ => rows,
        };
        let fields = match word("malformed.fields").as_str() {
            "error" => MalformedFields::Error,
            "null" => MalformedFields::Null,
            _ => fields,
        };
        Self { rows, fields, corrupt_column: config.string("column.name.of.corrupt.record") }
    }
}

/// The patterns of dates and timestamps. The configuration has checked them.
fn formats(config: &Config) -> Formats {
    let pattern = |key: &str| config.string_opt(key).and_then(|text| Pattern::new(&text).ok()).map(Arc::new);
    Formats { date: pattern("date.format"), timestamp: pattern("timestamp.format") }
}

/// What else than JSON is taken for JSON.
pub(crate) fn syntax(config: &Config) -> JsonSyntax {
    let mut syntax = JsonSyntax::default();
    for (key, _, _) in JSON_SYNTAX {
        syntax.set(&key.replace('.', ""), config.bool(key));
    }
    syntax
}

/// The options of JSON.
pub(crate) fn json(config: &Config, malformed: &Malformed) -> JsonOptions {
    JsonOptions {
        formats: formats(config),
        rows: malformed.rows,
        fields: malformed.fields,
        mode: JsonMode::Source,
        syntax: syntax(config),
        corrupt_column: Some(malformed.corrupt_column.clone()),
    }
}

/// The options of CSV.
pub(crate) fn csv(config: &Config, malformed: &Malformed) -> CsvOptions {
    let defaults = CsvOptions::default();
    let most = |key: &str| config.int_opt(key).and_then(|most| usize::try_from(most).ok());
    let quoting =
        |key: &str, default: u8| config.string_opt(key).and_then(|text| quoting_byte(&text)).unwrap_or(default);
    let options = CsvOptions {
        quote: quoting("quote", defaults.quote),
        escape: quoting("escape", defaults.escape),
        comment: config.string_opt("comment").and_then(|text| byte(&text)),
        null_value: config.string("null.value"),
        empty_value: config.string("empty.value"),
        nan_value: config.string("nan.value"),
        positive_inf: config.string("positive.inf"),
        negative_inf: config.string("negative.inf"),
        ignore_leading_white_space: config.bool("ignore.leading.white.space"),
        ignore_trailing_white_space: config.bool("ignore.trailing.white.space"),
        formats: formats(config),
        rows: malformed.rows,
        fields: malformed.fields,
        corrupt_column: Some(malformed.corrupt_column.clone()),
        max_columns: most("max.columns"),
        max_characters: most("max.chars.per.column"),
        ..defaults
    };
    // The configuration has checked that there is one.
    options.clone().separated_by(&config.string("separator")).unwrap_or(options)
}
