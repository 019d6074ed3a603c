//! The columns of an object, found by name.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use levada_connector_api::Result;

use super::cursor::{Cursor, Syntax};
use crate::column::Column;

/// Beyond this many columns, a name that did not come in order is looked up in a hash table.
const LINEAR: usize = 16;

/// The columns of a row or of a nested struct.
pub(crate) struct Record {
    pub(crate) columns: Vec<Column>,
    /// The columns that must not be null.
    pub(crate) required: Vec<usize>,
    pub(crate) names: Names,
}

impl Record {
    pub(crate) fn new(fields: &Fields) -> Result<Self> {
        let columns =
            fields.iter().map(|f| Column::new(f.data_type()).map_err(|e| e.context(format!("column '{}'", f.name()))));
        let required = fields.iter().enumerate().filter(|(_, f)| !f.is_nullable()).map(|(i, _)| i);
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            required: required.collect(),
            names: Names::new(fields.iter().map(|f| f.name().as_str())),
        })
    }

    /// Takes back all rows from `len` on, also one that is only half written.
    pub(crate) fn truncate(&mut self, len: usize) {
        for column in &mut self.columns {
            column.truncate(len);
            column.trim();
        }
    }

    /// Leaves out the columns of these names, in the order of their numbers: what they name is skipped.
    pub(crate) fn leave_out(&mut self, left_out: &[usize]) {
        let kept = |number: &usize| !left_out.contains(number);
        let mut columns = std::mem::take(&mut self.columns).into_iter().enumerate();
        self.columns.extend(columns.by_ref().filter(|(number, _)| kept(number)).map(|(_, column)| column));
        let mut next = 0..;
        let place = |number: usize| if kept(&number) { next.next().unwrap_or(usize::MAX) } else { usize::MAX };
        self.names.columns = (0..self.names.names.len()).map(place).collect();
        self.names.learnt.clear();
    }

    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

struct Name {
    bytes: Box<[u8]>,
    /// The name and its closing quote, to compare in one step.
    word: u128,
    /// Which bytes of `word` count. 0: the name is too long or needs escapes.
    mask: u128,
}

/// The names of the columns, and which is likely to come next.
pub(crate) struct Names {
    names: Vec<Name>,
    /// The column of each name; beyond all columns where it has none.
    pub(super) columns: Vec<usize>,
    table: HashMap<Box<[u8]>, usize>,
    next: usize,
    /// What stood before each value of the object before this one.
    learnt: Vec<Lead>,
    /// How many values of this object were begun.
    at: usize,
}

/// What stands between two values: mostly the same in each object, so it need not be understood anew.
struct Lead {
    length: usize,
    /// The first bytes and the last ones, which may overlap.
    head: u128,
    tail: u128,
    column: usize,
    /// The name that is likely to come after it.
    next: usize,
}

impl Lead {
    /// Longer ones are not kept.
    const LONGEST: usize = 32;

    fn new(bytes: &[u8], column: usize) -> Self {
        let length = bytes.len();
        let parts = match length {
            4..8 => {
                chunk::<4>(bytes, 0).zip(chunk::<4>(bytes, length - 4)).map(|(head, tail)| (word4(head), word4(tail)))
            }
            8..16 => {
                chunk::<8>(bytes, 0).zip(chunk::<8>(bytes, length - 8)).map(|(head, tail)| (word8(head), word8(tail)))
            }
            16..=Self::LONGEST => {
                let parts = chunk::<16>(bytes, 0).zip(chunk::<16>(bytes, length - 16));
                parts.map(|(head, tail)| (u128::from_le_bytes(head), u128::from_le_bytes(tail)))
            }
            _ => None,
        };
        match parts {
            Some((head, tail)) => Self { length, head, tail, column, next: 0 },
            None => Self { length: 0, head: 0, tail: 0, column, next: 0 },
        }
    }

    #[inline(always)]
    fn is_at(&self, cursor: &Cursor<'_>) -> bool {
        let Some(rest) = cursor.bytes.get(cursor.at..) else { return false };
        let length = self.length;
        match length {
            8..16 => {
                let parts = chunk::<8>(rest, 0).zip(chunk::<8>(rest, length - 8));
                parts.is_some_and(|(head, tail)| word8(head) == self.head && word8(tail) == self.tail)
            }
            4..8 => {
                let parts = chunk::<4>(rest, 0).zip(chunk::<4>(rest, length - 4));
                parts.is_some_and(|(head, tail)| word4(head) == self.head && word4(tail) == self.tail)
            }
            16..=Self::LONGEST => {
                let parts = chunk::<16>(rest, 0).zip(chunk::<16>(rest, length - 16));
                parts.is_some_and(|(head, tail)| {
                    u128::from_le_bytes(head) == self.head && u128::from_le_bytes(tail) == self.tail
                })
            }
            _ => false,
        }
    }
}

#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[inline(always)]
fn word4(bytes: [u8; 4]) -> u128 {
    u32::from_le_bytes(bytes).into()
}

#[inline(always)]
fn word8(bytes: [u8; 8]) -> u128 {
    u64::from_le_bytes(bytes).into()
}

impl Names {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names
            .map(|name| {
                let plain = name.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
                let mut bytes = [0u8; 16];
                let mut mask = [0u8; 16];
                let quoted = name.bytes().chain([b'"']);
                if plain && name.len() < 16 {
                    bytes.iter_mut().zip(&mut mask).zip(quoted).for_each(|((b, m), c)| (*b, *m) = (c, 0xff));
                }
                Name {
                    bytes: name.as_bytes().into(),
                    word: u128::from_le_bytes(bytes),
                    mask: u128::from_le_bytes(mask),
                }
            })
            .collect();
        let mut table = HashMap::new();
        if names.len() > LINEAR {
            for (index, name) in names.iter().enumerate() {
                table.entry(name.bytes.clone()).or_insert(index);
            }
        }
        let columns = (0..names.len()).collect();
        Self { names, columns, table, next: 0, learnt: Vec::new(), at: 0 }
    }

    /// Starts a new object.
    #[inline]
    pub(crate) fn restart(&mut self) {
        self.next = 0;
        self.at = 0;
    }

    /// Goes to the next value, if what stands before it is what stood there in the object before; answers with the value's
    /// column.
    #[inline(always)]
    pub(crate) fn foresee(&mut self, cursor: &mut Cursor<'_>) -> Option<usize> {
        let mut lead = self.learnt.get(self.at)?;
        self.at += 1;
        if !lead.is_at(cursor) {
            // A field may be missing, but for the first: what stands before the second begins with a comma.
            match self.learnt.get(self.at).filter(|next| self.at > 1 && next.is_at(cursor)) {
                Some(next) => (lead, self.at) = (next, self.at + 1),
                None => {
                    self.at -= 1;
                    return None;
                }
            }
        }
        cursor.at += lead.length;
        self.next = lead.next;
        Some(lead.column)
    }

    /// Remembers what stands before a value of this column.
    #[inline(never)]
    pub(crate) fn learn(&mut self, lead: &[u8], column: usize) {
        let lead = Lead { next: self.next, ..Lead::new(lead, column) };
        // Objects without end must not be remembered.
        let most = 4 * self.names.len() + 64;
        match self.learnt.get_mut(self.at) {
            Some(known) => *known = lead,
            None if self.at < most => self.learnt.push(lead),
            None => {}
        }
        self.at += 1;
    }

    /// Reads a name after its opening quote, with the closing one, and finds its number.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        quote: u8,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<usize>, Syntax> {
        if let Some(name) = self.names.get(self.next)
            && name.mask != 0
            && quote == b'"'
        {
            let rest = cursor.bytes.get(cursor.at..).unwrap_or_default();
            // Close to the record's end there may be only eight bytes to look at.
            let expected = if let Some(chunk) = rest.first_chunk::<16>() {
                u128::from_le_bytes(*chunk) & name.mask == name.word
            } else if let Some(chunk) = rest.first_chunk::<8>() {
                name.bytes.len() < 8 && u64::from_le_bytes(*chunk) & name.mask as u64 == name.word as u64
            } else {
                false
            };
            if expected {
                cursor.at += name.bytes.len() + 1;
                self.next += 1;
                return Ok(Some(self.next - 1));
            }
        }
        let (found, at) = self.read_slow(*cursor, quote, scratch)?;
        cursor.at = at;
        Ok(found)
    }

    #[inline(never)]
    fn read_slow(
        &mut self,
        mut cursor: Cursor<'_>,
        quote: u8,
        scratch: &mut Vec<u8>,
    ) -> Result<(Option<usize>, usize), Syntax> {
        let text = cursor.string(quote, scratch)?;
        let found = self.find(text.bytes(scratch));
        if let Some(index) = found {
            self.next = index + 1;
        }
        Ok((found, cursor.at))
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        // A field or two may be missing: those after the expected one come first.
        let near = self.names.iter().enumerate().skip(self.next).take(LINEAR);
        if let Some((index, _)) = near.clone().find(|(_, n)| *n.bytes == *name) {
            return Some(index);
        }
        if self.names.len() > LINEAR {
            return self.table.get(name).copied();
        }
        self.names.iter().take(self.next).position(|n| *n.bytes == *name)
    }
}
