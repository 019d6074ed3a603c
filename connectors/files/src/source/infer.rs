//! The columns of files without a given schema.

use arrow::datatypes::{Field, Schema};
use levada_connector_api::config::Config;
use levada_connector_api::{Error, ErrorKind, Result};
use levada_formats::infer::{infer_csv_schema, infer_json_schema};
use levada_formats::text;
use levada_storage::blocking;

use super::charset::Charset;
use super::listing::Listing;
use super::options::{Malformed, csv, syntax};
use super::reader::{Compression, OpenFile};
use super::records::Records;

/// The columns of the oldest file that has any rows: it is there at every start, so every start finds the same columns.
/// At most `schema.infer.bytes` of it are looked at.
///
/// # Errors
/// There is no file with rows; a file cannot be read; no columns are found in it.
pub(crate) async fn infer(config: &Config, listing: &Listing) -> Result<Schema> {
    let most = usize::try_from(config.size("schema.infer.bytes")).unwrap_or(usize::MAX);
    for entry in listing.list().await? {
        let label = listing.label(&entry.name);
        let charset = Charset::of(&config.string("encoding")).unwrap_or_default();
        let compression = Compression::of(&config.string("compression").to_ascii_lowercase(), &entry.name);
        let path = listing.path(&entry.name);
        let opened = OpenFile::open(&listing.base, &path, entry, label.clone(), (compression, charset), (0, 0)).await;
        let mut file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let (bytes, whole) = blocking(move || file.head(most)).await?;
        let beginning = bytes.strip_prefix(text::BOM).unwrap_or(&bytes);
        let mut lines = Records::new(config).split(beginning, whole);
        if lines.iter().all(|line| line.iter().all(|byte| *byte <= b' ')) {
            if whole {
                continue;
            }
            // A line longer than what is looked at.
            lines = vec![&bytes];
        }
        let schema = columns(config, lines).map_err(|error| error.context(label))?;
        return Ok(schema);
    }
    Err(Error::new(ErrorKind::NotFound, format!("{}: there is no file with rows to find the columns in", listing.text))
        .hint("put a file there first, or give source.schema"))
}

fn columns(config: &Config, lines: Vec<&[u8]>) -> Result<Schema> {
    let malformed = Malformed::new(config, false);
    if config.string("format").eq_ignore_ascii_case("csv") {
        return infer_csv_schema(lines, config.bool("header"), config.bool("infer.schema"), &csv(config, &malformed));
    }
    let syntax = syntax(config);
    let lines: Vec<_> = lines.into_iter().map(|line| syntax.relaxed(line)).collect();
    let schema = infer_json_schema(lines.iter().map(AsRef::as_ref))?;
    let keeps = malformed.rows == levada_formats::MalformedRows::Null;
    // Bad lines among those looked at must not change what becomes of bad lines.
    let fields = schema.fields().iter().filter(|field| field.name() != "_corrupt_record" || keeps);
    let rename = |field: &Field| match field.name().as_str() {
        "_corrupt_record" => field.clone().with_name(&malformed.corrupt_column),
        _ => field.clone(),
    };
    let fields: Vec<Field> = fields.map(|field| rename(field)).collect();
    if fields.is_empty() {
        return Err(Error::data("no line of the file is a JSON object with fields").hint("give source.schema"));
    }
    Ok(Schema::new(fields))
}
