//! Windows of one size, and the panes that they are made of.

/// Windows of one size that begin every `slide`, at multiples of it plus `offset`. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) size: i64,
    slide: i64,
    offset: i64,
    /// How long a pane is, or how far apart windows begin that are panes themselves.
    pub(super) pane: i64,
    whole: bool,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Windows {
    /// `ordered`: the order of rows decides a result, so that parts of windows cannot be put together.
    pub(super) fn new(size: i64, slide: i64, offset: i64, ordered: bool) -> Self {
        let whole = ordered || size == slide;
        let pane = if whole { slide } else { gcd(size, slide) };
        Self { size, slide, offset, pane, whole }
    }

    /// Whether each pane is a window.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// Whether a row is counted in several panes: each is a window, and they overlap.
    pub(super) fn repeats(&self) -> bool {
        self.whole && self.slide < self.size
    }

    /// The start of the pane of a time.
    #[inline]
    pub(super) fn pane_of(&self, time: i64) -> i64 {
        time - (time - self.offset).rem_euclid(self.pane)
    }

    /// The windows that a pane is a part of begin after this time, and not after the pane.
    #[inline]
    pub(super) fn first(&self, pane: i64) -> i64 {
        pane.saturating_sub(if self.whole { 1 } else { self.size })
    }

    /// The last beginning of a window at or before a time.
    #[inline]
    fn last_start(&self, time: i64) -> i64 {
        time - time.saturating_sub(self.offset).rem_euclid(self.slide)
    }

    /// When the last window closes that a pane is a part of.
    #[inline]
    pub(super) fn closes(&self, pane: i64) -> i64 {
        self.last_start(pane).saturating_add(self.size)
    }

    /// How many windows begin after one time and not after another.
    #[inline]
    pub(super) fn count(&self, after: i64, until: i64) -> u64 {
        if after >= until {
            return 0;
        }
        ((self.last_start(until) - self.last_start(after)) / self.slide) as u64
    }

    /// The beginnings of windows after one time and not after another, in order.
    pub(super) fn starts(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + use<> {
        let count = self.count(after, until) as i64;
        let (last, slide) = (self.last_start(until), self.slide);
        (0..count).rev().map(move |back| last - back * slide)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_hold_their_panes() {
        let windows = Windows::new(10, 4, 1, false);
        assert_eq!((windows.pane, windows.pane_of(0), windows.pane_of(1), windows.pane_of(-2)), (2, -1, 1, -3));
        let of = |pane| windows.starts(windows.first(pane), pane).collect::<Vec<_>>();
        assert_eq!(of(9), [1, 5, 9]);
        assert_eq!(of(11), [5, 9]);
        assert_eq!((windows.closes(9), windows.closes(11)), (19, 19));
        let whole = Windows::new(10, 4, 1, true);
        assert_eq!((whole.pane, whole.repeats(), whole.closes(5)), (4, true, 15));
        assert_eq!(whole.starts(whole.first(5), 5).collect::<Vec<_>>(), [5]);
    }

    proptest! {
        #[test]
        fn beginnings_are_those_that_a_walk_finds(
            size in 1i64..40, slide in 1i64..40, offset in -50i64..50, after in -200i64..200, length in 0i64..100,
        ) {
            let windows = Windows::new(size.max(slide), slide, offset, false);
            let until = after + length;
            let walked: Vec<i64> = (after + 1..=until).filter(|start| (start - offset).rem_euclid(slide) == 0).collect();
            prop_assert_eq!(windows.count(after, until), walked.len() as u64);
            prop_assert_eq!(windows.starts(after, until).collect::<Vec<_>>(), walked);
        }
    }
}
