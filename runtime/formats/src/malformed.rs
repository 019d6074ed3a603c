//! What becomes of rows and fields that cannot be read, in all formats.

/// What becomes of a row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MalformedRows {
    /// It is rejected, with a reason.
    #[default]
    Error,
    /// Spark's PERMISSIVE: a row of nulls, with the text in the corrupt-record column if the schema has one.
    Null,
    /// It is left out.
    Drop,
}

/// What becomes of a field that does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MalformedFields {
    /// It is null and its row stays.
    Null,
    /// Its row is bad, and so is one with a null or nothing in a NOT NULL field.
    #[default]
    Error,
}

/// A record that gave no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The ordinal of the pushed record since the last `finish`.
    pub index: usize,
    /// Why, in one line.
    pub reason: String,
}
