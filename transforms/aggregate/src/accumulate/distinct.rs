//! `approx_count_distinct`: HyperLogLog++ over Spark's hashes, with Spark's registers and estimate.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use levada_connector_api::Result;

use super::{Accumulator, column, counting, same, unfit};

/// Up to how many counted values the linear count is taken, by precision from 4 on: from the paper of Heule, Nunkesser
/// and Hall.
const LINEAR: [f64; 15] = [
    10.0, 20.0, 40.0, 80.0, 220.0, 400.0, 900.0, 1800.0, 3100.0, 6500.0, 11500.0, 20000.0, 50000.0, 120_000.0,
    350_000.0,
];

/// What a group has seen.
#[derive(Debug, Clone)]
enum Registers {
    /// The registers that are not zero, by their numbers.
    Few(Vec<(u32, u8)>),
    All(Box<[u8]>),
}

/// Registers by group: of each the longest run of zeros that a hash had.
#[derive(Debug)]
pub(super) struct Distinct {
    /// How many bits of a hash choose the register.
    bits: u32,
    held: Vec<Registers>,
    bytes: usize,
}

impl Distinct {
    /// `error` is the relative standard deviation of the estimate.
    pub(super) fn new(error: f64) -> Self {
        let bits = (2.0 * (1.106 / error).log2()).ceil();
        // In range for every error that a call may ask for.
        let bits = bits.clamp(4.0, 32.0) as u32;
        Self { bits, held: Vec::new(), bytes: 0 }
    }

    fn registers(&self) -> usize {
        1 << self.bits
    }

    /// How many registers are listed rather than held in full: what takes no more than half of the room.
    fn few(&self) -> usize {
        self.registers() / (2 * size_of::<(u32, u8)>())
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups and registers are valid by construction")]
impl Distinct {
    fn see(&mut self, group: usize, hash: u64) {
        let register = (hash >> (64 - self.bits)) as u32;
        let rest = (hash << self.bits) | (1 << (self.bits - 1));
        // At most 64.
        self.raise(group, register, rest.leading_zeros() as u8 + 1);
    }

    fn raise(&mut self, group: usize, register: u32, to: u8) {
        let few = self.few();
        let registers = self.registers();
        match &mut self.held[group] {
            Registers::All(all) => {
                let held = &mut all[register as usize];
                *held = (*held).max(to);
            }
            Registers::Few(list) => match list.binary_search_by_key(&register, |(register, _)| *register) {
                Ok(at) => list[at].1 = list[at].1.max(to),
                Err(at) if list.len() < few => {
                    list.insert(at, (register, to));
                    self.bytes += size_of::<(u32, u8)>();
                }
                Err(_) => {
                    let mut all = vec![0u8; registers].into_boxed_slice();
                    list.iter().for_each(|(register, run)| all[*register as usize] = *run);
                    all[register as usize] = to;
                    self.bytes = self.bytes + registers - list.len() * size_of::<(u32, u8)>();
                    self.held[group] = Registers::All(all);
                }
            },
        }
    }

    /// Calls `each` with the registers that are not zero.
    fn each(&self, group: usize, mut each: impl FnMut(u32, u8)) {
        match &self.held[group] {
            Registers::Few(list) => list.iter().for_each(|(register, run)| each(*register, *run)),
            Registers::All(all) => {
                for (register, run) in (0u32..).zip(all.iter()).filter(|(_, run)| **run > 0) {
                    each(register, *run);
                }
            }
        }
    }

    fn estimate(&self, group: usize) -> i64 {
        let count = self.registers() as f64;
        let (mut inverse, mut zeros) = (count, count);
        // Powers of two and their sums are exact here, in any order.
        self.each(group, |_, run| {
            inverse += (-f64::from(run)).exp2() - 1.0;
            zeros -= 1.0;
        });
        let alpha = match self.bits {
            4 => 0.673,
            5 => 0.697,
            6 => 0.709,
            _ => 0.7213 / (1.0 + 1.079 / count),
        };
        let raw = alpha * count * count / inverse;
        if zeros > 0.0 {
            let linear = count * (count / zeros).ln();
            let limit = LINEAR.get(self.bits as usize - 4);
            if limit.is_some_and(|limit| linear <= *limit) || raw <= 2.5 * count {
                return linear.round() as i64;
            }
        }
        let biased = limited(self.bits) && raw < 5.0 * count;
        let estimate = if biased { unbiased(raw, alpha, count) } else { raw };
        estimate.round() as i64
    }
}

/// Whether estimates are corrected: beyond, Spark does not either.
fn limited(bits: u32) -> bool {
    bits < 19
}

/// The number of values whose raw estimate is `raw` on average.
///
/// The paper has a table of measured averages, from which Spark interpolates. Here they are computed: with `n` values a
/// register is at most `k` with probability `exp(-n / m / 2^k)`. Both agree but for what was left of chance in the table.
fn unbiased(raw: f64, alpha: f64, count: f64) -> f64 {
    let expected = |values: f64| {
        let load = values / count;
        let below = |k: i32| (-load * (-f64::from(k)).exp2()).exp();
        let (mut mean, mut square) = (below(0), below(0));
        for k in 1..=64 {
            let (share, value) = (below(k) - below(k - 1), (-f64::from(k)).exp2());
            mean += share * value;
            square += share * value * value;
        }
        // The mean of the inverse of a sum, to the second order.
        let spread = (square - mean * mean) / (count * mean * mean);
        alpha * count / mean * (1.0 + spread)
    };
    let (mut low, mut high) = (0.0, raw.max(1.0) * 2.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if expected(middle) < raw {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Distinct {
    fn grow(&mut self, groups: usize) {
        self.held.resize(groups, Registers::Few(Vec::new()));
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let hashes = column(values, 0)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        counting(hashes.nulls(), groups, filter, |row, group| {
            self.see(group, hashes.values()[row].cast_unsigned());
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            other.each(*from as usize, |register, run| self.raise(*to as usize, register, run));
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let mut seen = Vec::new();
        self.each(from as usize, |register, run| seen.push((register, run)));
        seen.into_iter().for_each(|(register, run)| self.raise(to as usize, register, run));
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        let freed = match &self.held[group as usize] {
            Registers::Few(list) => list.len() * size_of::<(u32, u8)>(),
            Registers::All(all) => all.len(),
        };
        self.bytes = self.bytes.saturating_sub(freed);
        self.held[group as usize] = Registers::Few(Vec::new());
    }

    /// All registers, or of a few each with its number.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let bytes = |group: &u32| match &self.held[*group as usize] {
            Registers::All(all) => all.to_vec(),
            Registers::Few(list) => {
                let entry = |(register, run): &(u32, u8)| {
                    let [a, b, c, d] = register.to_le_bytes();
                    [a, b, c, d, *run]
                };
                list.iter().flat_map(entry).collect()
            }
        };
        Ok(vec![Arc::new(BinaryArray::from_iter_values(groups.iter().map(bytes)))])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let state = column(state, 0)?.as_binary_opt::<i32>().ok_or_else(unfit)?;
        for (group, bytes) in groups.iter().zip(state.iter()) {
            self.reset(*group);
            let bytes = bytes.unwrap_or_default();
            if bytes.len() == self.registers() {
                self.bytes += bytes.len();
                self.held[*group as usize] = Registers::All(bytes.into());
                continue;
            }
            let (entries, rest) = bytes.as_chunks::<5>();
            if !rest.is_empty() {
                return Err(unfit());
            }
            for [a, b, c, d, run] in entries {
                let register = u32::from_le_bytes([*a, *b, *c, *d]);
                if register as usize >= self.registers() {
                    return Err(unfit());
                }
                self.raise(*group as usize, register, *run);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| self.estimate(*group as usize)))))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Registers>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
