//! `histogram_numeric`: bins of any width, after Ben-Haim and Tom-Tov (A Streaming Parallel Decision Tree Algorithm, 2010).
//!
//! A value that has no bin gets one; of too many bins the two nearest become one, at their weighted mean. Which of several
//! pairs that are as near, Spark leaves to Java's random numbers with a seed that is always the same, and so does this.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use levada_connector_api::Result;

use super::{Accumulator, column, counting, same, unfit};

/// A place and how much is there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    x: f64,
    y: f64,
}

/// The numbers of `java.util.Random`, as its documentation defines them.
struct Random(u64);

impl Random {
    const MASK: u64 = (1 << 48) - 1;

    fn new() -> Self {
        Self((31183 ^ 0x5_DEEC_E66D) & Self::MASK)
    }

    fn bits(&mut self, count: u32) -> u64 {
        self.0 = self.0.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & Self::MASK;
        self.0 >> (48 - count)
    }

    /// A number from 0 to below 1.
    fn double(&mut self) -> f64 {
        ((self.bits(26) << 27) + self.bits(27)) as f64 / (1u64 << 53) as f64
    }
}

/// Joins the nearest bins until there are `most`.
#[allow(clippy::indexing_slicing, reason = "places below the length")]
fn trim(bins: &mut Vec<Bin>, most: usize, random: &mut Random) {
    while bins.len() > most {
        let (mut nearest, mut least, mut ties) = (0, bins[1].x - bins[0].x, 1u32);
        for at in 1..bins.len() - 1 {
            let apart = bins[at + 1].x - bins[at].x;
            if apart < least {
                (nearest, least, ties) = (at, apart, 1);
            } else if apart == least {
                ties += 1;
                if random.double() <= 1.0 / f64::from(ties) {
                    nearest = at;
                }
            }
        }
        let next = bins.remove(nearest + 1);
        let bin = &mut bins[nearest];
        let all = bin.y + next.y;
        // In this order: another one rounds otherwise.
        bin.x *= bin.y / all;
        bin.x += next.x / all * next.y;
        bin.y = all;
    }
}

/// The bins of each group.
pub(super) struct Histogram {
    most: usize,
    /// The type of what is counted, which comes as doubles.
    ty: DataType,
    held: Vec<Vec<Bin>>,
    /// The ties of groups that were added to since they had nothing.
    random: Vec<Option<Random>>,
    bytes: usize,
}

impl Histogram {
    pub(super) fn new(most: usize, ty: &DataType) -> Self {
        let ty = match ty {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) => fields.first().map_or(DataType::Float64, |x| x.data_type().clone()),
                _ => DataType::Float64,
            },
            _ => DataType::Float64,
        };
        Self { most, ty, held: Vec::new(), random: Vec::new(), bytes: 0 }
    }

    /// The list of the bins of each group; null where there are none and `null` says so.
    fn lists(&self, groups: &[u32], ty: &DataType, null: bool) -> Result<ArrayRef> {
        #[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
        let held = || groups.iter().map(|group| &self.held[*group as usize]);
        let places: ArrayRef = Arc::new(Float64Array::from_iter_values(held().flatten().map(|bin| bin.x)));
        let places = match ty {
            DataType::Float64 => places,
            DataType::Date32 => cast(&cast(&places, &DataType::Int32)?, ty)?,
            DataType::Timestamp(_, _) => cast(&cast(&places, &DataType::Int64)?, ty)?,
            ty => cast(&places, ty)?,
        };
        let heights = Float64Array::from_iter_values(held().flatten().map(|bin| bin.y));
        let fields = fields(ty);
        let bins = StructArray::try_new(fields, vec![places, Arc::new(heights)], None)?;
        let offsets = OffsetBuffer::from_lengths(held().map(Vec::len));
        let nulls = null.then(|| held().map(|bins| !bins.is_empty()).collect::<NullBuffer>());
        let field = Arc::new(Field::new_list_field(bins.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(bins), nulls)?))
    }
}

fn fields(ty: &DataType) -> Fields {
    Fields::from(vec![Field::new("x", ty.clone(), true), Field::new("y", DataType::Float64, true)])
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Histogram {
    fn add(&mut self, group: usize, value: f64) {
        let bins = &mut self.held[group];
        let before = bins.len();
        let at = bins.partition_point(|bin| bin.x < value);
        match bins.get_mut(at) {
            Some(bin) if bin.x == value => bin.y += 1.0,
            _ => {
                bins.insert(at, Bin { x: value, y: 1.0 });
                trim(bins, self.most, self.random[group].get_or_insert_with(Random::new));
            }
        }
        self.bytes = self.bytes + self.held[group].len() * size_of::<Bin>() - before * size_of::<Bin>();
    }

    /// Puts bins to those of a group, which then are as many as they may be.
    fn join(&mut self, group: usize, other: &[Bin]) {
        let bins = &mut self.held[group];
        let before = bins.len();
        if bins.is_empty() {
            bins.extend_from_slice(other);
        } else {
            bins.extend_from_slice(other);
            bins.sort_by(|a, b| a.x.total_cmp(&b.x));
            trim(bins, self.most, &mut Random::new());
        }
        self.bytes = self.bytes + bins.len() * size_of::<Bin>() - before * size_of::<Bin>();
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Histogram {
    fn grow(&mut self, groups: usize) {
        self.held.resize_with(groups, Vec::new);
        self.random.resize_with(groups, || None);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = column(values, 0)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
        counting(values.nulls(), groups, filter, |row, group| {
            self.add(group, values.value(row));
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            self.join(*to as usize, &other.held[*from as usize]);
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let bins = self.held[from as usize].clone();
        self.join(to as usize, &bins);
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        let bins = std::mem::take(&mut self.held[group as usize]);
        self.bytes = self.bytes.saturating_sub(bins.len() * size_of::<Bin>());
        self.random[group as usize] = None;
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.lists(groups, &DataType::Float64, false)?])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let lists = column(state, 0)?.as_list_opt::<i32>().ok_or_else(unfit)?;
        let bins = lists.values().as_struct_opt().ok_or_else(unfit)?;
        let x = column(bins.columns(), 0)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
        let y = column(bins.columns(), 1)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
        for (group, ends) in groups.iter().zip(lists.value_offsets().windows(2)) {
            self.reset(*group);
            let rows = ends[0] as usize..ends[1] as usize;
            let bins: Vec<Bin> = rows.map(|row| Bin { x: x.value(row), y: y.value(row) }).collect();
            self.join(*group as usize, &bins);
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.lists(groups, &self.ty, true)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields(&DataType::Float64)), true)))]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Vec<Bin>>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
