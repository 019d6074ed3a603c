//! Connect's JSON with schemas: `{"schema": …, "payload": …}` in every message.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use levada_connector_api::{Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connect_schema::{Logical, fields_of};
use super::{Converted, Converter, TOMBSTONE, all_nullable};
use crate::json::{JsonDecoder, JsonMode, JsonOptions};
use crate::malformed::Rejected;

/// How many different schemas are kept in mind. When there are more, all are forgotten.
const SCHEMAS: usize = 64;

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Schema and payload of a message.
fn parts(message: &[u8]) -> Result<(&str, &str), String> {
    let text = std::str::from_utf8(message).map_err(|e| format!("no UTF-8: {e}"))?;
    let parts: Parts<'_> = serde_json::from_str(text)
        .map_err(|e| format!("no {{\"schema\": …, \"payload\": …}}, as value.converter.schemas.enable wants: {e}"))?;
    Ok((parts.schema.map_or("null", RawValue::get), parts.payload.get()))
}

/// The columns of messages with schemas, from one of them.
///
/// # Errors
/// It is no message with a schema, or its type is no struct.
pub fn envelope_schema(message: &[u8]) -> Result<Schema> {
    let (schema, _) = parts(message).map_err(Error::data)?;
    let fields = fields_of(schema).map_err(Error::data)?;
    Ok(Schema::new(fields.into_iter().map(|(field, logical)| logical.field(&field)).collect::<Vec<_>>()))
}

/// How the payloads of one schema become the columns that are wanted.
struct Plan {
    decoder: JsonDecoder,
    logical: Vec<Logical>,
}

pub(super) struct Envelope {
    target: SchemaRef,
    options: JsonOptions,
    plans: Vec<Plan>,
    /// Plans by the text of the schema.
    known: HashMap<String, usize>,
    /// What the last message held up to its payload, and the plan for it: nearly always the next begins so, too.
    last: (Vec<u8>, usize),
    nullable: bool,
}

impl Envelope {
    pub(super) fn new(target: SchemaRef, options: JsonOptions) -> Self {
        let nullable = all_nullable(&target);
        let options = JsonOptions { mode: JsonMode::Message, ..options };
        Self { target, options, plans: Vec::new(), known: HashMap::new(), last: (Vec::new(), 0), nullable }
    }

    /// The plan for a message, and its payload.
    fn plan<'a>(&mut self, message: &'a [u8]) -> Result<(usize, &'a [u8]), String> {
        if let Some(rest) = message.strip_prefix(self.last.0.as_slice())
            && !self.last.0.is_empty()
            && let Some(payload) = rest.trim_ascii_end().strip_suffix(b"}")
            && payload.first() == Some(&b'{')
        {
            // What is wrong behind the schema is seen when the payload is decoded.
            return Ok((self.last.1, payload));
        }
        let (schema, payload) = parts(message)?;
        let plan = match self.known.get(schema) {
            Some(plan) => *plan,
            None => {
                let plan = self.new_plan(schema)?;
                self.plans.push(plan);
                self.known.insert(schema.to_owned(), self.plans.len() - 1);
                self.plans.len() - 1
            }
        };
        let before = message.len() - payload.len() - 1;
        let at_the_end = message.get(before..).and_then(|end| end.strip_suffix(b"}")) == Some(payload.as_bytes());
        self.last = match message.get(..before) {
            Some(prefix) if at_the_end => (prefix.to_vec(), plan),
            _ => (Vec::new(), 0),
        };
        Ok((plan, payload.as_bytes()))
    }

    /// Forgets all schemas. No decoder may hold rows.
    fn forget(&mut self) {
        (self.plans, self.known, self.last) = (Vec::new(), HashMap::new(), (Vec::new(), 0));
    }

    fn new_plan(&self, schema: &str) -> Result<Plan, String> {
        // A payload without a schema is plain JSON.
        let told = if schema == "null" { Vec::new() } else { fields_of(schema)? };
        let mut logical = Vec::with_capacity(self.target.fields().len());
        let mut wire: Vec<Arc<Field>> = Vec::with_capacity(self.target.fields().len());
        for field in self.target.fields() {
            let of = told.iter().find(|(told, _)| told.name() == field.name()).map_or(Logical::None, |(_, l)| *l);
            wire.push(match of {
                Logical::None => field.clone(),
                of => Arc::new(Field::new(field.name(), of.wire(), field.is_nullable())),
            });
            logical.push(of);
        }
        let decoder = JsonDecoder::new(Arc::new(Schema::new(wire)), self.options.clone()).map_err(|e| e.to_string())?;
        Ok(Plan { decoder, logical })
    }

    /// The rows of the messages that went to a plan's decoder one after the other.
    fn rows(&mut self, plan: usize) -> Result<(RecordBatch, Vec<Rejected>)> {
        let Some(Plan { decoder, logical }) = self.plans.get_mut(plan) else {
            return Err(Error::internal("messages of no schema"));
        };
        let (rows, rejected) = decoder.finish()?;
        let columns: Result<Vec<ArrayRef>> = logical
            .iter()
            .zip(rows.columns())
            .zip(self.target.fields())
            .map(|((logical, column), field)| logical.read(column, field))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok((RecordBatch::try_new_with_options(self.target.clone(), columns?, &options)?, rejected))
    }
}

impl Converter for Envelope {
    fn schema(&self) -> SchemaRef {
        self.target.clone()
    }

    fn convert(&mut self, payloads: &BinaryArray) -> Result<Converted> {
        let mut run = Run::default();
        let mut forget = false;
        for (index, payload) in payloads.iter().enumerate() {
            if self.known.len() > SCHEMAS {
                // The rows so far are in a decoder of theirs.
                run.close(self)?;
                self.forget();
            }
            let planned = match payload {
                Some(message) => self.plan(message).map(|(plan, payload)| (plan, Some(payload))),
                None if self.nullable => Ok((run.plan.unwrap_or_default(), None)),
                None => Err(TOMBSTONE.to_owned()),
            };
            let (plan, payload) = match planned {
                Ok((_, Some(b"null"))) if !self.nullable => {
                    run.rejected.push(Rejected { index, reason: TOMBSTONE.to_owned() });
                    continue;
                }
                Ok(planned) => planned,
                Err(reason) => {
                    run.rejected.push(Rejected { index, reason });
                    continue;
                }
            };
            if self.plans.is_empty() {
                // A tombstone before any message with a schema.
                let plan = self.new_plan("null").map_err(Error::config)?;
                self.plans.push(plan);
                forget = true;
            }
            if run.plan.is_some_and(|last| last != plan) {
                run.close(self)?;
            }
            run.plan = Some(plan);
            let Some(plan) = self.plans.get_mut(plan) else { return Err(Error::internal("a schema is missing")) };
            match payload {
                Some(payload) if payload != b"null" => plan.decoder.push(payload),
                _ => plan.decoder.push_null(),
            }
            run.pushed.push(index);
        }
        run.close(self)?;
        if forget {
            self.forget();
        }
        run.finish(&self.target, payloads.len())
    }
}

/// What has been decoded so far.
#[derive(Default)]
struct Run {
    plan: Option<usize>,
    /// The messages that are in the plan's decoder.
    pushed: Vec<usize>,
    batches: Vec<RecordBatch>,
    origins: Vec<u32>,
    rejected: Vec<Rejected>,
}

impl Run {
    fn close(&mut self, envelope: &mut Envelope) -> Result<()> {
        let Some(plan) = self.plan.take() else { return Ok(()) };
        let pushed = std::mem::take(&mut self.pushed);
        let (rows, rejected) = envelope.rows(plan)?;
        let mut bad = vec![false; pushed.len()];
        for Rejected { index, reason } in rejected {
            let Some(message) = pushed.get(index) else { continue };
            self.rejected.push(Rejected { index: *message, reason });
            bad.iter_mut().skip(index).take(1).for_each(|bad| *bad = true);
        }
        let good = pushed.iter().zip(&bad).filter(|(_, bad)| !**bad).map(|(message, _)| *message as u32);
        let before = self.origins.len();
        self.origins.extend(good);
        if self.origins.len() - before != rows.num_rows() {
            // Dropped rows are not told of one by one.
            return Err(Error::config("malformed.rows=drop does not go with value.converter.schemas.enable")
                .hint("use error with errors.tolerance=all"));
        }
        self.batches.push(rows);
        Ok(())
    }

    fn finish(mut self, schema: &SchemaRef, messages: usize) -> Result<Converted> {
        let rows = match self.batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(schema, many)?,
        };
        self.rejected.sort_by_key(|bad| bad.index);
        let origins = (rows.num_rows() != messages).then_some(self.origins);
        Ok(Converted { rows, origins, rejected: self.rejected })
    }
}

/// Bytes of a whole number, most significant first, as Java writes them.
pub(super) fn unscaled(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 16];
    let start = 16usize.checked_sub(bytes.len())?;
    all.get_mut(start..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

/// A binary column of such numbers.
pub(super) fn unscaled_column(column: &ArrayRef) -> impl Iterator<Item = Option<i128>> {
    column.as_binary::<i32>().iter().map(|bytes| bytes.and_then(unscaled))
}
