//! Messages as columns.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, BinaryBuilder, ListArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};

/// Messages of one partition on their way from the client: each is copied once, into these.
#[derive(Default)]
pub(super) struct Buffer {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    timestamp_types: Vec<i32>,
    keys: Payloads,
    values: Payloads,
    headers: Option<Headers>,
}

impl Buffer {
    pub(super) fn new(with_headers: bool) -> Self {
        Self { headers: with_headers.then(Headers::default), ..Self::default() }
    }

    pub(super) fn rows(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.data.len() + self.values.data.len()
    }

    #[inline]
    pub(super) fn push(&mut self, offset: i64, time: (i64, i32), key: Option<&[u8]>, value: Option<&[u8]>) {
        self.offsets.push(offset);
        self.timestamps.push(time.0);
        self.timestamp_types.push(time.1);
        self.keys.push(key);
        self.values.push(value);
    }

    pub(super) fn headers(&mut self) -> Option<&mut Headers> {
        self.headers.as_mut()
    }

    /// What was pushed, as the messages of partition `index`; the buffer is empty then.
    pub(super) fn finish(&mut self, index: usize) -> Messages {
        let (rows, headers) = (self.offsets.len(), self.headers.is_some().then(Headers::default));
        // The next piece is likely of the same size: growing into it would copy it once more.
        let next = Self {
            offsets: Vec::with_capacity(rows),
            timestamps: Vec::with_capacity(rows),
            timestamp_types: Vec::with_capacity(rows),
            keys: self.keys.like(rows),
            values: self.values.like(rows),
            headers,
        };
        let taken = std::mem::replace(self, next);
        Messages {
            index,
            offsets: taken.offsets.into(),
            timestamps: taken.timestamps.into(),
            timestamp_types: taken.timestamp_types.into(),
            keys: taken.keys.finish(),
            values: taken.values.finish(),
            headers: taken.headers.map(Headers::finish),
        }
    }
}

/// A binary column that grows.
#[derive(Default)]
struct Payloads {
    data: Vec<u8>,
    ends: Vec<i32>,
    /// Written down from the first null on.
    valid: Option<Vec<bool>>,
}

/// A large message is no measure for those after it.
const ROOM: usize = 2 << 20;

impl Payloads {
    /// An empty column with room for as much.
    fn like(&self, rows: usize) -> Self {
        let bytes = self.data.len();
        // Messages are of different lengths: one that is a little longer must not double all.
        let room = if bytes > ROOM { 0 } else { bytes + bytes / 16 };
        Self { data: Vec::with_capacity(room), ends: Vec::with_capacity(rows), valid: None }
    }

    #[inline]
    fn push(&mut self, payload: Option<&[u8]>) {
        match payload {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None if self.valid.is_none() => self.valid = Some(vec![true; self.ends.len()]),
            None => {}
        }
        if let Some(valid) = &mut self.valid {
            valid.push(payload.is_some());
        }
        // Buffers are handed over long before two gigabytes: see `drain`.
        self.ends.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
    }

    fn finish(self) -> BinaryArray {
        let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(self.ends).collect();
        let nulls = self.valid.map(NullBuffer::from);
        // Each end is the length of the data so far, so they rise and end within it.
        BinaryArray::new(OffsetBuffer::new(offsets), self.data.into(), nulls)
    }
}

/// The headers of messages.
#[derive(Default)]
pub(super) struct Headers {
    keys: StringBuilder,
    values: BinaryBuilder,
    ends: Vec<i32>,
    count: i32,
}

impl Headers {
    pub(super) fn push(&mut self, name: &str, value: Option<&[u8]>) {
        self.keys.append_value(name);
        self.values.append_option(value);
        self.count += 1;
    }

    /// The headers pushed since the last call are those of the next message.
    pub(super) fn close(&mut self) {
        self.ends.push(self.count);
    }

    fn finish(mut self) -> ListArray {
        let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(self.ends).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let offsets = OffsetBuffer::new(offsets);
        // As in Spark, a message without headers has null.
        let nulls = NullBuffer::from_iter(offsets.lengths().map(|length| length > 0));
        let entries = StructArray::new(header_fields(), columns, None);
        ListArray::new(header_item(), offsets, Arc::new(entries), Some(nulls))
    }
}

fn header_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)].into()
}

fn header_item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(header_fields()), true))
}

/// The headers of one message.
pub(super) fn headers_of(all: &ListArray, index: usize) -> Vec<(String, Option<Vec<u8>>)> {
    if index >= all.len() || all.is_null(index) {
        return Vec::new();
    }
    let entries = all.value(index);
    let Some(entries) = entries.as_struct_opt() else { return Vec::new() };
    let (Some(names), Some(values)) = (
        entries.columns().first().and_then(|names| names.as_string_opt::<i32>()),
        entries.columns().get(1).and_then(|values| values.as_binary_opt::<i32>()),
    ) else {
        return Vec::new();
    };
    names
        .iter()
        .zip(values)
        .map(|(name, value)| (name.unwrap_or_default().to_owned(), value.map(<[u8]>::to_vec)))
        .collect()
}

/// The type of the column of headers.
pub(super) fn headers_type() -> DataType {
    DataType::List(header_item())
}

/// Messages of one partition, in order.
#[derive(Clone)]
pub(super) struct Messages {
    /// Which of the assigned partitions.
    pub(super) index: usize,
    pub(super) offsets: ScalarBuffer<i64>,
    pub(super) timestamps: ScalarBuffer<i64>,
    pub(super) timestamp_types: ScalarBuffer<i32>,
    pub(super) keys: BinaryArray,
    pub(super) values: BinaryArray,
    pub(super) headers: Option<ListArray>,
}

impl Messages {
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn slice(&self, from: usize, len: usize) -> Self {
        Self {
            index: self.index,
            offsets: self.offsets.slice(from, len),
            timestamps: self.timestamps.slice(from, len),
            timestamp_types: self.timestamp_types.slice(from, len),
            keys: self.keys.slice(from, len),
            values: self.values.slice(from, len),
            headers: self.headers.as_ref().map(|headers| headers.slice(from, len)),
        }
    }

    /// The bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes_of(self.len())
    }

    fn bytes_of(&self, rows: usize) -> usize {
        let width = |array: &BinaryArray| {
            let ends = array.value_offsets();
            ends.get(rows).zip(ends.first()).map_or(0, |(end, start)| usize::try_from(end - start).unwrap_or(0))
        };
        width(&self.keys) + width(&self.values)
    }

    /// How many messages fit into so many rows and bytes.
    pub(super) fn fitting(&self, rows: usize, bytes: usize) -> usize {
        let rows = rows.min(self.len());
        if self.bytes_of(rows) <= bytes {
            return rows;
        }
        let (mut fits, mut too_many) = (0, rows);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.bytes_of(middle) <= bytes { fits = middle } else { too_many = middle }
        }
        fits
    }

    /// The first of them and the one after the last; `None` when there are none.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        Some((*self.offsets.first()?, *self.offsets.last()? + 1))
    }

    /// Whether no offset is missing between them: there may be gaps after compaction, and where transactions end.
    pub(super) fn gapless(&self) -> bool {
        self.range().is_none_or(|(first, end)| usize::try_from(end - first).is_ok_and(|span| span == self.len()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;

    use super::*;

    fn messages() -> Messages {
        let mut buffer = Buffer::new(true);
        for (i, value) in [Some("aa"), None, Some("bbbb")].into_iter().enumerate() {
            buffer.push(i as i64 * 2, (5, 0), Some(b"k"), value.map(str::as_bytes));
            let headers = buffer.headers().unwrap();
            if i == 1 {
                headers.push("h", Some(b"v"));
                headers.push("h", None);
            }
            headers.close();
        }
        buffer.finish(3)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let messages = messages();
        assert_eq!((messages.len(), messages.bytes(), messages.index), (3, 9, 3));
        assert_eq!(messages.values.iter().collect::<Vec<_>>(), [Some(&b"aa"[..]), None, Some(b"bbbb")]);
        let headers = messages.headers.as_ref().unwrap();
        assert_eq!((headers.is_null(0), headers.value(1).len()), (true, 2));
        assert_eq!((messages.range(), messages.gapless()), (Some((0, 5)), false));
    }

    #[test]
    fn limits_cut_between_messages() {
        let messages = messages();
        for (rows, bytes, fits) in [(9, 9, 3), (2, 9, 2), (9, 8, 2), (9, 4, 2), (9, 3, 1), (9, 2, 0), (0, 9, 0)] {
            assert_eq!(messages.fitting(rows, bytes), fits, "{rows} rows, {bytes} bytes");
        }
        let rest = messages.slice(1, 2);
        assert_eq!((rest.bytes(), rest.fitting(9, 1), rest.range()), (6, 1, Some((2, 5))));
    }
}
