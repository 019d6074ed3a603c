//! Sessions where the order of rows decides a result: rows follow their event time, not their arrival.
//!
//! A thread keeps the rows of each span of time apart, so that the sessions of the state can come between them.

use std::iter::Peekable;

use levada_connector_api::Result;

use super::super::plan::Plan;
use super::super::spans::{Span, Spans};
use super::{Delta, Shard, Table};

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are those that the table gave out")]
impl Table {
    /// The group of the rows of a key from `start` to `end`: spans are kept in order and do not become one.
    pub(super) fn atom(&mut self, key: u32, start: i64, end: i64) -> u32 {
        let spans = &self.spans[key as usize];
        let at = spans.partition_point(|span| (span.start, span.end) < (start, end));
        if let Some(span) = spans.get(at).filter(|span| (span.start, span.end) == (start, end)) {
            return span.group;
        }
        let group = self.new_group();
        self.spans[key as usize].insert(at, Span { start, end, group });
        group
    }
}

/// The next span by its start, and whether it is the state's: that comes first where both start at once.
fn next<'a>(
    state: &mut Peekable<impl Iterator<Item = Span>>,
    atoms: &mut Peekable<impl Iterator<Item = &'a Span>>,
) -> Option<(Span, bool)> {
    let first = match (state.peek(), atoms.peek()) {
        (Some(held), Some(atom)) => held.start <= atom.start,
        (held, _) => held.is_some(),
    };
    if first { state.next().map(|span| (span, true)) } else { atoms.next().map(|span| (*span, false)) }
}

/// How many sessions spans in order make among themselves.
fn sessions(atoms: &[Span]) -> u64 {
    let mut end = None;
    let mut count = 0;
    for atom in atoms {
        count += u64::from(end.is_none_or(|end| end < atom.start));
        end = end.max(Some(atom.end));
    }
    count
}

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are those that the table gave out")]
impl Shard {
    /// Takes over what a thread counted of the keys `keys`, in the order of time.
    pub(super) fn merge_in_order(&mut self, plan: &Plan, delta: &Delta, keys: &[u32]) -> Result<()> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for number in keys {
            let own = self.table.key(delta.table.keys.hash_of(*number), delta.table.keys.get(*number))?;
            self.change(own);
            let atoms = &delta.table.spans[*number as usize];
            let held = std::mem::take(&mut self.table.spans[own as usize]);
            let before = held.len();
            let mut spans = Spans::with_capacity(before + 1);
            let (mut state, mut rows) = (held.into_iter().peekable(), atoms.iter().peekable());
            while let Some((span, of_state)) = next(&mut state, &mut rows) {
                match spans.last_mut() {
                    Some(last) if last.end >= span.start => {
                        last.end = last.end.max(span.end);
                        if of_state {
                            let into = last.group;
                            self.count(delta, &mut from, &mut to)?;
                            self.absorb(span.group, into)?;
                        } else {
                            from.push(span.group);
                            to.push(last.group);
                        }
                    }
                    _ if of_state => spans.push(span),
                    _ => {
                        let group = self.table.new_group();
                        from.push(span.group);
                        to.push(group);
                        spans.push(Span { group, ..span });
                        if plan.expires {
                            self.closing.entry(span.end).or_default().push((own, group));
                        }
                    }
                }
            }
            self.sessions = self.sessions + spans.len() - before;
            self.updated += sessions(atoms);
            self.table.spans[own as usize] = spans;
        }
        self.count(delta, &mut from, &mut to)
    }

    /// Counts the delta's groups `from` in the groups `to`, and empties both lists.
    fn count(&mut self, delta: &Delta, from: &mut Vec<u32>, to: &mut Vec<u32>) -> Result<()> {
        for (accumulator, counted) in self.table.accumulators.iter_mut().zip(&delta.table.accumulators) {
            accumulator.grow(self.table.bound as usize);
            accumulator.merge(counted.as_ref(), from, to)?;
        }
        from.clear();
        to.clear();
        Ok(())
    }

    /// Makes a session of the state the later part of another.
    fn absorb(&mut self, group: u32, into: u32) -> Result<()> {
        for accumulator in &mut self.table.accumulators {
            accumulator.fuse(group, into)?;
            accumulator.reset(group);
        }
        self.table.free.push(group);
        Ok(())
    }
}
