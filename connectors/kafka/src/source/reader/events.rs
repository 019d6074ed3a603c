//! What comes from the drain, taken as far as limits allow.

use std::sync::Arc;

use levada_connector_api::{Error, ErrorKind, Offsets, PollLimit, Polled, Result};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{KafkaSource, PIECE};
use crate::client::{self, blocking};
use crate::source::columns::Messages;
use crate::source::drain::Event;
use crate::source::partition::Part;
use crate::source::places;

impl KafkaSource {
    /// Takes what is pending, as far as it fits. False: the limit is reached.
    pub(super) async fn take(&mut self, limit: &PollLimit, polled: &mut Polled) -> Result<bool> {
        while let Some(event) = self.pending.pop_front() {
            match event {
                Event::Messages(messages) => {
                    let rows = polled.num_rows() + polled.rejected.len();
                    let left = self.left().min(limit.rows.saturating_sub(rows));
                    let bytes = limit.bytes.saturating_sub(polled.bytes);
                    let mut fits = messages.fitting(left, bytes);
                    if fits == 0 && polled.ranges.is_empty() && left > 0 {
                        fits = 1;
                    }
                    let (all, full) = (messages.len(), fits < messages.len());
                    if full {
                        self.pending.push_front(Event::Messages(Box::new(messages.slice(fits, all - fits))));
                    }
                    if fits > 0 {
                        self.give(limit.batch_id, messages.slice(0, fits), polled).await?;
                    }
                    if full || polled.bytes >= PIECE {
                        return Ok(false);
                    }
                }
                Event::Reached(place, offset) => self.reached(place, offset, limit.batch_id, polled)?,
                Event::Failed(place, code, text) => self.failed(place, code, &text, limit.batch_id, polled).await?,
            }
        }
        Ok(true)
    }

    async fn give(&mut self, batch_id: u64, messages: Messages, polled: &mut Polled) -> Result<()> {
        let index = self.reading.get(messages.index).copied();
        let Some(part) = index.and_then(|index| self.parts.get_mut(index)) else {
            return Err(Error::internal("messages of a partition that is not read"));
        };
        let Some((_, end)) = messages.range() else { return Ok(()) };
        polled.ranges.push(part.key.clone(), part.advance(end, batch_id)?)?;
        polled.bytes += messages.bytes();
        self.taken += messages.len();
        let mut decoder = self.decoder.take().ok_or_else(|| Error::internal("the decoder is in use"))?;
        let ((topic, partition), label) = (part.place.clone(), part.label.clone());
        // A few rows are decoded sooner than another thread could begin to.
        let decoded = if messages.bytes() < 16 << 10 {
            decoder.decode(&messages, &topic, partition, &label)
        } else {
            let (back, decoded) = blocking(move || {
                let decoded = decoder.decode(&messages, &topic, partition, &label);
                Ok((decoder, decoded))
            })
            .await?;
            decoder = back;
            decoded
        };
        self.decoder = Some(decoder);
        let (batch, rejected) = decoded?;
        polled.batches.extend(batch);
        polled.rejected.extend(rejected);
        Ok(())
    }

    fn reached(&mut self, place: usize, offset: i64, batch_id: u64, polled: &mut Polled) -> Result<()> {
        let Some(part) = self.reading.get(place).and_then(|index| self.parts.get_mut(*index)) else { return Ok(()) };
        part.seen = part.seen.max(offset);
        if let Some(stop) = stop(self.until.as_ref(), part)
            && offset >= stop
            && part.next < stop
        {
            // What lies before the stop is no message: the end of a transaction, or what compaction has removed.
            polled.ranges.push(part.key.clone(), part.advance(stop, batch_id)?)?;
        }
        Ok(())
    }

    async fn failed(
        &mut self,
        place: Option<usize>,
        code: Code,
        text: &str,
        batch_id: u64,
        polled: &mut Polled,
    ) -> Result<()> {
        let Some(index) = place.and_then(|place| self.reading.get(place).copied()) else {
            return Err(client::error("reading", KafkaError::MessageConsumption(code)).context(text));
        };
        let Some(part) = self.parts.get_mut(index) else { return Ok(()) };
        let error = client::error(
            format!("{}, offset {}: {text}", part.label, part.next),
            KafkaError::MessageConsumption(code),
        );
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let (consumer, place) = (self.consumer()?, self.parts.get(index).map(|part| part.place.clone()));
                let Some(place) = place else { return Ok(()) };
                let bounded = place.clone();
                if self.discover().await? {
                    // The topic is another one.
                    self.stale = true;
                    return Ok(());
                }
                let (low, high) = blocking(move || places::bounds(&consumer, &bounded)).await?;
                let Some(part) = self.parts.get_mut(index) else { return Ok(()) };
                let lost = places::lost(&place, part.next, low, high);
                if self.options.fail_on_loss || part.next >= low {
                    return Err(lost);
                }
                tracing::warn!(%lost, "messages are lost; going on after them, as fail.on.data.loss=false says");
                let end = stop(self.until.as_ref(), part).map_or(low, |stop| stop.min(low));
                polled.ranges.push(part.key.clone(), part.advance(end, batch_id)?)?;
                self.stale = true;
                Ok(())
            }
            _ if error.kind() == ErrorKind::NotFound && !self.options.fail_on_loss => {
                tracing::warn!(%error, "the topic is gone; going on without it, as fail.on.data.loss=false says");
                if let Some(stop) = stop(self.until.as_ref(), part).filter(|stop| part.next < *stop) {
                    polled.ranges.push(part.key.clone(), part.advance(stop, batch_id)?)?;
                }
                // The trigger's batch ends without it.
                if let Some(goal) = &mut self.goal {
                    goal.retain(|(of, _)| *of != index);
                }
                Ok(())
            }
            _ if error.kind() == ErrorKind::Unavailable => {
                // The client tries again by itself.
                tracing::warn!(%error, "reading stalls");
                Ok(())
            }
            _ if error.kind() == ErrorKind::NotFound => Err(error.hint(places::WAS_THERE)),
            _ => Err(error),
        }
    }
}

/// Where a partition must be left off.
pub(super) fn stop(until: Option<&Arc<Offsets>>, part: &Part) -> Option<i64> {
    until?.get(&part.key)?.number().and_then(|stop| i64::try_from(stop).ok())
}
