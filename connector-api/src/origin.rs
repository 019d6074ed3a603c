//! Where rows came from: for messages, and for dead letters.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array as _, BooleanArray};

/// A record of a topic, or of what is like one, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The record's own time, in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The records that the rows of a batch were made of. A source that can hands it out with each batch; it lives as long as
/// rows of the batch are under way.
pub trait Records: Send + Sync {
    /// Where row `row` came from, in one line: `cars-3, offset 17`.
    fn place(&self, row: usize) -> Option<String>;

    /// The record that row `row` was made of, if it is kept.
    fn record(&self, row: usize) -> Option<Record>;

    /// Whether that record had a null value, which says that its key is deleted. `None`: it is not known.
    fn is_tombstone(&self, row: usize) -> Option<bool> {
        self.record(row).map(|record| record.value.is_none())
    }
}

/// Where the rows of a [`Batch`](crate::Batch) came from, at the cost of one shared string a batch, and of a bit a row where
/// some of the rows have been dropped.
#[derive(Clone)]
pub struct Origin {
    label: Option<Arc<str>>,
    unit: &'static str,
    first: Option<u64>,
    records: Option<Arc<dyn Records>>,
    /// Which of the rows that were read are left.
    rows: Rows,
}

/// Some of the rows that were read.
#[derive(Clone, Default)]
struct Rows {
    /// `None`: all of them.
    kept: Option<Arc<Kept>>,
    /// How many of these come before the batch.
    skipped: usize,
}

struct Kept {
    of: Rows,
    mask: BooleanArray,
    /// The rows' numbers among those that were read. Most batches are never asked for them.
    numbers: OnceLock<Vec<Option<u32>>>,
}

impl Rows {
    /// The number of row `row` among the rows that were read.
    fn number(&self, row: usize) -> Option<usize> {
        let at = self.skipped + row;
        let Some(kept) = &self.kept else { return Some(at) };
        let numbers = kept.numbers.get_or_init(|| {
            let is_kept = |row: &usize| kept.mask.is_valid(*row) && kept.mask.value(*row);
            let number = |row: usize| kept.of.number(row).and_then(|row| u32::try_from(row).ok());
            (0..kept.mask.len()).filter(is_kept).map(number).collect()
        });
        numbers.get(at).copied().flatten().map(|row| row as usize)
    }
}

impl Origin {
    fn new(label: Option<Arc<str>>, unit: &'static str, first: Option<u64>) -> Self {
        Self { label, unit, first, records: None, rows: Rows::default() }
    }

    /// Nothing is known.
    pub fn unknown() -> Self {
        Self::new(None, "row", None)
    }

    /// Row `i` of the batch is `unit` number `first + i` of `label`: `Origin::exact("people.csv", "line", 2)`.
    pub fn exact(label: impl Into<Arc<str>>, unit: &'static str, first: u64) -> Self {
        Self::new(Some(label.into()), unit, Some(first))
    }

    /// The rows are from `label`, but not one by one: after an aggregation, for example.
    pub fn near(label: impl Into<Arc<str>>) -> Self {
        Self::new(Some(label.into()), "row", None)
    }

    /// The same with the records that the rows were made of, row by row.
    pub fn with_records(mut self, records: Arc<dyn Records>) -> Self {
        self.records = Some(records);
        self
    }

    /// What the rows are from, the unit that they are counted in, and the number of the first of them. Without a number
    /// where the rows are not one after the other.
    pub fn parts(&self) -> (Option<&str>, &'static str, Option<u64>) {
        let first = self.first.filter(|_| self.rows.kept.is_none()).map(|first| first + self.rows.skipped as u64);
        (self.label.as_deref(), self.unit, first)
    }

    /// The same origin for rows that are no longer one to one.
    pub fn blurred(&self) -> Self {
        Self::new(self.label.clone(), "row", None)
    }

    /// The same origin for a slice that begins at `offset`.
    pub fn sliced(&self, offset: usize) -> Self {
        let mut sliced = self.clone();
        sliced.rows.skipped += offset;
        sliced
    }

    /// The same origin for the rows for which `mask` is true.
    pub fn kept(&self, mask: &BooleanArray) -> Self {
        if self.first.is_none() && self.records.is_none() {
            return self.blurred();
        }
        let kept = Kept { of: self.rows.clone(), mask: mask.clone(), numbers: OnceLock::new() };
        Self { rows: Rows { kept: Some(Arc::new(kept)), skipped: 0 }, ..self.clone() }
    }

    /// The same origin for a batch of `rows` rows without those whose numbers are in `dropped`.
    pub fn without(&self, rows: usize, dropped: impl IntoIterator<Item = usize>) -> Self {
        let mut mask = vec![true; rows];
        for row in dropped {
            if let Some(kept) = mask.get_mut(row) {
                *kept = false;
            }
        }
        self.kept(&mask.into())
    }

    /// The place of row `row` of the batch, for messages.
    pub fn of(&self, row: usize) -> String {
        let read = self.rows.number(row);
        if let Some(place) = self.records.as_ref().zip(read).and_then(|(records, row)| records.place(row)) {
            return place;
        }
        match (&self.label, self.first.zip(read)) {
            (Some(label), Some((first, row))) => format!("{label}, {} {}", self.unit, first + row as u64),
            (Some(label), None) => format!("{label}, row {row} of a batch"),
            (None, _) => format!("row {row} of a batch"),
        }
    }

    /// The record that row `row` of the batch was made of, where the source keeps it.
    pub fn record(&self, row: usize) -> Option<Record> {
        self.records.as_ref()?.record(self.rows.number(row)?)
    }

    /// Whether row `row` of the batch was made of a record with a null value, which says that its key is deleted. `None`: the
    /// source does not say, or the rows are no longer one to one.
    pub fn is_tombstone(&self, row: usize) -> Option<bool> {
        self.records.as_ref()?.is_tombstone(self.rows.number(row)?)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.label, self.first) {
            (Some(label), Some(first)) => write!(f, "{label}, from {} {}", self.unit, first + self.rows.skipped as u64),
            (Some(label), None) => f.write_str(label),
            (None, _) => f.write_str("unknown origin"),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_after_some_were_dropped() {
        let origin = Origin::exact("people.csv", "line", 10);
        let mask = BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(true)]);
        let kept = origin.kept(&mask);
        assert_eq!(kept.of(1), "people.csv, line 13");
        assert_eq!(kept.sliced(1).of(1), "people.csv, line 14");
        assert_eq!(kept.sliced(1).kept(&BooleanArray::from(vec![false, true])).of(0), "people.csv, line 14");
        assert_eq!(origin.sliced(3).of(0), "people.csv, line 13");
        assert_eq!(origin.blurred().of(2), "people.csv, row 2 of a batch");
        assert_eq!(Origin::unknown().kept(&mask).of(0), "row 0 of a batch");
    }
}
