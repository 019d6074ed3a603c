//! Connect's JSON with schemas: `{"schema": …, "payload": …}` in every message.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, Scalar};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{concat_batches, filter};
use arrow::datatypes::{Field, Schema, SchemaRef};
use levada_connector_api::{Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connect_schema::{Logical, fields_of};
use super::{Converted, Converter, TOMBSTONE, all_nullable};
use crate::column::nullable;
use crate::json::{JsonDecoder, JsonMode, JsonOptions};
use crate::malformed::{MalformedFields, MalformedRows, Rejected};

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
    Ok(Schema::new(fields.into_iter().map(|told| told.logical.field(&told.field)).collect::<Vec<_>>()))
}

/// How the payloads of one schema become the columns that are wanted.
struct Plan {
    decoder: JsonDecoder,
    readings: Vec<Reading>,
    /// The decoder's rows of payloads that are null as a whole: they have no defaults.
    nulls: Vec<usize>,
}

/// How a column of the payload becomes the one that is wanted.
struct Reading {
    logical: Logical,
    /// One value, for payloads that have none.
    default: Option<ArrayRef>,
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
        let relaxed = options.fields == MalformedFields::Null || options.rows == MalformedRows::Null;
        let target = match relaxed {
            true => Arc::new(Schema::new(target.fields().iter().map(|field| nullable(field)).collect::<Vec<_>>())),
            false => target,
        };
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
        let mut wire: Vec<Arc<Field>> = Vec::with_capacity(self.target.fields().len());
        let mut readings = Vec::with_capacity(self.target.fields().len());
        let mut defaults = serde_json::Map::new();
        for field in self.target.fields() {
            let of = told.iter().find(|told| told.field.name() == field.name());
            let logical = of.map_or(Logical::None, |told| told.logical);
            let default = of.and_then(|told| told.default.clone());
            let field = match logical {
                Logical::None => field.clone(),
                of => Arc::new(Field::new(field.name(), of.wire(), field.is_nullable())),
            };
            wire.push(match &default {
                Some(_) => Arc::new(field.as_ref().clone().with_nullable(true)),
                None => field.clone(),
            });
            defaults.extend(default.map(|default| (field.name().clone(), default)));
            readings.push(Reading { logical, default: None });
        }
        let wire = Arc::new(Schema::new(wire));
        if !defaults.is_empty() {
            let named: Vec<String> = defaults.keys().cloned().collect();
            let decoded = decoded_defaults(&wire, defaults).map_err(|e| format!("the schema's defaults: {e}"))?;
            for ((reading, column), field) in readings.iter_mut().zip(&decoded).zip(self.target.fields()) {
                if !named.contains(field.name()) {
                    continue;
                }
                let read = reading.logical.read(column, field).map_err(|e| e.to_string())?;
                if read.is_null(0) {
                    return Err(format!(
                        "field '{}' of the schema: its default is no {}",
                        field.name(),
                        field.data_type()
                    ));
                }
                reading.default = Some(read);
            }
        }
        let decoder = JsonDecoder::new(wire, self.options.clone()).map_err(|e| e.to_string())?;
        Ok(Plan { decoder, readings, nulls: Vec::new() })
    }

    /// The rows of `messages` messages that went to a plan's decoder one after the other.
    fn rows(&mut self, plan: usize, messages: usize) -> Result<(RecordBatch, Vec<Rejected>)> {
        let Some(Plan { decoder, readings, nulls }) = self.plans.get_mut(plan) else {
            return Err(Error::internal("messages of no schema"));
        };
        let (rows, mut rejected) = decoder.finish()?;
        let nulls = std::mem::take(nulls);
        let mut columns = Vec::with_capacity(readings.len());
        // Rows whose values are none in the column that is wanted.
        let mut bad: BTreeMap<usize, String> = BTreeMap::new();
        for ((reading, column), field) in readings.iter().zip(rows.columns()).zip(self.target.fields()) {
            let mut column = reading.logical.read(column, field)?;
            if let Some(default) = reading.default.as_ref().filter(|_| column.null_count() > 0) {
                let mut missing: Vec<bool> = (0..column.len()).map(|row| column.is_null(row)).collect();
                for row in &nulls {
                    missing.iter_mut().skip(*row).take(1).for_each(|missing| *missing = false);
                }
                column = zip(&BooleanArray::from(missing), &Scalar::new(default.clone()), &column)?;
            }
            if !field.is_nullable() && column.null_count() > 0 {
                for row in (0..column.len()).filter(|row| column.is_null(*row)) {
                    let reason =
                        || format!("field '{}' is no {}, or out of its range", field.name(), field.data_type());
                    bad.entry(row).or_insert_with(reason);
                }
            }
            columns.push(column);
        }
        let mut left = rows.num_rows();
        if !bad.is_empty() {
            let is_rejected: HashSet<usize> = rejected.iter().map(|rejected| rejected.index).collect();
            let decoded: Vec<usize> = (0..messages).filter(|message| !is_rejected.contains(message)).collect();
            let mask: BooleanArray = (0..left).map(|row| Some(!bad.contains_key(&row))).collect();
            for column in &mut columns {
                *column = filter(column, &mask)?;
            }
            left -= bad.len();
            rejected.extend(
                bad.into_iter()
                    .filter_map(|(row, reason)| decoded.get(row).map(|message| Rejected { index: *message, reason })),
            );
        }
        let options = RecordBatchOptions::new().with_row_count(Some(left));
        Ok((RecordBatch::try_new_with_options(self.target.clone(), columns, &options)?, rejected))
    }
}

/// The columns of a payload of defaults alone.
fn decoded_defaults(wire: &SchemaRef, defaults: serde_json::Map<String, serde_json::Value>) -> Result<Vec<ArrayRef>> {
    let mut decoder = JsonDecoder::new(wire.clone(), JsonOptions::permissive(JsonMode::Message))?;
    decoder.push(serde_json::Value::Object(defaults).to_string().as_bytes());
    Ok(decoder.finish()?.0.columns().to_vec())
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
                _ => {
                    plan.nulls.push(plan.decoder.len());
                    plan.decoder.push_null();
                }
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
        let (rows, rejected) = envelope.rows(plan, pushed.len())?;
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
