//! Words and counts as columns: what is emitted, checkpointed and restored.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use levada_connector_api::{Error, Result, StateImage, StateKind, StateSection};

use super::config::Options;
use super::state::State;

/// The most rows of a batch.
const BATCH_ROWS: usize = 64 * 1024;
/// The most bytes of words in a batch of more than one row.
const BATCH_BYTES: usize = 64 << 20;

/// What an image's fingerprint begins with: the operator and the version of its layout.
const LAYOUT: &str = "word-count/1";

/// Two columns: words and counts. As in Spark, a word may be null by its type, a count may not.
pub(super) fn schema(word: &str, count: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(word, DataType::Utf8, true), Field::new(count, DataType::Int64, false)]))
}

/// The words and counts of `entries`, in their order.
///
/// # Errors
/// The state holds a word that is not UTF-8: a bug.
pub(super) fn rows(state: &State, entries: &[u32], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::with_capacity(entries.len().div_ceil(BATCH_ROWS));
    let mut rest = entries;
    while !rest.is_empty() {
        let (mut bytes, mut taken) = (0, 0);
        for at in rest.iter().take(BATCH_ROWS) {
            bytes += state.word(*at).len();
            if taken > 0 && bytes > BATCH_BYTES {
                bytes -= state.word(*at).len();
                break;
            }
            taken += 1;
        }
        let (now, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        batches.push(batch(state, now, bytes, schema)?);
        rest = later;
    }
    Ok(batches)
}

fn batch(state: &State, entries: &[u32], bytes: usize, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut values = Vec::with_capacity(bytes);
    let mut offsets: Vec<i32> = Vec::with_capacity(entries.len() + 1);
    offsets.push(0);
    for at in entries {
        values.extend_from_slice(state.word(*at));
        offsets.push(i32::try_from(values.len()).map_err(|_| Error::internal("a batch of words exceeds 2 GiB"))?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let words = StringArray::try_new(offsets, Buffer::from_vec(values), None)?;
    let counts: Int64Array = entries.iter().map(|at| state.count(*at)).collect::<Vec<_>>().into();
    Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(words), Arc::new(counts)])?)
}

/// The image of `entries`, or none of no entries.
pub(super) fn image(state: &State, entries: &[u32], kind: StateKind, options: &Options) -> Result<Option<StateImage>> {
    if entries.is_empty() {
        return Ok(None);
    }
    let batches = rows(state, entries, &schema("word", "count"))?;
    Ok(Some(StateImage {
        kind,
        fingerprint: fingerprint(options),
        sections: vec![StateSection { partition: 0, batches }],
    }))
}

/// Takes an image back into the state.
///
/// # Errors
/// It is not one of this transform, its layout and options, or it is damaged.
pub(super) fn restore(state: &mut State, image: &StateImage, options: &Options) -> Result<()> {
    check_fingerprint(&image.fingerprint, options)?;
    if image.kind == StateKind::Snapshot {
        state.clear();
    }
    for batch in image.sections.iter().flat_map(|section| &section.batches) {
        let [words, counts] = batch.columns() else { return Err(not_ours(batch)) };
        let (Some(words), Some(counts)) = (words.as_string_opt::<i32>(), counts.as_primitive_opt::<Int64Type>()) else {
            return Err(not_ours(batch));
        };
        for (word, count) in words.iter().zip(counts.iter()) {
            match (word, count) {
                (Some(word), Some(count)) if count > 0 => state.set(word.as_bytes(), count)?,
                _ => return Err(Error::corrupt("the state of a word count has a row without a word or a count")),
            }
        }
    }
    state.end_restore();
    Ok(())
}

fn not_ours(batch: &RecordBatch) -> Error {
    let types: Vec<_> = batch.columns().iter().map(|column| column.data_type().to_string()).collect();
    Error::corrupt(format!("the state of a word count is Utf8 and Int64, but the checkpoint has {}", types.join(", ")))
}

fn fingerprint(options: &Options) -> String {
    let Options { column, split, lower_case, .. } = options;
    // The column comes last: its name may contain anything.
    format!("{LAYOUT};split={};lower={lower_case};column={column}", split.as_str())
}

fn check_fingerprint(found: &str, options: &Options) -> Result<()> {
    let expected = fingerprint(options);
    if found == expected {
        return Ok(());
    }
    let new = "use a new checkpoint.location";
    let mut changed = Vec::new();
    let mut back = Vec::new();
    for ((key, was), (_, is)) in fields(found).into_iter().flatten().zip(fields(&expected).into_iter().flatten()) {
        if was != is {
            changed.push(format!("{}{key} was '{was}' and is '{is}'", options.prefix));
            back.push(format!("{}{key}={was}", options.prefix));
        }
    }
    if changed.is_empty() {
        return Err(Error::corrupt(format!("the checkpoint has the state '{found}' where '{expected}' is needed"))
            .hint(format!("{new}, or run the version that wrote it")));
    }
    Err(Error::corrupt(format!("the checkpoint was written with other options: {}", changed.join(", ")))
        .hint(format!("{new}, or change it back: {}", back.join(", "))))
}

/// The options in a fingerprint, by their keys. `None` if it is not one of this layout.
fn fields(fingerprint: &str) -> Option<[(&'static str, &str); 3]> {
    let rest = fingerprint.strip_prefix(LAYOUT)?.strip_prefix(";split=")?;
    let (split, rest) = rest.split_once(";lower=")?;
    let (lower, column) = rest.split_once(";column=")?;
    Some([("split", split), ("lower.case", lower), ("column", column)])
}
