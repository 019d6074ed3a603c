//! Where the partitions end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::{ErrorKind, Result};

use super::KafkaSource;
use crate::client::{self, Closing, Consumer, Context, blocking};
use crate::source::places::{self, Place};

/// How long a partition may seem to end before what was read of it: a new leader may not know everything at once.
const CATCHING_UP: Duration = Duration::from_secs(2);

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
        let places: Vec<_> = self.parts.iter().map(|part| (part.place.clone(), part.next, part.gone)).collect();
        blocking(move || {
            let read = places.iter().filter(|(.., gone)| !gone).map(|(place, ..)| place);
            let together = places::ends(&consumer, read).unwrap_or_default();
            let known = |place: &Place| together.get(place).copied();
            let alone = |place: &Place, next: i64| match places::bounds(&consumer, place) {
                Ok((_, end)) => Ok(end),
                // Of a topic that is gone, nothing is left to be read.
                Err(error) if error.kind() == ErrorKind::NotFound && !must_be_there => Ok(next),
                Err(error) => Err(error),
            };
            let end = |(place, next, gone): &(Place, i64, bool)| match gone {
                true => Ok(*next),
                false => known(place).map_or_else(|| alone(place, *next), Ok),
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
