//! Spark's file sources in Levada's configuration.

use std::path::Path;

use crate::case::Source;
use crate::mapping::{Unsupported, quoted};

/// The source's keys. `folder` is where the case's files are laid.
pub(crate) fn map_source(source: &Source, folder: &Path) -> Result<Vec<(&'static str, String)>, Unsupported> {
    let mut keys = vec![
        ("class", "Files".to_owned()),
        ("path", folder.join(&source.path).display().to_string()),
        ("format", source.format.clone()),
        // Spark's sources are permissive unless told otherwise.
        ("malformed.rows", "null".to_owned()),
        ("malformed.fields", "null".to_owned()),
        ("discovery.interval", "5 ms".to_owned()),
    ];
    match source.format.as_str() {
        "text" => {}
        "json" | "csv" => {
            let columns =
                source.schema.as_ref().ok_or_else(|| format!("a {} source without a schema", source.format))?;
            let columns: Vec<_> = columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))).collect();
            keys.push(("schema", columns.join(", ")));
        }
        other => return Err(format!("source format {other}")),
    }
    if let Some(files) = source.max_files_per_trigger {
        keys.push(("max.files.per.trigger", files.to_string()));
    }
    for (option, value) in &source.options {
        let name = option.to_ascii_lowercase();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_ascii_lowercase();
        let has_no_effect = match name.as_str() {
            // For finding a schema, which is given.
            "inferschema" | "primitivesasstring" | "prefersdecimal" | "samplingratio" => true,
            "latestfirst" => text == "false",
            // What escapes an escape is the escape.
            "chartoescapequoteescaping" => text == "\\" && !source.options.contains_key("escape"),
            _ => false,
        };
        if has_no_effect {
            continue;
        }
        if name == "pathglobfilter"
            && let (Some((_, path)), Some(glob)) = (keys.iter_mut().find(|(key, _)| *key == "path"), value.as_str())
        {
            *path = format!("{path}/{glob}");
            continue;
        }
        let key = match (source.format.as_str(), name.as_str()) {
            ("csv", "header") => "header",
            ("csv", "sep" | "delimiter") => "separator",
            ("csv", "quote") => "quote",
            ("csv", "escape") => "escape",
            ("csv", "comment") => "comment",
            ("csv", "nullvalue") => "null.value",
            ("csv", "emptyvalue") => "empty.value",
            ("csv", "nanvalue") => "nan.value",
            ("csv", "positiveinf") => "positive.inf",
            ("csv", "negativeinf") => "negative.inf",
            ("csv", "ignoreleadingwhitespace") => "ignore.leading.white.space",
            ("csv", "ignoretrailingwhitespace") => "ignore.trailing.white.space",
            ("csv", "enforceschema") => "enforce.schema",
            ("csv" | "json", "multiline") | ("text", "wholetext") => "multi.line",
            (_, "linesep") => "line.separator",
            ("csv" | "json", "encoding" | "charset") => "encoding",
            ("csv", "maxcolumns") => "max.columns",
            ("csv", "maxcharspercolumn") => "max.chars.per.column",
            ("json", "allowcomments") => "allow.comments",
            ("json", "allowunquotedfieldnames") => "allow.unquoted.field.names",
            ("json", "allowsinglequotes") => "allow.single.quotes",
            ("json", "allownumericleadingzeros") => "allow.numeric.leading.zeros",
            ("json", "allownonnumericnumbers") => "allow.non.numeric.numbers",
            ("json", "allowbackslashescapinganycharacter") => "allow.backslash.escaping.any.character",
            ("json", "allowunquotedcontrolchars") => "allow.unquoted.control.chars",
            ("csv" | "json", "dateformat") => "date.format",
            ("csv" | "json", "timestampformat") => "timestamp.format",
            ("csv" | "json", "columnnameofcorruptrecord") => "column.name.of.corrupt.record",
            ("csv" | "json", "mode") => {
                keys.retain(|(key, _)| !key.starts_with("malformed."));
                "mode"
            }
            (_, "recursivefilelookup") => "recursive",
            (_, "maxfileage") => "max.file.age",
            _ => return Err(format!("option {option} of a {} source", source.format)),
        };
        keys.push((key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    Ok(keys)
}
