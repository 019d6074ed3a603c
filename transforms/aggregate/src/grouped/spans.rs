//! Sessions of a key: spans of time that touch become one.

/// A session, and the group that its rows are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    /// When it ends unless another row comes: the last event and the gap.
    pub(super) end: i64,
    pub(super) group: u32,
}

/// The sessions of a key, by time. No two of them touch.
pub(super) type Spans = Vec<Span>;

/// Adds a span to `spans`. Answers with the place of the session that it is now a part of, and whether that session is
/// the span itself, with the span's group. Sessions that the span joins are put together into the first of them, and
/// `fuse(from, to)` is called for the groups of the others.
pub(super) fn join<E>(
    spans: &mut Spans,
    span: Span,
    mut fuse: impl FnMut(u32, u32) -> Result<(), E>,
) -> Result<(usize, bool), E> {
    // Most rows come in order: look from the end.
    let mut after = spans.len();
    while after > 0 && spans.get(after - 1).is_some_and(|last| last.start > span.end) {
        after -= 1;
    }
    let mut first = after;
    while first > 0 && spans.get(first - 1).is_some_and(|before| before.end >= span.start) {
        first -= 1;
    }
    if first == after {
        spans.insert(first, span);
        return Ok((first, true));
    }
    let (mut start, mut end) = (span.start, span.end);
    let mut keeper = None;
    for joined in spans.get(first..after).unwrap_or_default() {
        start = start.min(joined.start);
        end = end.max(joined.end);
        match keeper {
            None => keeper = Some(joined.group),
            Some(keeper) => fuse(joined.group, keeper)?,
        }
    }
    spans.drain(first + 1..after);
    if let (Some(joined), Some(group)) = (spans.get_mut(first), keeper) {
        *joined = Span { start, end, group };
    }
    Ok((first, false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In whatever order spans come, the sessions are those of the sorted spans, and each group is fused once.
        #[test]
        fn the_order_does_not_matter(raw in prop::collection::vec((0i64..60, 1i64..8), 1..40)) {
            let mut spans = Spans::new();
            let mut members: Vec<u32> = Vec::new();
            for (number, (start, gap)) in raw.iter().enumerate() {
                members.push(1);
                let span = Span { start: *start, end: start + gap, group: number as u32 };
                let (at, new) = join(&mut spans, span, |from, to| {
                    members[to as usize] += std::mem::take(&mut members[from as usize]);
                    Ok::<_, ()>(())
                }).unwrap();
                if !new {
                    let group = spans[at].group as usize;
                    members[group] += std::mem::take(&mut members[number]);
                }
            }
            let mut sorted: Vec<(i64, i64)> = raw.iter().map(|(start, gap)| (*start, start + gap)).collect();
            sorted.sort_unstable();
            let mut wanted: Vec<(i64, i64, u32)> = Vec::new();
            for (start, end) in sorted {
                match wanted.last_mut() {
                    Some((_, last, count)) if start <= *last => {
                        *last = end.max(*last);
                        *count += 1;
                    }
                    _ => wanted.push((start, end, 1)),
                }
            }
            let got: Vec<_> = spans.iter().map(|s| (s.start, s.end, members[s.group as usize])).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
