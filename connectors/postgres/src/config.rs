//! The options of the sink.

use std::time::Duration;

use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{Error, Result};

use crate::connect::Address;
use crate::name::TableName;

/// The options, as Kafka Connect's JDBC sink calls them.
pub(crate) fn sink() -> ConfigDef {
    use ConfigType::{Boolean, Int, List, Long, Password, String};
    use Importance::{High, Low, Medium};
    let key = ConfigKey::new;
    ConfigDef::new()
        .key(
            key(
                "connection.url",
                String,
                High,
                "`postgres://host:port/database`, with libpq's parameters behind a `?`; a `jdbc:` before it is allowed.",
            )
            .validator(Validator::non_empty()),
        )
        .key(key("connection.user", String, High, "The user. Default: the one in the URL.").optional())
        .key(key("connection.password", Password, High, "The password. Default: the one in the URL.").optional())
        .key(
            key("table", String, High, "The table, as `name` or `schema.name`; quotes around a name with a period.")
                .optional(),
        )
        .key(key("table.name.format", String, Low, "Connect's name for `table`.").optional())
        .key(
            key(
                "insert.mode",
                String,
                High,
                "`insert` appends; `upsert` replaces the row with the same key, where the last row of a micro-batch \
                 wins; `update` does so and adds none.",
            )
            .default("insert")
            .one_of(&["insert", "upsert", "update"])
            .dependents(&["pk.mode", "pk.fields", "delete.enabled"]),
        )
        .key(
            key(
                "pk.mode",
                String,
                High,
                "Where the key comes from: `record_value` takes columns of the row, `record_key` the record's key \
                 (`_key`), `kafka` its topic, partition and offset. Default: `record_value` if `pk.fields` is given or \
                 `insert.mode` needs a key, else `none`.",
            )
            .optional()
            .one_of(&["none", "record_value", "record_key", "kafka"]),
        )
        .key(
            key(
                "pk.fields",
                List,
                High,
                "The key's columns. Default: for `record_value` the table's primary key, for `record_key` the key's \
                 fields, for `kafka` `__connect_topic,__connect_partition,__connect_offset`.",
            )
            .default(""),
        )
        .key(
            key(
                "fields.whitelist",
                List,
                Medium,
                "The columns that are written beside the key. Default: all but the reserved ones, whose names begin \
                 with `_`: `_key`, `_topic`, `_partition`, `_offset`, `_timestamp`, `_timestamp_type`, `_headers`, `_op`.",
            )
            .default(""),
        )
        .key(
            key(
                "delete.enabled",
                Boolean,
                Medium,
                "Whether a row whose `_op` is `d` or `delete`, or whose columns beside the key are all null, deletes \
                 the row with its key; of Kafka's messages only those without a value.",
            )
            .default(false),
        )
        .key(
            key("auto.create", Boolean, Medium, "Whether a table that is missing is created.")
                .default(false)
                .group("Table"),
        )
        .key(
            key("auto.evolve", Boolean, Medium, "Whether columns that the table lacks are added to it.")
                .default(false)
                .group("Table"),
        )
        .key(
            key(
                "offsets.table",
                String,
                Low,
                "The table of the progress, created if missing. Default: `levada_offsets` in the table's schema.",
            )
            .default("levada_offsets")
            .group("Table"),
        )
        .key(
            key("connection.attempts", Int, Low, "How often a connection is tried before the task fails and restarts.")
                .default(3)
                .validator(Validator::at_least(1))
                .group("Connection"),
        )
        .key(
            key("connection.backoff.ms", Long, Low, "How long to wait between two attempts, in milliseconds.")
                .default(1000)
                .validator(Validator::at_least(0))
                .group("Connection"),
        )
}

/// What becomes of a row whose key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InsertMode {
    Insert,
    Upsert,
    Update,
}

/// Where the key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyMode {
    None,
    Value,
    Record,
    Kafka,
}

/// The options, typed.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) address: Address,
    pub(crate) table: TableName,
    pub(crate) offsets_table: TableName,
    pub(crate) insert: InsertMode,
    pub(crate) key: KeyMode,
    pub(crate) key_fields: Vec<String>,
    pub(crate) fields: Vec<String>,
    pub(crate) delete: bool,
    pub(crate) create: bool,
    pub(crate) evolve: bool,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
}

/// How rows are put into the table.
pub(crate) fn insert_mode(config: &Config) -> InsertMode {
    match config.string("insert.mode").to_ascii_lowercase().as_str() {
        "upsert" => InsertMode::Upsert,
        "update" => InsertMode::Update,
        _ => InsertMode::Insert,
    }
}

impl Options {
    /// The options of a configuration.
    ///
    /// # Errors
    /// Everything that no single key can tell.
    pub(crate) fn new(config: &Config) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let insert = insert_mode(config);
        let key_fields = config.list("pk.fields");
        let key = match config.string_opt("pk.mode").map(|mode| mode.to_ascii_lowercase()).as_deref() {
            Some("none") => KeyMode::None,
            Some("record_key") => KeyMode::Record,
            Some("kafka") => KeyMode::Kafka,
            Some(_) => KeyMode::Value,
            None if insert == InsertMode::Insert && key_fields.is_empty() => KeyMode::None,
            None => KeyMode::Value,
        };
        if insert != InsertMode::Insert && key == KeyMode::None {
            errors.push(ConfigError::invalid("pk.mode", "none", "upsert and update need a key; set record_value"));
        }
        if key == KeyMode::None && !key_fields.is_empty() {
            errors.push(ConfigError::new("pk.fields", "pk.mode is none; set it to record_value, or remove this"));
        }
        if key == KeyMode::Kafka && !matches!(key_fields.len(), 0 | 3) {
            errors.push(ConfigError::new("pk.fields", "pk.mode kafka has three: topic, partition and offset"));
        }
        let delete = config.bool("delete.enabled");
        if delete && insert == InsertMode::Insert {
            errors.push(ConfigError::new("delete.enabled", "rows are deleted by their key; set insert.mode to upsert"));
        }
        let address = Address::parse(
            &config.string("connection.url"),
            config.string_opt("connection.user").as_deref(),
            config.string_opt("connection.password").as_deref(),
        );
        let address = address.map_err(|problem| errors.push(ConfigError::new("connection.url", problem))).ok();
        let mut table = |key: &str, text: &str| match TableName::parse(text) {
            Ok(name) => Some(name),
            Err(problem) => {
                errors.push(ConfigError::invalid(key, text, problem));
                None
            }
        };
        let offsets_table = table("offsets.table", &config.string("offsets.table"));
        let named = match (config.string_opt("table"), config.string_opt("table.name.format")) {
            (Some(text), None) => table("table", &text),
            (None, Some(text)) if text.contains("${") => {
                let problem = "a pipeline writes one table; name it without ${…}";
                errors.push(ConfigError::invalid("table.name.format", text, problem));
                None
            }
            (None, Some(text)) => table("table.name.format", &text),
            (Some(_), Some(_)) => {
                errors.push(ConfigError::new("table.name.format", "table is given, too; remove one of them"));
                None
            }
            (None, None) => {
                errors.push(ConfigError::new("table", "missing; it is required: the table to write"));
                None
            }
        };
        let (Some(address), Some(table), Some(mut offsets_table), true) =
            (address, named, offsets_table, errors.is_empty())
        else {
            return Err(errors);
        };
        if offsets_table.schema.is_none() {
            offsets_table.schema.clone_from(&table.schema);
        }
        Ok(Self {
            address,
            table,
            offsets_table,
            insert,
            key,
            key_fields,
            fields: config.list("fields.whitelist"),
            delete,
            create: config.bool("auto.create"),
            evolve: config.bool("auto.evolve"),
            attempts: u32::try_from(config.int("connection.attempts")).unwrap_or(1),
            backoff: Duration::from_millis(u64::try_from(config.int("connection.backoff.ms")).unwrap_or(0)),
        })
    }

    /// The same as one error.
    pub(crate) fn checked(config: &Config) -> Result<Self> {
        Self::new(config)
            .map_err(|errors| Error::config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
    }
}
