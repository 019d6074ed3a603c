//! Variance and its kin, by Welford's updates and the merges of Chan, Golub and LeVeque, as Spark computes them.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use levada_connector_api::{Error, Result};
use levada_expressions::{AggregateFunction, PairFunction};

use super::{Accumulator, column, counting, same, unfit};

/// Central moments: count, mean, and the sums of the second to fourth powers of the differences from it.
pub(super) struct Moments {
    function: AggregateFunction,
    held: Vec<[f64; 5]>,
}

impl Moments {
    pub(super) fn new(function: AggregateFunction) -> Self {
        Self { function, held: Vec::new() }
    }
}

fn together(a: [f64; 5], b: [f64; 5]) -> [f64; 5] {
    let ([n1, mean1, m2a, m3a, m4a], [n2, mean2, m2b, m3b, m4b]) = (a, b);
    let n = n1 + n2;
    if n1 == 0.0 || n2 == 0.0 {
        return if n2 == 0.0 { a } else { b };
    }
    let delta = mean2 - mean1;
    let per = delta / n;
    let m2 = m2a + m2b + delta * per * n1 * n2;
    let m3 = m3a + m3b + per * per * delta * n1 * n2 * (n1 - n2) + 3.0 * per * (n1 * m2b - n2 * m2a);
    let m4 = m4a
        + m4b
        + per * per * per * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
        + 6.0 * per * per * (n1 * n1 * m2b + n2 * n2 * m2a)
        + 4.0 * per * (n1 * m3b - n2 * m3a);
    [n, mean1 + per * n2, m2, m3, m4]
}

fn result(of: &Moments, [n, _, m2, m3, m4]: [f64; 5]) -> Result<Option<f64>> {
    use AggregateFunction as F;
    let sample = (n > 1.0).then(|| m2 / (n - 1.0));
    if n == 0.0 {
        return Ok(None);
    }
    Ok(match of.function {
        F::VarPop => Some(m2 / n),
        F::StddevPop => Some((m2 / n).sqrt()),
        F::VarSamp => sample,
        F::StddevSamp => sample.map(f64::sqrt),
        _ if m2 == 0.0 => None,
        F::Skewness => Some(n.sqrt() * m3 / (m2 * m2 * m2).sqrt()),
        F::Kurtosis => Some(n * m4 / (m2 * m2) - 3.0),
        _ => None,
    })
}

/// What a value starts with where a difference from itself is summed: not zero, if it is not finite.
fn zero_of(value: f64) -> f64 {
    if value.is_finite() { 0.0 } else { f64::NAN }
}

/// Two columns together: count, both means, the sum of the products of the differences, and those of their squares.
pub(super) struct Comoments {
    function: PairFunction,
    /// Whether a division by zero is an error.
    ansi: bool,
    held: Vec<[f64; 6]>,
}

impl Comoments {
    pub(super) fn new(function: PairFunction, ansi: bool) -> Self {
        Self { function, ansi, held: Vec::new() }
    }
}

fn both(a: [f64; 6], b: [f64; 6]) -> [f64; 6] {
    let ([n1, x1, y1, c1, xx1, yy1], [n2, x2, y2, c2, xx2, yy2]) = (a, b);
    let n = n1 + n2;
    if n1 == 0.0 || n2 == 0.0 {
        return if n2 == 0.0 { a } else { b };
    }
    let (dx, dy) = (x2 - x1, y2 - y1);
    let (px, py) = (dx / n, dy / n);
    let weight = n1 * n2;
    [
        n,
        x1 + px * n2,
        y1 + py * n2,
        c1 + c2 + px * dy * weight,
        xx1 + xx2 + dx * px * weight,
        yy1 + yy2 + dy * py * weight,
    ]
}

fn coresult(of: &Comoments, [n, x, y, c, xx, yy]: [f64; 6]) -> Result<Option<f64>> {
    use PairFunction as F;
    Ok(match of.function {
        F::CovarPop if n > 0.0 => Some(c / n),
        F::CovarSamp if n > 1.0 => Some(c / (n - 1.0)),
        // Spark divides as SQL does: values that are all equal have no correlation.
        F::Corr if n > 1.0 && xx * yy == 0.0 && of.ansi => {
            return Err(Error::data("[DIVIDE_BY_ZERO] corr of values that are all equal is a division by zero")
                .hint("set ansi=false to get null instead"));
        }
        F::Corr if n > 1.0 && xx * yy != 0.0 => Some(c / (xx * yy).sqrt()),
        // The first argument is the one that is not explained by the other.
        F::SumOfSquares if n > 0.0 => Some(xx),
        F::SumOfProducts if n > 0.0 => Some(c),
        F::RegrSlope if n > 0.0 && yy != 0.0 => Some(c / yy),
        F::RegrIntercept if n > 0.0 && yy != 0.0 => Some(x - c / yy * y),
        F::RegrR2 if n > 0.0 && yy != 0.0 && xx == 0.0 => Some(1.0),
        F::RegrR2 if n > 0.0 && yy != 0.0 => {
            let corr = c / (xx * yy).sqrt();
            Some(corr * corr)
        }
        _ => None,
    })
}

macro_rules! accumulate {
    ($type:ty, $width:literal, $columns:literal, $merge:ident, $result:ident, |$values:ident, $row:ident| $one:expr) => {
        #[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
        impl Accumulator for $type {
            fn grow(&mut self, groups: usize) {
                self.held.resize(groups, [0.0; $width]);
            }

            fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
                let mut nulls: Option<NullBuffer> = None;
                let mut $values: [&[f64]; $columns] = [&[]; $columns];
                for (i, values) in values.iter().take($columns).enumerate() {
                    let values = values.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
                    nulls = NullBuffer::union(nulls.as_ref(), values.nulls());
                    $values[i] = values.values();
                }
                counting(nulls.as_ref(), groups, filter, |$row, group| {
                    self.held[group] = $merge(self.held[group], $one);
                    Ok(())
                })
            }

            fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
                let other: &Self = same(other)?;
                for (from, to) in from.iter().zip(to) {
                    self.held[*to as usize] = $merge(self.held[*to as usize], other.held[*from as usize]);
                }
                Ok(())
            }

            fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
                self.held[to as usize] = $merge(self.held[to as usize], self.held[from as usize]);
                Ok(())
            }

            fn reset(&mut self, group: u32) {
                self.held[group as usize] = [0.0; $width];
            }

            fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
                let column = |i: usize| {
                    let values = groups.iter().map(|group| self.held[*group as usize][i]);
                    Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
                };
                Ok((0..$width).map(column).collect())
            }

            fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
                for i in 0..$width {
                    let values = column(state, i)?.as_primitive_opt::<Float64Type>().ok_or_else(unfit)?;
                    for (group, value) in groups.iter().zip(values.values()) {
                        self.held[*group as usize][i] = *value;
                    }
                }
                Ok(())
            }

            fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
                let values = groups.iter().map(|group| $result(self, self.held[*group as usize]));
                Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
            }

            fn state_types(&self) -> Vec<DataType> {
                vec![DataType::Float64; $width]
            }

            fn memory(&self) -> usize {
                self.held.capacity() * size_of::<[f64; $width]>()
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    };
}

accumulate!(Moments, 5, 1, together, result, |values, row| {
    let (x, zero) = (values[0][row], zero_of(values[0][row]));
    [1.0, x, zero, zero, zero]
});
accumulate!(Comoments, 6, 2, both, coresult, |values, row| {
    let (x, y) = (values[0][row], values[1][row]);
    [1.0, x, y, zero_of(x) + zero_of(y), zero_of(x), zero_of(y)]
});
