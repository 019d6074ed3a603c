//! The options of the files source and sink.

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_formats::scalar::Pattern;

use crate::source::Charset;

/// The options of the source.
pub(crate) fn source() -> ConfigDef {
    use ConfigType::{Boolean, Duration, Int, Size, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(
            key("path", String, High, "A folder, a file, a pattern (`in/**/*.json`) or a URL.")
                .validator(Validator::non_empty()),
        )
        .key(
            key("format", String, High, "What a line is: text as it is, a JSON object, or fields of CSV.")
                .default("text")
                .one_of(&["text", "json", "csv"])
                .dependents(&["schema", "header", "separator"]),
        )
        .key(
            key(
                "schema",
                String,
                High,
                "The columns, as DDL: `name STRING, age INT`. Without it, those of json and csv are found in the \
            oldest file.",
            )
            .optional()
            .validator(Validator::new("DDL", |text| {
                levada_formats::ddl::parse_schema(text).map(|_| ()).map_err(|e| e.to_string())
            })),
        )
        .key(
            key("max.files.per.trigger", Int, High, "How many files a trigger may finish.")
                .optional()
                .validator(Validator::at_least(1)),
        )
        .key(key("recursive", Boolean, Medium, "Whether folders below the path are read, too.").default(false))
        .key(
            key("compression", String, Low, "How files are compressed; `auto` goes by the name: `.gz`, `.zst`.")
                .default("auto")
                .one_of(&["auto", "none", "gzip", "zstd"]),
        )
        .key(key("max.line.bytes", Size, Low, "The longest line; a longer one is a bad row.").default("16 MB"))
        .key(
            key("discovery.interval", Duration, Low, "How often the folder is listed while there is nothing to read.")
                .default("250 ms"),
        )
        .key(
            key(
                "max.file.age",
                Duration,
                Low,
                "Files that are older than the newest file read by more than this are left out, each with a warning. At the \
            first start all files count. Default: none are left out.",
            )
            .optional(),
        )
        .key(
            key(
                "schema.infer.bytes",
                Size,
                Low,
                "How much of the oldest file is looked at to find the columns, when no schema is given.",
            )
            .default("8 MB"),
        )
        .key(
            key(
                "multi.line",
                Boolean,
                Low,
                "Whether a record may have several lines: with text a file is one record; with json, too, an object or an array \
            of objects; with csv a line end inside quotes belongs to the field. No record may be longer than \
            `max.line.bytes`.",
            )
            .default(false),
        )
        .key(
            key(
                "line.separator",
                String,
                Low,
                "The text that ends a record; `\\n`, `\\r` and `\\t` are understood. Default: line ends of any kind.",
            )
            .optional()
            .validator(Validator::new("not empty", |text| match text.is_empty() {
                true => Err("must not be empty".to_owned()),
                false => Ok(()),
            })),
        )
        .key(
            key(
                "encoding",
                String,
                Low,
                "How characters are written in the files: UTF-8, ISO-8859-1, US-ASCII, UTF-16, UTF-16LE, UTF-16BE, \
            windows-1252 and the others of the web. Bytes that are no character become U+FFFD.",
            )
            .default("UTF-8")
            .validator(Validator::new("a known encoding", |text| match Charset::of(text) {
                Some(_) => Ok(()),
                None => Err("no such encoding; there are UTF-8, ISO-8859-1, UTF-16 and others".to_owned()),
            })),
        )
        .extend(formats())
        .extend(malformed())
        .extend(csv())
        .extend(json())
}

/// What else than JSON is taken for JSON, whether by default, and what it is.
pub(crate) const JSON_SYNTAX: [(&str, bool, &str); 7] = [
    ("allow.comments", false, "Whether `/* … */` and `//` to the end of the line are left out."),
    ("allow.unquoted.field.names", false, "Whether names may stand without quotes."),
    ("allow.single.quotes", true, "Whether text may stand in single quotes."),
    ("allow.numeric.leading.zeros", false, "Whether numbers may begin with zeros."),
    ("allow.non.numeric.numbers", true, "Whether NaN, Infinity, -INF and the like may stand without quotes."),
    (
        "allow.backslash.escaping.any.character",
        false,
        "Whether a backslash may stand before any character, which then stands for itself.",
    ),
    ("allow.unquoted.control.chars", false, "Whether text may have control characters in it."),
];

fn json() -> ConfigDef {
    let key = |(name, default, doc): (&str, bool, &str)| {
        ConfigKey::new(name, ConfigType::Boolean, Importance::Low, doc).group("JSON").default(default)
    };
    JSON_SYNTAX.into_iter().fold(ConfigDef::new(), |def, option| def.key(key(option)))
}

/// How dates and times are written.
fn formats() -> ConfigDef {
    let key = |name: &str, doc: &str| {
        ConfigKey::new(name, ConfigType::String, Importance::Low, doc)
            .optional()
            .validator(Validator::new("a pattern such as dd/MM/yyyy", |text| Pattern::new(text).map(|_| ())))
    };
    ConfigDef::new()
        .key(key(
            "date.format",
            "The pattern of dates in json and csv, in Java's letters: `dd/MM/yyyy`. Text that does not fit it is a bad field. \
             Default: dates as Spark casts text to them.",
        ))
        .key(key(
            "timestamp.format",
            "The same of timestamps: `yyyy-MM-dd HH:mm:ss[.SSS][XXX]`. Default: timestamps as Spark casts text to them.",
        ))
}

fn malformed() -> ConfigDef {
    use Importance::{Low, Medium};
    let key = |name: &str, importance, doc: &str| {
        ConfigKey::new(name, ConfigType::String, importance, doc).group("Bad lines")
    };
    ConfigDef::new()
        .key(
            key(
                "malformed.rows",
                Medium,
                "What becomes of a line that cannot be decoded: `error` makes it a bad row \
            (see `errors.tolerance`), `null` a row of nulls as Spark's PERMISSIVE does (of text: the line with U+FFFD for what is no UTF-8), `drop` nothing. \
            Default: `null` if the schema has a column for bad lines, else `error`.",
            )
            .optional()
            .one_of(&["error", "null", "drop"]),
        )
        .key(
            key(
                "malformed.fields",
                Medium,
                "What becomes of a field that does not fit its type: `null`, as in Spark, \
            or `error`, which makes the line a bad row. Default: `null`.",
            )
            .optional()
            .one_of(&["null", "error"]),
        )
        .key(
            key(
                "mode",
                Low,
                "Both in Spark's words: PERMISSIVE (`null` and `null`), DROPMALFORMED (`drop` and `error`) or FAILFAST \
            (`error` and `error`).",
            )
            .optional()
            .one_of(&["permissive", "dropmalformed", "failfast"]),
        )
        .key(
            key(
                "column.name.of.corrupt.record",
                Low,
                "The column that takes the text of bad lines, if the schema has it as a STRING.",
            )
            .default("_corrupt_record")
            .validator(Validator::non_empty()),
        )
}

fn csv() -> ConfigDef {
    use ConfigType::{Boolean, Int, String};
    use Importance::{Low, Medium};
    let key = |name: &str, kind, importance, doc: &str| ConfigKey::new(name, kind, importance, doc).group("CSV");
    let text = |name: &str, doc: &str, default: &str| key(name, String, Low, doc).default(default);
    let blanks = |name: &str, doc: &str| key(name, Boolean, Low, doc).default(false);
    ConfigDef::new()
        .key(
            key("header", Boolean, Medium, "Whether each file begins with a line of names, which is no row.")
                .default(false),
        )
        .key(
            key(
                "enforce.schema",
                Boolean,
                Low,
                "Whether the names in the headers are ignored. Otherwise a file whose header has other names than the \
            columns fails the task. Default: true if the schema is given.",
            )
            .optional(),
        )
        .key(
            key(
                "infer.schema",
                Boolean,
                Low,
                "Whether types are found in the data when no schema is given; otherwise all columns are STRING.",
            )
            .default(false),
        )
        .key(
            key("separator", String, Low, "What stands between fields: one character or several, `\\t` for a tab.")
                .default(",")
                .validator(Validator::new("one character or more", |text| match text.is_empty() {
                    true => Err("must not be empty".to_owned()),
                    false => Ok(()),
                })),
        )
        .key(
            quoting("quote", "What stands around a field that holds separators. Empty: quotes are characters.")
                .default("\""),
        )
        .key(quoting("escape", "What stands before a quote inside quotes. Empty: nothing does.").default("\\"))
        .key(csv_byte("comment", "Lines that begin with it are skipped.").optional())
        .key(
            key(
                "max.columns",
                Int,
                Low,
                "A line with more fields is a bad row, whatever becomes of other bad lines. Default: no limit.",
            )
            .optional()
            .validator(Validator::at_least(1)),
        )
        .key(
            key(
                "max.chars.per.column",
                Int,
                Low,
                "A line with a field of more characters is a bad row, whatever becomes of other bad lines. Default: no limit.",
            )
            .optional()
            .validator(Validator::at_least(1)),
        )
        .key(text("null.value", "The text that is null. A field without anything is null in any case.", ""))
        .key(text("empty.value", "What a field of quotes alone stands for.", ""))
        .key(text("nan.value", "What is not a number.", "NaN"))
        .key(text("positive.inf", "What is positive infinity.", "Inf"))
        .key(text("negative.inf", "What is negative infinity.", "-Inf"))
        .key(blanks("ignore.leading.white.space", "Whether blanks before a field are left out."))
        .key(blanks("ignore.trailing.white.space", "Whether blanks after a field are left out."))
}

fn csv_byte(name: &str, doc: &str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, Importance::Low, doc).group("CSV").validator(Validator::new(
        "one ASCII character, or `\\t`",
        |text| match byte(text) {
            Some(_) => Ok(()),
            None => Err("use one ASCII character, or '\\t' for a tab".to_owned()),
        },
    ))
}

/// One character, or none.
fn quoting(name: &str, doc: &str) -> ConfigKey {
    ConfigKey::new(name, ConfigType::String, Importance::Low, doc).group("CSV").validator(Validator::new(
        "one ASCII character, or nothing",
        |text| match quoting_byte(text) {
            Some(_) => Ok(()),
            None => Err("use one ASCII character, or nothing".to_owned()),
        },
    ))
}

/// The byte of a quote or escape. Without one it is the byte 0, as in Spark.
pub(crate) fn quoting_byte(text: &str) -> Option<u8> {
    if text.is_empty() { Some(0) } else { byte(text) }
}

/// The byte that an option of one character names.
pub(crate) fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}

/// What no single option of the source can tell.
pub(crate) fn check_source(config: &Config) -> Vec<ConfigError> {
    let format = config.string("format").to_ascii_lowercase();
    let mut errors = Vec::new();
    if format == "text" && config.is_given("schema") {
        errors.push(ConfigError::new(
            "schema",
            "text has the one column 'value'; remove it, or set format to json or csv",
        ));
    }
    if format != "csv" {
        for key in csv().keys().iter().map(|key| key.name.as_str()).filter(|key| config.is_given(key)) {
            errors.push(ConfigError::new(key, format!("it is for csv, and the format is {format}")));
        }
    }
    if format != "json" {
        for key in JSON_SYNTAX.iter().map(|(key, _, _)| *key).filter(|key| config.is_given(key)) {
            errors.push(ConfigError::new(key, format!("it is for json, and the format is {format}")));
        }
    }
    for key in ["date.format", "timestamp.format"].into_iter().filter(|key| format == "text" && config.is_given(key)) {
        errors.push(ConfigError::new(key, "text has the one column 'value'"));
    }
    if format == "text" && config.is_given("column.name.of.corrupt.record") {
        errors.push(ConfigError::new("column.name.of.corrupt.record", "text has the one column 'value'"));
    }
    if config.bool("multi.line") && config.is_given("line.separator") {
        errors.push(ConfigError::new("multi.line", "it goes without line.separator"));
    }
    if config.is_given("mode") {
        for key in ["malformed.rows", "malformed.fields"].into_iter().filter(|key| config.is_given(key)) {
            errors.push(ConfigError::new(key, "'mode' says this, too: remove one of them"));
        }
    }
    if config.is_given("schema") {
        for key in ["infer.schema", "schema.infer.bytes"].into_iter().filter(|key| config.is_given(key)) {
            errors.push(ConfigError::new(key, "the schema is given: remove one of them"));
        }
    }
    errors
}

/// The options of the sink.
pub(crate) fn sink() -> ConfigDef {
    use ConfigType::{Boolean, List, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(key("path", String, High, "The folder or URL to write to.").validator(Validator::non_empty()))
        .key(key("format", String, High, "What to write.").default("json").one_of(&["json", "csv", "parquet"]))
        .key(
            key("partition.by", List, Medium, "Columns that become folders, `day=2024-01-01/`, and leave the rows.")
                .default(""),
        )
        .key(
            key(
                "compression",
                String,
                Medium,
                "How files are compressed. Default: snappy for parquet, none for others.",
            )
            .optional()
            .one_of(&["none", "gzip", "zstd", "snappy"]),
        )
        .key(key("header", Boolean, Low, "Whether a CSV file begins with the names of its columns.").default(true))
        .key(
            key(
                "shared",
                Boolean,
                Low,
                "Whether to write beside the files of another pipeline, or of this one with another checkpoint: a number is \
            then in the names. Otherwise such a folder is refused.",
            )
            .default(false),
        )
}

/// What no single option of the sink can tell.
pub(crate) fn check_sink(config: &Config) -> Vec<ConfigError> {
    // As they are used: either may be given in any case.
    let format = config.string("format").to_ascii_lowercase();
    let compression = config.string_opt("compression").unwrap_or_default().to_ascii_lowercase();
    let fits = match format.as_str() {
        "parquet" => compression != "gzip",
        _ => compression != "snappy",
    };
    if fits {
        return Vec::new();
    }
    let can = if format == "parquet" { "none, snappy, zstd" } else { "none, gzip, zstd" };
    vec![ConfigError::invalid("compression", compression, format!("{format} files can have {can}"))]
}
