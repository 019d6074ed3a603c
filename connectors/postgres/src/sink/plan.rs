//! What is written where: the rows' columns, the table's columns, the key, and the statements for them.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::config::nearest;
use levada_connector_api::{Error, ErrorKind, Result, columns, find_column};

use crate::config::{InsertMode, KeyMode, Options};
use crate::name;
use crate::table::{NewColumn, Table};
use crate::types::{column_type, shown};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Column(usize),
    /// A field of a column that is a struct.
    Part(usize, usize),
}

/// A value to write.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The table's column.
    pub(crate) name: String,
    pub(crate) from: From,
    pub(crate) field: Field,
    pub(crate) key: bool,
}

/// All values of a row, the key's first, and what says that it is deleted.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) items: Vec<Item>,
    /// The column with the operation.
    pub(crate) op: Option<usize>,
}

const RESERVED: [&str; 8] = [
    columns::KEY,
    columns::TOPIC,
    columns::PARTITION,
    columns::OFFSET,
    columns::TIMESTAMP,
    columns::TIMESTAMP_TYPE,
    columns::HEADERS,
    columns::OP,
];

/// The column that an option names.
fn find(schema: &Schema, name: &str, key: &str) -> Result<usize> {
    find_column(schema, name).map_err(|error| error.context(key))
}

impl Plan {
    /// The plan for rows of `schema`. `primary` is the table's primary key, where there is a table.
    ///
    /// # Errors
    /// A column that the options name is not there.
    pub(crate) fn new(options: &Options, schema: &Schema, primary: &[String]) -> Result<Self> {
        let item = |index: usize, name: &str, key: bool| {
            let field = schema.field(index).clone();
            Item { name: name.to_owned(), from: From::Column(index), field, key }
        };
        let fields = &options.key_fields;
        let mut items = Vec::new();
        match options.key {
            KeyMode::None => {}
            KeyMode::Value => {
                let names = if fields.is_empty() { primary } else { fields };
                if names.is_empty() {
                    return Err(Error::config("pk.fields: missing, and the table has no primary key")
                        .hint("name the columns of the key"));
                }
                for name in names {
                    let at = find(schema, name, "pk.fields")?;
                    items.push(item(at, schema.field(at).name(), true));
                }
            }
            KeyMode::Record => items.extend(record_key(schema, fields)?),
            KeyMode::Kafka => {
                let defaults = ["__connect_topic", "__connect_partition", "__connect_offset"];
                for (at, reserved) in [columns::TOPIC, columns::PARTITION, columns::OFFSET].into_iter().enumerate() {
                    let name = fields.get(at).map_or(defaults.get(at).copied().unwrap_or_default(), String::as_str);
                    items.push(item(find(schema, reserved, "pk.mode kafka")?, name, true));
                }
            }
        }
        let key_count = items.len();
        if options.fields.is_empty() {
            for (index, field) in schema.fields().iter().enumerate() {
                if !RESERVED.contains(&field.name().as_str()) {
                    items.push(item(index, field.name(), false));
                }
            }
        } else {
            for name in &options.fields {
                let at = find(schema, name, "fields.whitelist")?;
                items.push(item(at, schema.field(at).name(), false));
            }
        }
        let keys: Vec<String> = items.iter().take(key_count).map(|item| item.name.clone()).collect();
        let mut at = 0;
        items.retain(|item| {
            at += 1;
            at <= key_count || !keys.contains(&item.name)
        });
        if items.is_empty() {
            return Err(Error::config("the rows have no column to write").hint("name them in fields.whitelist"));
        }
        for (at, item) in items.iter().enumerate() {
            if items.iter().take(at).any(|other| other.name == item.name) {
                return Err(Error::config(format!("the rows have two columns '{}'", item.name))
                    .hint("rename one of them with a Select"));
            }
            name::check(&item.name)
                .map_err(|problem| Error::config(problem).hint("rename the column with a Select"))?;
        }
        Ok(Self { items, op: schema.index_of(columns::OP).ok() })
    }

    /// The names of the key's columns.
    pub(crate) fn key(&self) -> Vec<String> {
        self.items.iter().filter(|item| item.key).map(|item| item.name.clone()).collect()
    }

    /// The columns of a table for these rows.
    pub(crate) fn new_columns(&self, delete: bool) -> Vec<NewColumn> {
        let new = |item: &Item| NewColumn {
            name: item.name.clone(),
            type_name: column_type(&item.field),
            // Where rows are deleted, all but their keys may be null.
            not_null: item.key || (!item.field.is_nullable() && !delete),
        };
        self.items.iter().map(new).collect()
    }

    /// Those that `table` lacks.
    pub(crate) fn lacking(&self, table: &Table, delete: bool) -> Vec<NewColumn> {
        self.new_columns(delete).into_iter().filter(|new| table.column(&new.name).is_none()).collect()
    }

    /// Sets the form in which each of the table's columns is sent.
    pub(crate) fn choose_forms(&self, table: &mut Table) {
        for column in &mut table.columns {
            if let Some(item) = self.items.iter().find(|item| item.name == column.name) {
                column.wire = column.wire.clone().for_values(item.field.data_type());
            }
        }
    }

    /// Whether the table can take these rows.
    ///
    /// # Errors
    /// Everything about the columns that is wrong, at once.
    pub(crate) fn check(&self, options: &Options, table: &Table) -> Result<()> {
        let mut problems = Vec::new();
        for item in &self.items {
            let Some(column) = table.column(&item.name) else {
                let near = nearest(&item.name, table.columns.iter().map(|column| column.name.as_str()));
                let near = near.map(|near| format!("did you mean '{near}'? ")).unwrap_or_default();
                problems.push(format!(
                    "it has no column '{}'; {near}set auto.evolve to true, or run: ALTER TABLE {} ADD COLUMN {} {}",
                    item.name,
                    options.table.sql(),
                    name::quoted(&item.name),
                    column_type(&item.field)
                ));
                continue;
            };
            if column.generated {
                problems.push(format!("its column '{}' is generated; leave it out of the rows", item.name));
            } else if !column.wire.takes(item.field.data_type()) {
                problems.push(format!(
                    "its column '{}' is {}, and the rows have {}; {}",
                    item.name,
                    column.type_name,
                    shown(item.field.data_type()),
                    column.wire.remedy()
                ));
            }
        }
        let written = |name: &str| self.items.iter().any(|item| item.name == name);
        for column in &table.columns {
            let fills = column.has_default || column.generated || options.insert == InsertMode::Update;
            if column.not_null && !fills && !written(&column.name) {
                problems.push(format!(
                    "its column '{}' is NOT NULL without a default, and the rows do not have it; add it with a Select",
                    column.name
                ));
            }
        }
        let key = self.key();
        if options.insert == InsertMode::Upsert && !table.is_unique(&key) {
            problems.push(format!(
                "it has no unique index on its key; run: CREATE UNIQUE INDEX ON {} ({})",
                options.table.sql(),
                name::list(key.iter().map(String::as_str))
            ));
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, format!("table {}: {}", options.table, problems.join("; "))))
    }

    /// The columns to write.
    pub(crate) fn arrays(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |index: usize| {
            rows.columns().get(index).ok_or_else(|| Error::internal("the rows have fewer columns than their schema"))
        };
        let mut arrays = Vec::with_capacity(self.items.len() + 1);
        for item in &self.items {
            arrays.push(match item.from {
                From::Column(index) => column(index)?.clone(),
                From::Part(index, part) => {
                    let whole = column(index)?.as_struct();
                    let child = whole
                        .columns()
                        .get(part)
                        .ok_or_else(|| Error::internal("the key has fewer fields than its schema"))?;
                    let nulls = NullBuffer::union(whole.nulls(), child.logical_nulls().as_ref());
                    let data = child.to_data().into_builder().nulls(nulls).build().map_err(Error::from)?;
                    make_array(data)
                }
            });
        }
        Ok(arrays)
    }
}

/// The record's key: its fields when it is a struct, else one column that `pk.fields` names.
fn record_key(schema: &Schema, fields: &[String]) -> Result<Vec<Item>> {
    let index = find(schema, columns::KEY, "pk.mode record_key")?;
    let key = schema.field(index);
    let DataType::Struct(parts) = key.data_type() else {
        let [name] = fields else {
            return Err(Error::config("pk.fields: the record's key is a single value; name its one column"));
        };
        return Ok(vec![Item { name: name.clone(), from: From::Column(index), field: key.clone(), key: true }]);
    };
    let mut items = Vec::new();
    let all: Vec<String> = parts.iter().map(|part| part.name().clone()).collect();
    for name in if fields.is_empty() { &all } else { fields } {
        let Some((part, field)) = parts.find(name) else {
            return Err(Error::config(format!("pk.fields: the record's key has no field '{name}'"))
                .hint(format!("there are {}", all.join(", "))));
        };
        let field: &Arc<Field> = field;
        let from = From::Part(index, part);
        items.push(Item { name: name.clone(), from, field: field.as_ref().clone(), key: true });
    }
    Ok(items)
}
