//! The statements that bring rows into the table: straight, or through a temporary table.

use crate::config::{InsertMode, Options};
use crate::name::{list, quoted};
use crate::table::{Column, Table};
use crate::types::Wire;

use super::plan::Plan;

/// Where rows wait for the commit when they cannot go straight into the table. It lives as long as the session.
const STAGE: &str = "pg_temp.levada_stage";
/// The stage's column that says which rows delete.
const DELETE: &str = "__levada_delete";

/// The statements of a sink.
#[derive(Debug)]
pub(crate) struct Statements {
    /// What makes the stage, where there is one.
    pub(crate) prepare: Option<String>,
    /// Where the rows are sent to.
    pub(crate) copy: String,
    /// What removes everything, for complete mode.
    pub(crate) clear: String,
    /// What brings the rows from the stage into the table, in this order.
    pub(crate) merge: Vec<String>,
    /// The same for rows whose keys are different, in less than half the time.
    pub(crate) distinct: Option<Distinct>,
}

/// An upsert in two steps: what is new, then what is there. The first may find that another writer was faster, which is an
/// error of the unique index; then the rows are merged in the one step that has no such error.
///
/// This order loses nothing: a row that appears between the two is an error, one that vanishes was deleted after us.
#[derive(Debug)]
pub(crate) struct Distinct {
    /// How many columns, from the first, are the key.
    pub(crate) key: usize,
    pub(crate) delete: Option<String>,
    pub(crate) insert: String,
    /// Not needed when every row was new.
    pub(crate) update: Option<String>,
}

/// Types whose values are equal exactly if their bytes are.
const PLAIN: [&str; 12] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "text",
    "character varying",
    "bytea",
    "uuid",
    "date",
    "time without time zone",
    "timestamp without time zone",
    "timestamp with time zone",
];

impl Statements {
    /// The statements for a plan that fits the table.
    pub(crate) fn new(options: &Options, plan: &Plan, table: &Table) -> Self {
        let target = options.table.sql();
        let columns: Vec<&Column> = plan.items.iter().filter_map(|item| table.column(&item.name)).collect();
        let names = list(columns.iter().map(|column| column.name.as_str()));
        let clear = format!("DELETE FROM {target}");
        let cast = columns.iter().any(|column| column.wire == Wire::Cast);
        let staged = options.insert != InsertMode::Insert || cast || table.is_view;
        if !staged {
            let copy = format!("COPY {target} ({names}) FROM STDIN (FORMAT binary)");
            return Self { prepare: None, copy, clear, merge: Vec::new(), distinct: None };
        }
        let mut made: Vec<String> = columns
            .iter()
            .map(|column| {
                let type_name = if column.wire == Wire::Cast { "text" } else { &column.type_name };
                format!("{} {type_name}", quoted(&column.name))
            })
            .collect();
        let mut copied = names.clone();
        if options.delete {
            made.push(format!("{DELETE} boolean"));
            copied = format!("{copied}, {DELETE}");
        }
        let prepare = format!("CREATE TEMP TABLE levada_stage ({}) ON COMMIT DELETE ROWS", made.join(", "));
        let copy = format!("COPY {STAGE} ({copied}) FROM STDIN (FORMAT binary)");
        let merge = if options.insert == InsertMode::Insert {
            vec![format!("INSERT INTO {target} ({names}) SELECT {} FROM {STAGE}", cast_list(&columns))]
        } else {
            merge(options, plan, &columns)
        };
        let distinct = distinct(options, plan, &columns);
        Self { prepare: Some(prepare), copy, clear, merge, distinct }
    }
}

/// The stage's columns as the table has them.
fn cast_list(columns: &[&Column]) -> String {
    let cast = |column: &&Column| match column.wire {
        Wire::Cast => format!("CAST({0} AS {1}) AS {0}", quoted(&column.name), column.type_name),
        _ => quoted(&column.name),
    };
    columns.iter().map(cast).collect::<Vec<_>>().join(", ")
}

fn merge(options: &Options, plan: &Plan, columns: &[&Column]) -> Vec<String> {
    let target = options.table.sql();
    let names = list(columns.iter().map(|column| column.name.as_str()));
    let keys = plan.key();
    let key = list(keys.iter().map(String::as_str));
    let delete = if options.delete { format!(", {DELETE}") } else { String::new() };
    // A stage that was filled by one COPY has its rows in the order in which they were sent.
    let last = format!(
        "(SELECT DISTINCT ON ({key}) * FROM (SELECT {}{delete}, ctid AS __levada_at FROM {STAGE}) AS staged \
         ORDER BY {key}, __levada_at DESC) AS last",
        cast_list(columns)
    );
    let same_key: Vec<String> = keys.iter().map(|key| format!("target.{0} = last.{0}", quoted(key))).collect();
    let same_key = same_key.join(" AND ");
    let values: Vec<String> = columns
        .iter()
        .map(|column| quoted(&column.name))
        .filter(|name| !keys.iter().any(|key| quoted(key) == *name))
        .collect();
    let row = |of: &str| {
        let parts: Vec<String> = values.iter().map(|name| format!("{of}.{name}")).collect();
        format!("ROW({})::record", parts.join(", "))
    };
    let set = |of: &str| {
        let parts: Vec<String> = values.iter().map(|name| format!("{name} = {of}.{name}")).collect();
        parts.join(", ")
    };
    let mut statements = Vec::new();
    if options.delete {
        statements.push(format!("DELETE FROM {target} AS target USING {last} WHERE last.{DELETE} AND {same_key}"));
    }
    let kept = if options.delete { format!("NOT last.{DELETE}") } else { "true".to_owned() };
    match options.insert {
        InsertMode::Update if values.is_empty() => {}
        InsertMode::Update => statements.push(format!(
            // Rows that would stay as they are, byte for byte, are left alone: that is half the work.
            "UPDATE {target} AS target SET {} FROM {last} WHERE {kept} AND {same_key} AND {} *<> {}",
            set("last"),
            row("target"),
            row("last")
        )),
        _ => {
            let conflict = if values.is_empty() {
                "NOTHING".to_owned()
            } else {
                format!("UPDATE SET {} WHERE {} *<> {}", set("EXCLUDED"), row("target"), row("EXCLUDED"))
            };
            statements.push(format!(
                "INSERT INTO {target} AS target ({names}) SELECT {names} FROM {last} WHERE {kept} \
                 ON CONFLICT ({key}) DO {conflict}"
            ));
        }
    }
    statements
}

fn distinct(options: &Options, plan: &Plan, columns: &[&Column]) -> Option<Distinct> {
    let keys = plan.key();
    let (key, values) = columns.split_at_checked(keys.len())?;
    let plain = |column: &&Column| PLAIN.contains(&column.type_name.as_str()) && column.plain_collation;
    if options.insert != InsertMode::Upsert || key.is_empty() || !key.iter().all(plain) {
        return None;
    }
    let target = options.table.sql();
    let names = list(columns.iter().map(|column| column.name.as_str()));
    let casts = cast_list(columns);
    let same = |of: &str| {
        let parts: Vec<String> = keys.iter().map(|key| format!("{of}.{0} = last.{0}", quoted(key))).collect();
        parts.join(" AND ")
    };
    let (kept, delete) = match options.delete {
        true => (format!("NOT last.{DELETE}"), format!(", {DELETE}")),
        false => ("true".to_owned(), String::new()),
    };
    let row = |of: &str| {
        let parts: Vec<String> = values.iter().map(|column| format!("{of}.{}", quoted(&column.name))).collect();
        format!("ROW({})::record", parts.join(", "))
    };
    let set: Vec<String> = values.iter().map(|column| format!("{0} = last.{0}", quoted(&column.name))).collect();
    Some(Distinct {
        key: keys.len(),
        delete: options.delete.then(|| {
            format!("DELETE FROM {target} AS target USING {STAGE} AS last WHERE last.{DELETE} AND {}", same("target"))
        }),
        insert: format!(
            "INSERT INTO {target} ({names}) SELECT {casts} FROM {STAGE} AS last \
             WHERE {kept} AND NOT EXISTS (SELECT FROM {target} AS target WHERE {})",
            same("target")
        ),
        update: (!values.is_empty()).then(|| {
            format!(
                "UPDATE {target} AS target SET {} FROM (SELECT {casts}{delete} FROM {STAGE}) AS last \
                 WHERE {kept} AND {} AND {} *<> {}",
                set.join(", "),
                same("target"),
                row("target"),
                row("last")
            )
        }),
    })
}
