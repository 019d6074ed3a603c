//! Accumulators: what an aggregate has seen so far, for many groups at once.
//!
//! Groups are numbers. Everything about a group can be read without destroying it, so that touched groups are emitted,
//! changed groups are checkpointed and closed groups are reused, each for itself.

mod bag;
mod bits;
mod collect;
mod count;
mod distinct;
mod extreme;
mod histogram;
mod joined;
mod moments;
mod places;
mod quantiles;
mod sum;
mod value;

pub use value::canonical;

use std::any::Any;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field};
use levada_connector_api::{Error, Result};
use levada_expressions::{AggregateCall, AggregateFunction, Overflow};

/// What one aggregate has seen, by group.
///
/// Numbers of groups below what [`grow`](Self::grow) was last called with are valid everywhere.
pub(crate) trait Accumulator: Send + Sync {
    /// Makes room for groups up to `groups`; new ones have seen nothing.
    fn grow(&mut self, groups: usize);

    /// Sees rows: row `i` of `values` belongs to group `groups[i]` and counts where `filter` is true.
    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()>;

    /// Sees what another of the same kind has seen: its group `from[i]` is a part of the group `to[i]`, and comes later.
    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()>;

    /// Group `from` is a part of group `to` of the same accumulator.
    fn fuse(&mut self, from: u32, to: u32) -> Result<()>;

    /// A group has seen nothing again.
    fn reset(&mut self, group: u32);

    /// What the groups have seen, as columns.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Takes columns of [`state`](Self::state) back: row `i` is what group `groups[i]` has seen.
    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()>;

    /// The groups' results.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The columns of `state`.
    fn state_types(&self) -> Vec<DataType>;

    /// The memory held, in bytes.
    fn memory(&self) -> usize;

    /// For [`merge`](Self::merge).
    fn as_any(&self) -> &dyn Any;
}

/// The other accumulator of a merge, in its own type.
pub(crate) fn same<T: 'static>(other: &dyn Accumulator) -> Result<&T> {
    other.as_any().downcast_ref().ok_or_else(|| Error::internal("accumulators of two kinds were merged"))
}

/// An accumulator for a call, with no groups.
///
/// # Errors
/// The types of the arguments cannot be accumulated.
pub(crate) fn accumulator(call: &AggregateCall) -> Result<Box<dyn Accumulator>> {
    use AggregateFunction as F;
    let input = call.args.first().map_or(&DataType::Null, |arg| arg.data_type());
    Ok(match call.function {
        F::OfPairs(function) => Box::new(moments::Comoments::new(function, call.overflow == Overflow::Error)),
        F::Count => Box::new(count::Count::default()),
        F::Sum | F::Avg => sum::make(call, input)?,
        F::Min | F::Max => extreme::make(input, call.function == F::Max)?,
        F::VarSamp | F::VarPop | F::StddevSamp | F::StddevPop | F::Skewness | F::Kurtosis => {
            Box::new(moments::Moments::new(call.function))
        }
        F::First => Box::new(value::Chosen::new(input, None, value::Choice::First)?),
        F::FirstValid => Box::new(value::Chosen::new(input, None, value::Choice::FirstValid)?),
        F::Last => Box::new(value::Chosen::new(input, None, value::Choice::Last)?),
        F::LastValid => Box::new(value::Chosen::new(input, None, value::Choice::LastValid)?),
        F::MaxBy | F::MinBy => {
            let by = call.args.get(1).map(|arg| arg.data_type());
            let choice = if call.function == F::MaxBy { value::Choice::Largest } else { value::Choice::Smallest };
            Box::new(value::Chosen::new(input, by, choice)?)
        }
        F::CollectList => Box::new(collect::Collect::new(input, false)?),
        F::CollectSet => Box::new(collect::Collect::new(input, true)?),
        F::ApproxCountDistinct => Box::new(distinct::Distinct::new(call.params.accuracy)),
        F::Percentile => Box::new(bag::Bag::new(input, bag::Search::Between(call.params.clone()))?),
        F::PercentileDisc => Box::new(bag::Bag::new(input, bag::Search::Seen(call.params.clone()))?),
        F::Mode => Box::new(bag::Bag::new(input, bag::Search::Mode(call.params.ties))?),
        F::Histogram => {
            let most = call.params.numbers.first().map_or(2, |most| *most as usize);
            Box::new(histogram::Histogram::new(most.max(2), &call.ty))
        }
        F::PercentileApprox => {
            let ty = match &call.ty {
                DataType::List(item) => item.data_type(),
                ty => ty,
            };
            Box::new(quantiles::Quantiles::new(call.params.clone(), ty.clone()))
        }
        F::Listagg => {
            let by = call.args.iter().skip(1).map(|arg| arg.data_type().clone()).collect();
            Box::new(joined::Joined::new(input, by, call.params.clone())?)
        }
        F::BitAnd | F::BitOr | F::BitXor => Box::new(bits::Bits::new(call.function, input)),
    })
}

/// The columns of the state of `call`, named by its number.
pub(crate) fn state_fields(number: usize, accumulator: &dyn Accumulator) -> Vec<Field> {
    let types = accumulator.state_types();
    types.into_iter().enumerate().map(|(i, ty)| Field::new(format!("a{number}.{i}"), ty, true)).collect()
}

/// Calls `each` with the rows that count: those whose first value is not null and that pass the filter.
pub(crate) fn counting(
    validity: Option<&arrow::buffer::NullBuffer>,
    groups: &[u32],
    filter: Option<&BooleanArray>,
    mut each: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    match (validity, filter) {
        (None, None) => {
            for (row, group) in groups.iter().enumerate() {
                each(row, *group as usize)?;
            }
        }
        _ => {
            for (row, group) in groups.iter().enumerate() {
                let valid = validity.is_none_or(|validity| validity.is_valid(row));
                if valid && filter.is_none_or(|filter| passes(filter, row)) {
                    each(row, *group as usize)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a filter lets a row through; null does not.
pub(crate) fn passes(filter: &BooleanArray, row: usize) -> bool {
    use arrow::array::Array;
    filter.is_valid(row) && filter.value(row)
}

/// A column of values, or an error that says that the state does not fit.
pub(crate) fn column(state: &[ArrayRef], index: usize) -> Result<&ArrayRef> {
    state.get(index).ok_or_else(unfit)
}

pub(crate) fn unfit() -> Error {
    Error::corrupt("the state of an aggregate does not have the columns that it should have")
}

/// A value that the result's type cannot hold.
pub(crate) fn overflow(what: &str) -> Error {
    Error::data(format!("[ARITHMETIC_OVERFLOW] {what}"))
        .hint("use try_sum for null instead, cast to a wider type, or set ansi=false")
}
