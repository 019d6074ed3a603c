//! `percentile_approx`: the summary of Greenwald and Khanna, whose size depends on the accuracy and not on the values.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use levada_connector_api::{Error, Result};
use levada_expressions::AggregateParams;

use super::{Accumulator, column, counting, same, unfit};

/// A value that was seen, how many more values it stands for than the one before it, and by how much its rank may be
/// larger.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    value: f64,
    more: i64,
    slack: i64,
}

/// What stands for all values of a group, in their order.
type Summary = Vec<Sample>;

/// Summaries by group.
pub(super) struct Quantiles {
    params: AggregateParams,
    /// By which share of all values a rank may be wrong.
    error: f64,
    ty: DataType,
    held: Vec<Summary>,
    bytes: usize,
}

impl Quantiles {
    /// `ty` is the type of the values, which come as doubles.
    pub(super) fn new(params: AggregateParams, ty: DataType) -> Self {
        Self { error: 1.0 / params.accuracy, params, ty, held: Vec::new(), bytes: 0 }
    }
}

/// Leaves out what others can stand for, if ranks are to be right to `room` values; the ends stay.
fn compressed(samples: Summary, room: f64) -> Summary {
    let (Some(first), Some(last)) = (samples.first().copied(), samples.last().copied()) else { return samples };
    let mut kept = Vec::with_capacity(samples.len());
    let mut head = last;
    let count = samples.len();
    for sample in samples.into_iter().take(count - 1).skip(1).rev() {
        if ((sample.more + head.more + head.slack) as f64) < room {
            head.more += sample.more;
        } else {
            kept.push(head);
            head = sample;
        }
    }
    kept.push(head);
    if count > 1 {
        kept.push(first);
    }
    kept.reverse();
    kept
}

fn count(samples: &[Sample]) -> i64 {
    samples.iter().map(|sample| sample.more).sum()
}

/// Two summaries as one: a value's rank is less certain by what the other leaves open about it.
fn together(a: &[Sample], b: &[Sample], error: f64) -> Summary {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b.to_vec() } else { a.to_vec() };
    }
    let open = |samples: &[Sample]| (2.0 * error * count(samples) as f64).floor() as i64;
    let (open_a, open_b) = (open(a), open(b));
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let (mut seen_a, mut seen_b) = (false, false);
    loop {
        let from_a = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => x.value.total_cmp(&y.value).is_lt(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let (next, other_left, other_seen, open) = if from_a {
            seen_a = true;
            (a.next(), b.peek().is_some(), seen_b, open_b)
        } else {
            seen_b = true;
            (b.next(), a.peek().is_some(), seen_a, open_a)
        };
        if let Some(sample) = next {
            let slack = if other_seen && other_left { sample.slack + open } else { sample.slack };
            merged.push(Sample { slack, ..*sample });
        }
    }
    let room = 2.0 * error * count(&merged) as f64;
    compressed(merged, room)
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Quantiles {
    fn put(&mut self, group: usize, summary: Summary) {
        let size = |summary: &Summary| summary.len() * size_of::<Sample>();
        self.bytes = self.bytes + size(&summary) - size(&self.held[group]);
        self.held[group] = summary;
    }

    /// The value whose rank is nearest to a share of all values.
    fn find(&self, summary: &Summary, share: f64) -> Option<f64> {
        let (first, last) = (summary.first()?, summary.last()?);
        if share <= self.error {
            return Some(first.value);
        }
        if share >= 1.0 - self.error {
            return Some(last.value);
        }
        let rank = (share * count(summary) as f64).ceil() as i64;
        let tolerance = summary.iter().map(|sample| sample.more + sample.slack).max().unwrap_or(0) / 2;
        let mut least = 0;
        for sample in summary {
            least += sample.more;
            if least + sample.slack - tolerance <= rank && rank <= least + tolerance {
                return Some(sample.value);
            }
        }
        Some(last.value)
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Quantiles {
    fn grow(&mut self, groups: usize) {
        self.held.resize_with(groups, Summary::new);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = column(values, 0)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
        let mut seen: Vec<(usize, f64)> = Vec::with_capacity(values.len());
        counting(values.nulls(), groups, filter, |row, group| {
            let value = values.values()[row];
            seen.push((group, if value.is_nan() { f64::NAN } else { value + 0.0 }));
            Ok(())
        })?;
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for rows in seen.chunk_by(|a, b| a.0 == b.0) {
            let group = rows[0].0;
            // The ends are certain, and what comes between is as certain as it needs to be.
            let slack = |at: usize| match at {
                0 => 0,
                at if at + 1 == rows.len() => 0,
                at => (2.0 * self.error * (at + 1) as f64).floor() as i64,
            };
            let sample = |(at, (_, value)): (usize, &(usize, f64))| Sample { value: *value, more: 1, slack: slack(at) };
            let samples = rows.iter().enumerate().map(sample).collect();
            let new = compressed(samples, 2.0 * self.error * rows.len() as f64);
            let all = together(&self.held[group], &new, self.error);
            self.put(group, all);
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            let all = together(&self.held[*to as usize], &other.held[*from as usize], self.error);
            self.put(*to as usize, all);
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let all = together(&self.held[to as usize], &self.held[from as usize], self.error);
        self.put(to as usize, all);
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        self.put(group as usize, Summary::new());
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let held = groups.iter().map(|group| &self.held[*group as usize]);
        let offsets = OffsetBuffer::from_lengths(held.clone().map(Vec::len));
        let samples = held.flatten();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from_iter_values(samples.clone().map(|sample| sample.value))),
            Arc::new(Int64Array::from_iter_values(samples.clone().map(|sample| sample.more))),
            Arc::new(Int64Array::from_iter_values(samples.map(|sample| sample.slack))),
        ];
        let samples = StructArray::try_new(fields(), columns, None)?;
        let field = Arc::new(Field::new_list_field(samples.data_type().clone(), false));
        Ok(vec![Arc::new(ListArray::try_new(field, offsets, Arc::new(samples), None)?)])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let lists = column(state, 0)?.as_list_opt::<i32>().ok_or_else(unfit)?;
        let samples = lists.values().as_struct_opt().ok_or_else(unfit)?;
        let values = column(samples.columns(), 0)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
        let more = column(samples.columns(), 1)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        let slack = column(samples.columns(), 2)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        for (group, ends) in groups.iter().zip(lists.value_offsets().windows(2)) {
            let rows = ends[0] as usize..ends[1] as usize;
            let sample = |row| Sample { value: values.value(row), more: more.value(row), slack: slack.value(row) };
            self.put(*group as usize, rows.map(sample).collect());
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let shares = &self.params.numbers;
        let held = groups.iter().map(|group| &self.held[*group as usize]);
        let found = held.flat_map(|summary| shares.iter().map(|share| self.find(summary, *share)));
        let found: ArrayRef = Arc::new(found.collect::<Float64Array>());
        // Dates and times are numbers here; they came as such.
        let found = match &self.ty {
            DataType::Date32 => cast(&cast(&found, &DataType::Int32)?, &self.ty)?,
            DataType::Timestamp(_, _) => cast(&cast(&found, &DataType::Int64)?, &self.ty)?,
            DataType::Null => return Err(Error::internal("a percentile of nulls has no type")),
            ty => cast(&found, ty)?,
        };
        super::bag::listed(found, groups.len(), self.params.list.then_some(shares.len()))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields()), false)))]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Summary>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn fields() -> Fields {
    let field = |name: &str, ty| Field::new(name, ty, false);
    let types = [("value", DataType::Float64), ("more", DataType::Int64), ("slack", DataType::Int64)];
    types.into_iter().map(|(name, ty)| field(name, ty)).collect()
}
