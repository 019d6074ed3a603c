//! A table that a pipeline writes, in a schema of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use levada_services::postgres;

/// The table `t` of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    database: String,
    schema: String,
}

impl Table {
    /// A table that is not there yet, in a new schema of the database.
    pub(crate) fn new(database: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let table = Self { database: database.to_owned(), schema };
        table.sql(&format!("CREATE SCHEMA {}", table.schema));
        table
    }

    /// Its name in a pipeline's configuration.
    pub(crate) fn name(&self) -> String {
        format!("{}.t", self.schema)
    }

    /// Makes it, with these columns.
    pub(crate) fn create(&self, columns: &str) {
        self.sql(&format!("CREATE TABLE {} ({columns})", self.name()));
    }

    /// Its rows as JSON, sorted; none while it is not there.
    pub(crate) fn rows(&self) -> Vec<String> {
        let name = self.name();
        if self.sql(&format!("SELECT to_regclass('{name}')")).trim().is_empty() {
            return Vec::new();
        }
        let rows = self.sql(&format!("SELECT row_to_json(t) FROM {name} t"));
        let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }

    fn sql(&self, statements: &str) -> String {
        postgres::shared().unwrap().sql(&self.database, statements)
    }
}
