//! Where the partitions end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::{ErrorKind, Result};

use super::KafkaSource;
use super::events::stop;
use crate::client::{self, Closing, Consumer, Context, blocking};
use crate::source::partition::Part;
use crate::source::places::{self, Place};

/// How long a partition may seem to end before what was read of it: a new leader may not know everything at once.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// How long nothing may come of what must be there: then it is asked whether it is. A new leader knows by then.
const NOTHING_COMES: Duration = Duration::from_secs(5);

/// How long brokers may take to answer it: who does not answer has not lost anything yet.
const ANSWER: Duration = Duration::from_secs(3);

/// How soon it is asked again what is decided.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl KafkaSource {
    /// The end of each partition that is read.
    pub(super) async fn ends(&self) -> Result<Vec<(usize, i64)>> {
        self.ends_seen_by(self.consumer()?).await
    }

    /// What ends before the place where it is read on is not what was read before: a topic that was deleted and made anew.
    ///
    /// # Errors
    /// There is such a partition.
    pub(super) async fn check_none_is_shorter(&self, ends: &[(usize, i64)]) -> Result<()> {
        let shorter = |(index, end): &(usize, i64)| {
            let part = self.parts.get(*index).filter(|part| part.next > *end)?;
            Some((part.place.clone(), part.next))
        };
        let shorter: Vec<_> = ends.iter().filter_map(shorter).collect();
        if shorter.is_empty() {
            return Ok(());
        }
        // An earlier run may have read what is not committed.
        let written = self.uncommitted().await?;
        blocking(move || {
            let since = Instant::now();
            for (place, next) in shorter {
                loop {
                    let (low, high) = places::bounds(&written, &place)?;
                    if high >= next {
                        break;
                    }
                    if since.elapsed() >= CATCHING_UP {
                        return Err(places::lost(&place, next, low, high));
                    }
                    std::thread::sleep(ASK_AGAIN);
                }
            }
            Ok(())
        })
        .await
    }

    /// While nothing comes of what is to be read: whether it is there at all. Brokers that do not answer are waited for.
    ///
    /// # Errors
    /// A partition has lost its end.
    pub(super) async fn check_the_rest_is_there(&mut self) -> Result<()> {
        if self.progressed.elapsed() < NOTHING_COMES {
            return Ok(());
        }
        self.progressed = Instant::now();
        let (written, until) = (self.uncommitted().await?, self.until.clone());
        let rest = |part: &Part| {
            let stop = stop(until.as_ref(), part).filter(|stop| part.next < *stop && !part.gone)?;
            Some((part.place.clone(), stop))
        };
        let rest: Vec<_> = self.parts.iter().filter_map(rest).collect();
        let may_be_gone = !self.options.fail_on_loss;
        blocking(move || {
            for (place, stop) in rest {
                match places::bounds_within(ANSWER, &written, &place) {
                    Ok((_, end)) if end < stop => return Err(places::cut(&place, stop, end)),
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        tracing::debug!(%error, "whether the rest is there is not known yet");
                        return Ok(());
                    }
                    Err(error) if error.kind() != ErrorKind::NotFound || !may_be_gone => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// A consumer that sees what is not committed, too.
    async fn uncommitted(&self) -> Result<Arc<Closing>> {
        let mut config = self.options.client.clone();
        config.set("isolation.level", "read_uncommitted");
        blocking(move || {
            let consumer: Consumer =
                config.create_with_context(Context::default()).map_err(|e| client::error("making a consumer", e))?;
            Ok(Arc::new(Closing::new(consumer)))
        })
        .await
    }

    async fn ends_seen_by(&self, consumer: Arc<Closing>) -> Result<Vec<(usize, i64)>> {
        let must_be_there = self.options.fail_on_loss;
        let places: Vec<_> = self.parts.iter().map(|part| (part.place.clone(), part.next, part.is_read())).collect();
        blocking(move || {
            let read = places.iter().filter(|(.., is_read)| *is_read).map(|(place, ..)| place);
            let together = places::together(&consumer, read, rdkafka::Offset::End).unwrap_or_default();
            let known = |place: &Place| together.get(place).copied();
            let alone = |place: &Place, next: i64| match places::bounds(&consumer, place) {
                Ok((_, end)) => Ok(end),
                // Of a topic that is gone, nothing is left to be read.
                Err(error) if error.kind() == ErrorKind::NotFound && !must_be_there => Ok(next),
                Err(error) => Err(error),
            };
            let end = |(place, next, is_read): &(Place, i64, bool)| match is_read {
                false => Ok(*next),
                true => known(place).map_or_else(|| alone(place, *next), Ok),
            };
            places.iter().enumerate().map(|(index, place)| Ok((index, end(place)?))).collect()
        })
        .await
    }

    /// The end of each partition, with everything that was committed before this was asked.
    ///
    /// A commit returns before the partitions of the transaction know of it: the coordinator tells them one by one. Until
    /// then they end, for readers of committed messages, where the transaction began. So this waits for what is undecided
    /// now; not for ever, as it may be a transaction that really is open.
    pub(super) async fn settled_ends(&self) -> Result<Vec<(usize, i64)>> {
        let ends = self.ends().await?;
        if self.options.client.get("isolation.level") != Some("read_committed") {
            return Ok(ends);
        }
        let written = self.uncommitted().await?;
        let written = self.ends_seen_by(written).await?;
        let (mut ends, since, mut pause) = (ends, Instant::now(), ASK_AGAIN);
        loop {
            let undecided = |((index, end), (_, written)): (&(usize, i64), &(usize, i64))| {
                (end < written).then(|| self.parts.get(*index)).flatten().map(|part| (part.label.clone(), *end))
            };
            let Some((label, end)) = ends.iter().zip(&written).find_map(undecided) else { return Ok(ends) };
            if since.elapsed() >= self.options.undecided {
                tracing::warn!("{label}: a transaction from offset {end} on is still open; what is behind it is left");
                return Ok(ends);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
            ends = self.ends().await?;
        }
    }
}
