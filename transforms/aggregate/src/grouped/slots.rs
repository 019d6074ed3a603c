//! The panes of one key, by time, each with the group that its rows are counted in.

use std::collections::{BTreeMap, VecDeque};

/// A queue moves at most so many panes to make room for one that is late; beyond it the panes become a tree.
const NEAR: usize = 1024;

/// Panes by their starts.
///
/// Most keys have one, and most panes come in the order of time, a few of them a little late: they are appended to a queue,
/// and taken from its front when they close. Panes in a wild order are kept in a tree.
#[derive(Debug)]
pub(super) enum Slots {
    Few(Option<(i64, u32)>),
    Queue(VecDeque<(i64, u32)>),
    Tree(BTreeMap<i64, u32>),
}

impl Default for Slots {
    fn default() -> Self {
        Self::Few(None)
    }
}

/// What [`Slots::get_or_add`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) group: u32,
    /// Of a pane that was added: the panes before and after it.
    pub(super) added: Option<(Option<i64>, Option<i64>)>,
}

impl Slots {
    /// The group of a pane, which is asked for when the pane is new.
    pub(super) fn get_or_add(&mut self, pane: i64, group: impl FnOnce() -> u32) -> Found {
        let old = |group| Found { group, added: None };
        match self {
            Self::Few(None) => {
                let group = group();
                *self = Self::Few(Some((pane, group)));
                Found { group, added: Some((None, None)) }
            }
            Self::Few(Some((own, group))) if *own == pane => old(*group),
            Self::Few(Some(own)) => {
                *self = Self::Queue(VecDeque::from([*own]));
                self.get_or_add(pane, group)
            }
            Self::Queue(queue) => {
                let at = match queue.back() {
                    Some((last, _)) if *last < pane => queue.len(),
                    Some((last, group)) if *last == pane => return old(*group),
                    _ => match queue.binary_search_by_key(&pane, |(start, _)| *start) {
                        Ok(at) => return old(queue.get(at).map_or(0, |(_, group)| *group)),
                        Err(at) => at,
                    },
                };
                if at.min(queue.len() - at) > NEAR {
                    *self = Self::Tree(std::mem::take(queue).into_iter().collect());
                    return self.get_or_add(pane, group);
                }
                let before = at.checked_sub(1).and_then(|at| queue.get(at)).map(|(start, _)| *start);
                let after = queue.get(at).map(|(start, _)| *start);
                let group = group();
                queue.insert(at, (pane, group));
                Found { group, added: Some((before, after)) }
            }
            Self::Tree(tree) => {
                if let Some(group) = tree.get(&pane) {
                    return old(*group);
                }
                let before = tree.range(..pane).next_back().map(|(start, _)| *start);
                let after = tree.range(pane..).next().map(|(start, _)| *start);
                let group = group();
                tree.insert(pane, group);
                Found { group, added: Some((before, after)) }
            }
        }
    }

    /// How many panes there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(one) => usize::from(one.is_some()),
            Self::Queue(queue) => queue.len(),
            Self::Tree(tree) => tree.len(),
        }
    }

    /// The first pane.
    pub(super) fn oldest(&self) -> Option<i64> {
        match self {
            Self::Few(one) => one.map(|(start, _)| start),
            Self::Queue(queue) => queue.front().map(|(start, _)| *start),
            Self::Tree(tree) => tree.first_key_value().map(|(start, _)| *start),
        }
    }

    /// The last pane.
    pub(super) fn newest(&self) -> Option<i64> {
        match self {
            Self::Few(one) => one.map(|(start, _)| start),
            Self::Queue(queue) => queue.back().map(|(start, _)| *start),
            Self::Tree(tree) => tree.last_key_value().map(|(start, _)| *start),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(one) => one.is_none(),
            Self::Queue(queue) => queue.is_empty(),
            Self::Tree(tree) => tree.is_empty(),
        }
    }

    /// Calls `each` with the panes from `from` to before `to` and their groups, in the order of time.
    pub(super) fn each(&self, from: i64, to: i64, mut each: impl FnMut(i64, u32)) {
        match self {
            Self::Few(one) => {
                let one = one.filter(|(start, _)| (from..to).contains(start));
                one.into_iter().for_each(|(start, group)| each(start, group));
            }
            Self::Queue(queue) => {
                let first = queue.partition_point(|(start, _)| *start < from);
                let own = queue.range(first..).take_while(|(start, _)| *start < to);
                own.for_each(|(start, group)| each(*start, *group));
            }
            Self::Tree(tree) if from < to => tree.range(from..to).for_each(|(start, group)| each(*start, *group)),
            Self::Tree(_) => {}
        }
    }

    /// The same for one range after another: `place`, which is 0 at first, is where the one before began.
    pub(super) fn each_next(&self, place: &mut usize, from: i64, to: i64, mut each: impl FnMut(i64, u32)) {
        let Self::Queue(queue) = self else { return self.each(from, to, each) };
        // Ranges that follow each other begin a few panes further on; others are looked for.
        let (near, far) = (*place, place.saturating_add(8));
        *place = match queue.get(far) {
            Some((start, _)) if *start < from => queue.partition_point(|(start, _)| *start < from),
            _ => near + queue.range(near.min(queue.len())..).take_while(|(start, _)| *start < from).count(),
        };
        let own = queue.range((*place).min(queue.len())..).take_while(|(start, _)| *start < to);
        own.for_each(|(start, group)| each(*start, *group));
    }

    /// Removes panes from the first on, as long as `goes` says so, and calls `gone` with their groups.
    pub(super) fn remove_while(&mut self, goes: impl Fn(i64) -> bool, mut gone: impl FnMut(u32)) {
        match self {
            Self::Few(one) => {
                if let Some((_, group)) = one.take_if(|(start, _)| goes(*start)) {
                    gone(group);
                }
            }
            Self::Queue(queue) => {
                while queue.front().is_some_and(|(start, _)| goes(*start)) {
                    queue.pop_front().into_iter().for_each(|(_, group)| gone(group));
                }
            }
            Self::Tree(tree) => {
                while tree.first_key_value().is_some_and(|(start, _)| goes(*start)) {
                    tree.pop_first().into_iter().for_each(|(_, group)| gone(group));
                }
            }
        }
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// The memory held beside the value itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Few(_) => 0,
            Self::Queue(queue) => queue.capacity() * size_of::<(i64, u32)>(),
            // Nodes are two thirds full.
            Self::Tree(tree) => tree.len() * 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is added and removed, in whatever order, it is an ordered map.
        #[test]
        fn it_is_an_ordered_map(
            wild in any::<bool>(),
            steps in prop::collection::vec((0i64..5000, 0u8..40, 0i64..200), 0..3000),
        ) {
            let (mut slots, mut model) = (Slots::default(), BTreeMap::new());
            for (number, (far, what, near)) in steps.into_iter().enumerate() {
                let number = number as i64;
                if what == 0 {
                    let mut gone = Vec::new();
                    slots.remove_while(|start| start < number - 300, |group| gone.push(group));
                    let kept = model.split_off(&(number - 300));
                    prop_assert_eq!(gone, std::mem::replace(&mut model, kept).into_values().collect::<Vec<_>>());
                    continue;
                }
                let pane = if wild { far } else { number - near };
                let (before, after) = (model.range(..pane).next_back(), model.range(pane + 1..).next());
                let expected = match model.get(&pane) {
                    Some(group) => Found { group: *group, added: None },
                    None => Found { group: number as u32, added: Some((before.map(|e| *e.0), after.map(|e| *e.0))) },
                };
                prop_assert_eq!(slots.get_or_add(pane, || number as u32), expected);
                model.entry(pane).or_insert(number as u32);
                prop_assert_eq!(slots.newest(), model.last_key_value().map(|(start, _)| *start));
                let mut own = Vec::new();
                slots.each(far - near, far, |start, group| own.push((start, group)));
                prop_assert_eq!(own, model.range(far - near..far).map(|(s, g)| (*s, *g)).collect::<Vec<_>>());
            }
            let mut place = 0;
            for from in (-500..5000).step_by(37) {
                let mut own = Vec::new();
                slots.each_next(&mut place, from, from + 90, |start, group| own.push((start, group)));
                prop_assert_eq!(own, model.range(from..from + 90).map(|(s, g)| (*s, *g)).collect::<Vec<_>>());
            }
            prop_assert_eq!(slots.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn panes_in_a_wild_order_become_a_tree() {
        let mut slots = Slots::default();
        for number in 0..10_000u32 {
            let _ = slots.get_or_add(i64::from(number.wrapping_mul(2_654_435_761)), || number);
        }
        assert!(matches!(slots, Slots::Tree(_)));
        let mut reversed = Slots::default();
        for number in 0..10_000u32 {
            let _ = reversed.get_or_add(-i64::from(number), || number);
        }
        assert!(matches!(reversed, Slots::Queue(_)));
    }
}
