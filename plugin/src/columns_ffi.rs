//! Batches across the boundary, by the Arrow C Data Interface, with schemas sent once.
#![allow(unsafe_code, reason = "arrays are imported from the C Data Interface here")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array as _, RecordBatch, RecordBatchOptions, StructArray, layout};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use levada_connector_api::{Batch as Rows, Error, Result};

use crate::abi::{Batch, Buf};
use crate::wire;

/// How many schemas a direction of a handle remembers.
const SCHEMAS: usize = 64;
/// Rows of a batch at most: more is a length that was never written.
const MOST_ROWS: usize = 1 << 40;
/// Batches of an operation at most: the same.
const MOST_BATCHES: usize = 1 << 20;

static STRICT: AtomicBool = AtomicBool::new(false);

/// Whether every value that comes in is checked, and not only the shape of the columns: for tests of plugins.
pub(crate) fn validate_everything(strict: bool) {
    STRICT.store(strict, Ordering::Relaxed);
}

/// A batch on one side of the boundary: rows, or only their schema.
#[derive(Debug, Clone)]
pub struct Crossing {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows; none where only the schema is meant.
    pub rows: Option<RecordBatch>,
    /// Where they came from, as JSON.
    pub meta: Vec<u8>,
}

impl Crossing {
    /// Only a schema.
    pub fn schema(schema: SchemaRef) -> Self {
        Self { schema, rows: None, meta: Vec::new() }
    }

    /// Rows without an origin.
    pub fn rows(rows: RecordBatch) -> Self {
        Self { schema: rows.schema(), rows: Some(rows), meta: Vec::new() }
    }

    /// Rows with their origin.
    pub fn batch(batch: Rows) -> Self {
        let meta = wire::encode_origin(&batch.origin).unwrap_or_default();
        Self { meta, ..Self::rows(batch.rows) }
    }

    /// The rows with their origin.
    ///
    /// # Errors
    /// There is only a schema.
    pub fn into_batch(self) -> Result<Rows> {
        let origin = wire::decode_origin(&self.meta);
        let rows = self.rows.ok_or_else(|| Error::internal("a batch came without rows"))?;
        Ok(Rows::with_origin(rows, origin))
    }
}

/// Batches in the form of the interface, with the schemas that they point at. What the receiver leaves is released here.
pub(crate) struct Sent {
    pub(crate) list: Vec<Batch>,
    #[allow(clippy::vec_box, reason = "the list points at them: they must not move when more come")]
    schemas: Vec<Box<FFI_ArrowSchema>>,
}

// SAFETY: arrays and schemas may be used and released on any thread: Arrow's arrays are shared between threads.
unsafe impl Send for Sent {}

impl Drop for Sent {
    fn drop(&mut self) {
        for batch in &mut self.list {
            // SAFETY: a buffer of ours, or one that the receiver has emptied.
            drop(unsafe { batch.meta.take() });
        }
        self.schemas.clear();
    }
}

/// The sending end of a direction.
#[derive(Default)]
pub(crate) struct Sender {
    known: Vec<SchemaRef>,
    next: usize,
}

impl Sender {
    /// Puts batches into the form of the interface.
    pub(crate) fn send(&mut self, batches: Vec<Crossing>) -> Result<Sent> {
        let mut sent = Sent { list: Vec::with_capacity(batches.len()), schemas: Vec::new() };
        for batch in batches {
            let (schema_id, new) = self.id(&batch.schema);
            let mut schema = std::ptr::null_mut();
            if new {
                let exported = FFI_ArrowSchema::try_from(batch.schema.as_ref()).map_err(|e| {
                    // What was not sent is not known.
                    self.known.clear();
                    self.next = 0;
                    Error::unsupported(format!("a column's type cannot cross to a plugin: {e}"))
                })?;
                let mut exported = Box::new(exported);
                schema = &raw mut *exported;
                sent.schemas.push(exported);
            }
            let array = match batch.rows {
                Some(rows) => FFI_ArrowArray::new(&StructArray::from(rows).into_data()),
                None => FFI_ArrowArray::empty(),
            };
            sent.list.push(Batch { schema, array, schema_id, reserved: 0, meta: Buf::of(batch.meta) });
        }
        Ok(sent)
    }

    fn id(&mut self, schema: &SchemaRef) -> (u32, bool) {
        let same = |known: &SchemaRef| Arc::ptr_eq(known, schema);
        let found = self.known.iter().position(same).or_else(|| self.known.iter().position(|known| known == schema));
        if let Some(id) = found {
            return (id as u32, false);
        }
        let id = self.next;
        match self.known.get_mut(id) {
            Some(known) => *known = schema.clone(),
            None => self.known.push(schema.clone()),
        }
        self.next = (id + 1) % SCHEMAS;
        (id as u32, true)
    }
}

/// The receiving end of a direction.
#[derive(Default)]
pub(crate) struct Receiver {
    known: Vec<Option<SchemaRef>>,
}

impl Receiver {
    /// Takes batches over.
    ///
    /// # Safety
    /// `list` is null, or points to `n` batches as the interface says.
    pub(crate) unsafe fn receive(&mut self, list: *mut Batch, n: usize) -> Result<Vec<Crossing>> {
        if n > 0 && (list.is_null() || !list.is_aligned()) {
            return Err(Error::internal(format!("{n} batches came as a null pointer")));
        }
        if n > MOST_BATCHES {
            return Err(Error::internal(format!("{n} batches came at once; {MOST_BATCHES} are the most")));
        }
        let mut batches = Vec::with_capacity(n);
        for i in 0..n {
            // SAFETY: the list has `n` batches, and nobody else uses it during the call.
            let batch = unsafe { &mut *list.add(i) };
            // A schema that is not kept would be missing for the batches to come: all are looked at before the first error.
            batches.push(
                catch_unwind(AssertUnwindSafe(|| self.one(batch)))
                    .unwrap_or_else(|_| Err(Error::internal("a batch does not keep to the Arrow C Data Interface"))),
            );
        }
        batches.into_iter().collect()
    }

    fn one(&mut self, batch: &mut Batch) -> Result<Crossing> {
        // SAFETY: buffers of the interface are valid until they are released.
        let meta = unsafe { batch.meta.take() }.to_vec();
        let id = batch.schema_id as usize;
        if id >= SCHEMAS {
            return Err(Error::internal(format!("schema id {id} is above {}", SCHEMAS - 1)));
        }
        if !batch.schema.is_null() {
            if !batch.schema.is_aligned() {
                return Err(Error::internal("a schema lies at an odd address"));
            }
            // SAFETY: a schema of the C Data Interface, which is moved out.
            let schema = unsafe { FFI_ArrowSchema::from_raw(batch.schema) };
            let schema = Schema::try_from(&schema).map_err(|e| Error::internal(format!("a schema is wrong: {e}")))?;
            if self.known.len() <= id {
                self.known.resize(id + 1, None);
            }
            if let Some(known) = self.known.get_mut(id) {
                *known = Some(Arc::new(schema));
            }
        }
        let known = self.known.get(id).cloned().flatten();
        let schema = known.ok_or_else(|| Error::internal(format!("schema {id} was never sent")))?;
        if batch.array.is_released() {
            return Ok(Crossing { schema, rows: None, meta });
        }
        // SAFETY: an array of the C Data Interface, which is moved out.
        let array = unsafe { FFI_ArrowArray::from_raw(&raw mut batch.array) };
        let rows = import(array, &schema)?;
        Ok(Crossing { schema, rows: Some(rows), meta })
    }
}

fn import(array: FFI_ArrowArray, schema: &SchemaRef) -> Result<RecordBatch> {
    let kind = DataType::Struct(schema.fields().clone());
    check(&array, &kind, "the batch")?;
    // SAFETY: the array was checked to have the buffers and children that its type needs; what they hold is the sender's
    // promise.
    let data = unsafe { from_ffi_and_data_type(array, kind) }.map_err(|e| wrong(&e))?;
    if STRICT.load(Ordering::Relaxed) {
        data.validate_full().map_err(|e| wrong(&e))?;
    } else {
        data.validate().map_err(|e| wrong(&e))?;
    }
    let columns = StructArray::from(data);
    if columns.null_count() > 0 {
        return Err(Error::internal("a row of a batch is null as a whole"));
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(columns.len()));
    let (_, columns, _) = columns.into_parts();
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows).map_err(|e| wrong(&e))
}

fn wrong(error: &arrow::error::ArrowError) -> Error {
    Error::internal(format!("a batch does not fit its schema: {error}"))
}

/// Checks the shape of an array before anything in it is followed.
fn check(array: &FFI_ArrowArray, kind: &DataType, what: &str) -> Result<()> {
    let refused = |why: String| Err(Error::internal(format!("a batch does not fit its schema: {what} {why}")));
    if array.is_released() {
        return refused("is already released".to_owned());
    }
    if array.len() > MOST_ROWS || array.offset() > MOST_ROWS {
        return refused(format!("has {} rows from {}", array.len() as i64, array.offset() as i64));
    }
    let children: Vec<_> = match kind {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => vec![field],
        DataType::ListView(field) | DataType::LargeListView(field) | DataType::Map(field, _) => vec![field],
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends, values],
        _ => Vec::new(),
    };
    if array.num_children() != children.len() {
        return refused(format!("has {} columns instead of {}", array.num_children(), children.len()));
    }
    let spec = layout(kind);
    let buffers = spec.buffers.len() + usize::from(spec.can_contain_null_mask);
    let variadic = usize::from(spec.variadic);
    let found = array.num_buffers();
    if found < buffers + variadic || (variadic == 0 && found != buffers) {
        return refused(format!("has {found} buffers instead of {buffers}"));
    }
    if !array.is_empty() {
        // The last of a view's buffers are its data, which may be missing, as may the nulls.
        let nulls = usize::from(spec.can_contain_null_mask);
        let needed = if variadic == 1 { nulls..nulls + 1 } else { nulls..buffers };
        for i in needed {
            let data = i == buffers - 1
                && matches!(kind, DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary);
            if array.buffer(i).is_null() && !data {
                return refused(format!("has no buffer {i}"));
            }
        }
    }
    for (i, field) in children.into_iter().enumerate() {
        check(array.child(i), field.data_type(), &format!("column '{}'", field.name()))?;
    }
    match (kind, array.dictionary()) {
        (DataType::Dictionary(_, values), Some(dictionary)) => check(dictionary, values, "a dictionary"),
        (DataType::Dictionary(..), None) => refused("has no dictionary".to_owned()),
        (_, Some(_)) => refused("has a dictionary that its type does not".to_owned()),
        (_, None) => Ok(()),
    }
}
