//! Topics that were deleted and made anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use levada_connector_api::{Offsets, Polled, Result};

use super::KafkaSource;
use super::events::stop;
use crate::client::{Consumer, blocking};
use crate::source::ids::{self, Ids};
use crate::source::partition::{Kept, Part, kept_in};
use crate::source::places::{self, Place, Share, Start, Wanted};

/// A task's partitions when it begins: those that were `kept`, and those of `found` that are not among them. Blocks.
///
/// # Errors
/// The topic of a kept one is another by now, and that `must_be` an error.
pub(super) fn parts(
    consumer: &Consumer,
    kept: &Offsets,
    found: Vec<Place>,
    share: Share,
    (wanted, start): (&Wanted, &Start),
    must_be: bool,
) -> Result<(Vec<Part>, Ids)> {
    let kept: Vec<Kept<'_>> = kept_in(kept)?.into_iter().filter(|kept| share.has(&kept.place)).collect();
    let topics = found.iter().chain(kept.iter().map(|kept| &kept.place)).map(|(topic, _)| topic.as_str());
    let ids = ids::of(consumer, topics)?;
    let resumed: Result<Vec<Part>> = kept.iter().map(|kept| Part::resumed(kept, &ids)).collect();
    let mut parts = resumed?;
    for part in parts.iter_mut().filter(|part| !wanted.has(&part.place)) {
        tracing::info!(partition = %part.label, "its topic is no longer named: it is not read, and its place is kept");
        part.wanted = false;
    }
    let live: BTreeSet<Place> = parts.iter().filter(|part| !part.gone).map(|part| part.place.clone()).collect();
    let replaced: Vec<&Part> =
        parts.iter().filter(|part| part.gone && part.wanted && !live.contains(&part.place)).collect();
    for part in &replaced {
        tell(part, &ids, must_be)?;
    }
    let gone: BTreeSet<Place> = replaced.into_iter().map(|part| part.place.clone()).collect();
    let new: Vec<Place> = found.into_iter().filter(|place| share.has(place) && !live.contains(place)).collect();
    let begin = places::begin(consumer, &new, start)?;
    parts.extend(new.into_iter().zip(begin).map(|(place, start)| match gone.contains(&place) {
        true => Part::anew(place, start, &ids),
        false => Part::new(place, start, &ids),
    }));
    parts.sort_by(|a, b| a.place.cmp(&b.place));
    Ok((parts, ids))
}

fn tell(part: &Part, ids: &Ids, must_be: bool) -> Result<()> {
    let replaced = part.replaced(ids);
    if must_be {
        return Err(replaced);
    }
    tracing::warn!(%replaced, "going on with the new topic from its first message, as fail.on.data.loss=false says");
    Ok(())
}

impl KafkaSource {
    /// Asks for the ids of these topics, and of those that are read. Answers whether one that was read is another by now.
    pub(super) async fn compare(&mut self, found: &[Place]) -> Result<bool> {
        let consumer = self.consumer()?;
        let read = self.parts.iter().map(|part| &part.place);
        let topics: BTreeSet<String> = read.chain(found).map(|(topic, _)| topic.clone()).collect();
        self.ids = blocking(move || ids::of(&consumer, topics.iter().map(String::as_str))).await?;
        let mut any = false;
        for part in &mut self.parts {
            if part.is_replaced(&self.ids) {
                any = true;
                if part.wanted {
                    tell(part, &self.ids, self.options.fail_on_loss)?;
                }
            }
        }
        Ok(any)
    }

    /// A partition that is read from now on.
    pub(super) fn new_part(&self, place: Place, start: i64) -> Part {
        match self.parts.iter().any(|part| part.place == place) {
            true => Part::anew(place, start, &self.ids),
            false => Part::new(place, start, &self.ids),
        }
    }

    /// Reading a partition begins where it did in the micro-batch that is repeated.
    pub(super) async fn begin_again(&mut self, kept: &Kept<'_>, start: i64) -> Result<()> {
        let mut repeated = Part::repeated(kept, start, &self.ids);
        repeated.wanted = self.options.wanted.has(&repeated.place);
        if repeated.gone {
            tell(&repeated, &self.ids, self.options.fail_on_loss)?;
        }
        let place = (repeated.gone && repeated.wanted).then(|| repeated.place.clone());
        match self.parts.iter_mut().find(|part| part.key == *kept.key) {
            Some(part) => *part = repeated,
            None => self.parts.push(repeated),
        }
        // What has the name now is read after it.
        if let Some(place) = place.filter(|place| !self.parts.iter().any(|part| part.place == *place && !part.gone)) {
            let start = self.first_offset(place.clone()).await?;
            self.parts.push(self.new_part(place, start));
        }
        Ok(())
    }

    /// The micro-batch that is repeated is the first: what it does not have has appeared since, and is read from its first
    /// message, wherever the configuration says that reading begins.
    pub(super) async fn begin_at_first(&mut self, until: &Offsets) -> Result<()> {
        let has = |part: &Part| until.get(&part.key).is_some();
        // One that has nothing of this source is not where reading it began.
        if !self.parts.iter().any(has) {
            return Ok(());
        }
        let new = |part: &&mut Part| part.is_new() && !has(part);
        let places: Vec<Place> = self.parts.iter_mut().filter(new).map(|part| part.place.clone()).collect();
        if places.is_empty() {
            return Ok(());
        }
        let consumer = self.consumer()?;
        let starts = blocking(move || places::begin(&consumer, &places, &Start::Earliest)).await?;
        for (part, start) in self.parts.iter_mut().filter(new).zip(starts) {
            (part.next, part.seen) = (start, start);
        }
        Ok(())
    }

    /// A micro-batch that is repeated has nothing more of a partition that is gone.
    pub(super) fn pass_over(&mut self, batch_id: u64, polled: &mut Polled) -> Result<()> {
        let until: Option<Arc<Offsets>> = self.until.clone();
        for part in self.parts.iter_mut().filter(|part| part.gone) {
            if let Some(stop) = stop(until.as_ref(), part).filter(|stop| part.next < *stop) {
                // Of a topic that is no longer named nobody has told yet.
                if self.options.fail_on_loss {
                    return Err(part.replaced(&self.ids));
                }
                polled.ranges.push(part.key.clone(), part.advance(stop, batch_id)?)?;
            }
        }
        Ok(())
    }
}
