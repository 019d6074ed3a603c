//! The table in the server: what it has, and what is made or added.

use levada_connector_api::Result;
use levada_connector_api::{Error, ErrorKind};
use tokio_postgres::Row;

use crate::connect::Connection;
use crate::error::During;
use crate::name::{TableName, list, quoted};
use crate::types::Wire;

/// A column of the table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) wire: Wire,
    /// As SQL: `numeric(10,2)`.
    pub(crate) type_name: String,
    pub(crate) not_null: bool,
    /// Whether it fills itself when it is not written.
    pub(crate) has_default: bool,
    /// Whether texts are equal exactly if their bytes are.
    pub(crate) plain_collation: bool,
    /// Whether it can only be computed.
    pub(crate) generated: bool,
}

/// The table as it is.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// The columns of its unique indexes, the primary key's first.
    pub(crate) unique: Vec<Vec<String>>,
    pub(crate) has_primary_key: bool,
    /// COPY takes no view.
    pub(crate) is_view: bool,
}

impl Table {
    /// The column called `name`.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether rows can be found by these columns.
    pub(crate) fn is_unique(&self, names: &[String]) -> bool {
        let same = |index: &Vec<String>| index.len() == names.len() && index.iter().all(|name| names.contains(name));
        self.unique.iter().any(same)
    }
}

const COLUMNS: &str = "
    WITH RECURSIVE base AS (
        SELECT oid, oid AS root, typtype, typbasetype FROM pg_type
        WHERE oid IN (SELECT atttypid FROM pg_attribute WHERE attrelid = $1::text::regclass)
        UNION ALL
        SELECT base.oid, t.oid, t.typtype, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype
        WHERE base.typtype = 'd'
    )
    SELECT a.attname::text, t.oid, t.typname::text, t.typtype::text, e.oid, e.typname::text, e.typtype::text,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
        coalesce(c.collisdeterministic, true)
    FROM pg_attribute a
    JOIN base ON base.oid = a.atttypid AND base.typtype <> 'd'
    JOIN pg_type t ON t.oid = base.root
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Partial indexes and indexes on expressions find no row by its columns.
const UNIQUE: &str = "
    SELECT i.indisprimary, array_agg(a.attname::text)
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
    WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
        AND i.indexprs IS NULL AND i.indimmediate
    GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC, i.indexrelid";

/// Reads what the server knows of the table. `None` when there is none.
///
/// # Errors
/// The connection fails, or the name is that of something that is no table.
pub(crate) async fn read(connection: &mut Connection, name: &TableName) -> Result<Option<Table>> {
    let place = format!("table {name}");
    let sql = name.sql();
    let kind = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1::text)";
    let answer = connection.client.query_opt(kind, &[&sql]).await;
    let kind: String = match answer {
        Ok(Some(row)) => row.get(0),
        Ok(None) => return Ok(None),
        Err(error) => return Err(connection.explain(&place, error, During::Work).await),
    };
    if !matches!(kind.as_str(), "r" | "p" | "f" | "v") {
        return Err(Error::config(format!("{place}: it is no table but something else (relkind {kind})")));
    }
    let columns = match connection.client.query(COLUMNS, &[&sql]).await {
        Ok(rows) => rows.iter().map(column).collect(),
        Err(error) => return Err(connection.explain(&place, error, During::Work).await),
    };
    let indexes = match connection.client.query(UNIQUE, &[&sql]).await {
        Ok(rows) => rows,
        Err(error) => return Err(connection.explain(&place, error, During::Work).await),
    };
    let has_primary_key = indexes.first().is_some_and(|row| row.get(0));
    Ok(Some(Table {
        columns,
        unique: indexes.iter().map(|row| row.get(1)).collect(),
        has_primary_key,
        is_view: kind == "v",
    }))
}

fn column(row: &Row) -> Column {
    let (oid, name, kind): (u32, &str, &str) = (row.get(1), row.get(2), row.get(3));
    let element: Option<u32> = row.get(4);
    let wire = match element {
        None => Wire::of(oid, name, kind),
        Some(element) => match Wire::of(element, row.get(5), row.get(6)) {
            Wire::Cast => Wire::Cast,
            wire => Wire::Array(Box::new(wire), element),
        },
    };
    Column {
        name: row.get(0),
        wire,
        type_name: row.get(7),
        not_null: row.get(8),
        has_default: row.get(9),
        generated: row.get(10),
        plain_collation: row.get(11),
    }
}

/// A column to be made.
pub(crate) struct NewColumn {
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) not_null: bool,
}

/// The statement that makes the table.
pub(crate) fn create_sql(name: &TableName, columns: &[NewColumn], key: &[String]) -> String {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|column| {
            let end = if column.not_null { " NOT NULL" } else { "" };
            format!("{} {}{end}", quoted(&column.name), column.type_name)
        })
        .collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(key.iter().map(String::as_str))));
    }
    format!("CREATE TABLE IF NOT EXISTS {} ({})", name.sql(), parts.join(", "))
}

/// The statement that adds columns. They may be null: there are rows already.
pub(crate) fn evolve_sql(name: &TableName, columns: &[NewColumn]) -> String {
    let parts: Vec<_> = columns
        .iter()
        .map(|column| format!("ADD COLUMN IF NOT EXISTS {} {}", quoted(&column.name), column.type_name))
        .collect();
    format!("ALTER TABLE {} {}", name.sql(), parts.join(", "))
}

/// Runs a statement that changes a table. Tasks do so one after the other: `IF NOT EXISTS` alone is no protection.
///
/// # Errors
/// The server refuses.
pub(crate) async fn change(connection: &mut Connection, place: &str, sql: &str) -> Result<()> {
    let statements = format!("BEGIN; SELECT pg_advisory_xact_lock(hashtext('levada: tables')); {sql}; COMMIT");
    if let Err(error) = connection.client.batch_execute(&statements).await {
        let error = connection.explain(place, error, During::Work).await;
        // The transaction is still open when the connection is.
        let _ = connection.client.batch_execute("ROLLBACK").await;
        return Err(error.context(format!("'{sql}' does not work")));
    }
    tracing::info!("{place}: {sql}");
    Ok(())
}

/// The error that there is no such table.
pub(crate) fn missing(name: &TableName, create: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("table {name}: there is no such table"))
        .hint(format!("set auto.create to true, or run: {create}"))
}
