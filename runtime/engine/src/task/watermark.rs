//! Event time: how far the inputs have come.

use levada_connector_api::EventTime;

use crate::checkpoint::Watermarks;
use crate::pipeline::WatermarkPolicy;

/// Follows the watermark over micro-batches, by Spark's rules: what a batch has seen moves the watermark of the next one,
/// never back; an input that has had no row since the start counts as 0.
#[derive(Debug)]
pub(crate) struct Tracker {
    policy: WatermarkPolicy,
    /// One for each transform that watches event time.
    inputs: Vec<Option<i64>>,
    /// Those of the batch under way.
    current: Watermarks,
}

impl Tracker {
    /// Goes on after a batch with the watermarks `last`.
    pub(crate) fn new(policy: WatermarkPolicy, last: Watermarks) -> Self {
        Self { policy, inputs: Vec::new(), current: Watermarks { late: last.used, used: last.next, next: last.next } }
    }

    /// The watermarks of the batch under way.
    pub(crate) fn current(&self) -> Watermarks {
        self.current
    }

    /// A batch that is repeated has the watermarks that it had.
    pub(crate) fn repeat(&mut self, watermarks: Watermarks) {
        self.current = watermarks;
    }

    /// The batch is over; `seen` is what each transform that watches event time saw. Answers with the batch's watermarks.
    pub(crate) fn finish(&mut self, seen: &[EventTime]) -> Watermarks {
        self.inputs.resize(seen.len(), None);
        for (input, seen) in self.inputs.iter_mut().zip(seen) {
            let candidate = if seen.count > 0 { seen.max.saturating_sub(seen.delay) } else { input.unwrap_or(0) };
            *input = Some(input.map_or(candidate, |before| before.max(candidate)));
        }
        let inputs = self.inputs.iter().flatten().copied();
        let chosen = match self.policy {
            WatermarkPolicy::Min => inputs.min(),
            WatermarkPolicy::Max => inputs.max(),
        };
        let mut done = self.current;
        done.next = chosen.map_or(done.next, |chosen| chosen.max(done.next));
        self.current = Watermarks { late: done.used, used: done.next, next: done.next };
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(max: i64) -> EventTime {
        EventTime { count: 1, min: max, max, sum: max.into(), delay: 10 }
    }

    #[test]
    fn it_moves_after_the_batch_and_never_back() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, Watermarks::default());
        assert_eq!(tracker.finish(&[at(100)]), Watermarks { late: 0, used: 0, next: 90 });
        assert_eq!(tracker.finish(&[at(50)]), Watermarks { late: 0, used: 90, next: 90 });
        assert_eq!(tracker.finish(&[EventTime::default()]), Watermarks { late: 90, used: 90, next: 90 });
    }

    #[test]
    fn the_slowest_input_counts_and_one_without_rows_holds_all() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, Watermarks::default());
        assert_eq!(tracker.finish(&[at(100), EventTime::default()]).next, 0);
        assert_eq!(tracker.finish(&[at(200), at(60)]).next, 50);
        let mut tracker = Tracker::new(WatermarkPolicy::Max, Watermarks::default());
        assert_eq!(tracker.finish(&[at(100), EventTime::default()]).next, 90);
    }

    #[test]
    fn it_goes_on_after_a_restart() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, Watermarks { late: 1, used: 2, next: 3 });
        assert_eq!(tracker.current(), Watermarks { late: 2, used: 3, next: 3 });
        assert_eq!(tracker.finish(&[at(5)]).next, 3);
    }
}
