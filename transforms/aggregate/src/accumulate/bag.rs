//! Values and how often each was seen: what exact percentiles and the mode are found in.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use levada_connector_api::{Error, Result};
use levada_expressions::{AggregateParams, Ties};

use super::value::Coder;
use super::{Accumulator, column, counting, same, unfit};

/// What is looked for.
pub(super) enum Search {
    /// The values at shares of the way through all values, between two neighbours in proportion.
    Between(AggregateParams),
    /// The values at shares of the way through all values, which were seen.
    Seen(AggregateParams),
    /// The value that was seen most often.
    Mode(Ties),
}

/// Counts by value, in the order of the values.
type Counts = BTreeMap<Box<[u8]>, i64>;

/// The room that an entry of a map takes beside its value.
const ENTRY: usize = 48;

/// The different values of each group, with their counts.
pub(super) struct Bag {
    value: Coder,
    search: Search,
    held: Vec<Counts>,
    bytes: usize,
}

impl Bag {
    pub(super) fn new(ty: &DataType, search: Search) -> Result<Self> {
        // Spark counts zeros with a sign by themselves: their hashes differ.
        let value = if let Search::Mode(_) = search { Coder::signed(ty)? } else { Coder::new(ty)? };
        Ok(Self { value, search, held: Vec::new(), bytes: 0 })
    }

    fn fields(&self) -> Fields {
        let value = Field::new("value", self.value.ty.clone(), true);
        Fields::from(vec![value, Field::new("count", DataType::Int64, false)])
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Bag {
    fn see(&mut self, group: usize, value: &[u8], times: i64) {
        match self.held[group].get_mut(value) {
            Some(count) => *count += times,
            None => {
                self.bytes += value.len() + ENTRY;
                self.held[group].insert(value.into(), times);
            }
        }
    }

    /// The values of a group and their counts.
    fn counted(&self, group: u32) -> Result<(ArrayRef, Vec<i64>)> {
        let held = &self.held[group as usize];
        Ok((self.value.array(held.keys().map(|value| &**value))?, held.values().copied().collect()))
    }

    fn percentiles(&self, groups: &[u32], params: &AggregateParams, between: bool) -> Result<ArrayRef> {
        let width = params.numbers.len();
        let mut found = Vec::with_capacity(groups.len() * width);
        for group in groups {
            let (values, counts) = self.counted(*group)?;
            let values = values.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?.values();
            let last = counts.iter().sum::<i64>() - 1;
            // The value at a place in the row of all values.
            let at = |place: i64| {
                let mut place = if params.descending { last - place } else { place };
                let mut at = 0;
                while at + 1 < counts.len() && place >= counts[at] {
                    place -= counts[at];
                    at += 1;
                }
                values[at]
            };
            let percentile = |share: f64| {
                let place = last as f64 * share;
                let (low, high) = (place.floor(), place.ceil());
                if !between {
                    // The first value up to which the share is reached.
                    let place = (share * (last + 1) as f64).ceil() as i64 - 1;
                    return at(place.max(0));
                }
                let (first, second) = (at(low as i64), at(high as i64));
                if low == high || first == second { first } else { (high - place) * first + (place - low) * second }
            };
            found.extend(params.numbers.iter().map(|share| (last >= 0).then(|| percentile(*share))));
        }
        listed(Arc::new(Float64Array::from(found)), groups.len(), params.list.then_some(width))
    }

    fn modes(&self, groups: &[u32], ties: Ties) -> Result<ArrayRef> {
        let mut chosen = Vec::with_capacity(groups.len());
        let null = self.value.null()?;
        for group in groups {
            let held = &self.held[*group as usize];
            let most = held.values().copied().max();
            let mut often = held.iter().filter(|(_, count)| Some(**count) == most).map(|(value, _)| &**value);
            let value = match ties {
                Ties::Smallest => often.next(),
                Ties::Largest => often.next_back(),
                Ties::Hashed => {
                    let often: Vec<&[u8]> = often.collect();
                    match often.as_slice() {
                        [] | [_] => often.first().copied(),
                        _ => {
                            let places = super::places::places(&self.value.array(often.iter().copied())?, held.len());
                            let first = places.iter().enumerate().min_by_key(|(_, place)| **place);
                            first.and_then(|(at, _)| often.get(at)).copied()
                        }
                    }
                }
            };
            chosen.push(value.unwrap_or(&null));
        }
        self.value.array(chosen.into_iter())
    }
}

/// Results one after the other, as lists of `width` where there is more than one a group; lists of nothing are null.
pub(super) fn listed(values: ArrayRef, groups: usize, width: Option<usize>) -> Result<ArrayRef> {
    let Some(width) = width else { return Ok(values) };
    let valid: Vec<bool> = (0..groups).map(|group| width > 0 && values.is_valid(group * width)).collect();
    let kept: Vec<u32> = (0u32..).zip(0..values.len()).filter(|(_, at)| values.is_valid(*at)).map(|(i, _)| i).collect();
    let values = take(&values, &UInt32Array::from(kept), None)?;
    let offsets = OffsetBuffer::from_lengths(valid.iter().map(|valid| if *valid { width } else { 0 }));
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(field, offsets, values, Some(NullBuffer::from(valid)))?))
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Bag {
    fn grow(&mut self, groups: usize) {
        self.held.resize_with(groups, Counts::new);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let first = column(values, 0)?;
        let rows = self.value.rows(first)?;
        let times = match values.get(1) {
            Some(times) => Some(times.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?),
            None => None,
        };
        let nulls = NullBuffer::union(first.logical_nulls().as_ref(), times.and_then(|times| times.nulls()));
        counting(nulls.as_ref(), groups, filter, |row, group| {
            let times = times.map_or(1, |times| times.value(row));
            if times < 0 {
                return Err(Error::data(format!("[_LEGACY_ERROR_TEMP_2013] negative values found in {times}"))
                    .hint("how often a value counts is zero or more"));
            }
            if times > 0 {
                self.see(group, rows.row(row).as_ref(), times);
            }
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            other.held[*from as usize].iter().for_each(|(value, times)| self.see(*to as usize, value, *times));
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let moved = std::mem::take(&mut self.held[from as usize]);
        for (value, times) in &moved {
            self.see(to as usize, value, *times);
        }
        self.held[from as usize] = moved;
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        let freed: usize = self.held[group as usize].keys().map(|value| value.len() + ENTRY).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.held[group as usize] = Counts::new();
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let held = groups.iter().map(|group| &self.held[*group as usize]);
        let offsets = OffsetBuffer::from_lengths(held.clone().map(BTreeMap::len));
        let values = self.value.array(held.clone().flat_map(|counts| counts.keys()).map(|value| &**value))?;
        let counts = Int64Array::from_iter_values(held.flat_map(|counts| counts.values().copied()));
        let entries = StructArray::try_new(self.fields(), vec![values, Arc::new(counts)], None)?;
        let field = Arc::new(Field::new_list_field(entries.data_type().clone(), false));
        Ok(vec![Arc::new(ListArray::try_new(field, offsets, Arc::new(entries), None)?)])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let lists = column(state, 0)?.as_list_opt::<i32>().ok_or_else(unfit)?;
        let entries = lists.values().as_struct_opt().ok_or_else(unfit)?;
        let rows = self.value.rows(column(entries.columns(), 0)?)?;
        let counts = column(entries.columns(), 1)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        for (group, ends) in groups.iter().zip(lists.value_offsets().windows(2)) {
            self.reset(*group);
            for row in ends[0] as usize..ends[1] as usize {
                self.see(*group as usize, rows.row(row).as_ref(), counts.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        match &self.search {
            Search::Between(params) => self.percentiles(groups, params, true),
            Search::Seen(params) => self.percentiles(groups, params, false),
            Search::Mode(ties) => self.modes(groups, *ties),
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::new(Field::new_list_field(DataType::Struct(self.fields()), false)))]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Counts>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
