//! Runs that are killed at random moments.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Site, for_all};

/// What came of killing.
pub(crate) struct Kills {
    /// How long a run takes that is left alone.
    duration: Duration,
    kills: AtomicU32,
    hits: AtomicU32,
}

impl Kills {
    /// Times runs in sites of their own. The fastest counts: one that others slowed down would have the kills come after
    /// the end.
    pub(crate) fn timed<'a>(sites: impl IntoIterator<Item = &'a Site>) -> Self {
        let timed = |site: &Site| {
            let before = Instant::now();
            site.run(&[]).succeeded();
            before.elapsed()
        };
        let duration = sites.into_iter().map(timed).min().unwrap_or_default();
        Self { duration, kills: AtomicU32::new(0), hits: AtomicU32::new(0) }
    }

    /// Starts the pipeline and kills it.
    pub(crate) fn kill(&self, site: &Site, random: &mut SmallRng) {
        let mut child = site.spawn(&[]);
        std::thread::sleep(self.duration.mul_f64(random.random_range(0.0..1.0)).max(Duration::from_micros(100)));
        child.kill().unwrap();
        self.kills.fetch_add(1, Relaxed);
        self.hits.fetch_add(u32::from(child.wait().unwrap().signal() == Some(9)), Relaxed);
    }

    /// Rounds, each with random numbers of its own that follow from the seed. Answers with what is to be told.
    pub(crate) fn rounds(
        self,
        rounds: u64,
        seed: u64,
        round: impl Fn(&Self, &mut SmallRng) -> Result<(), String> + Sync,
    ) -> String {
        for_all((0..rounds).collect(), |number: &u64| round(&self, &mut SmallRng::seed_from_u64(seed * 1000 + number)));
        let (kills, hits) = (self.kills.into_inner(), self.hits.into_inner());
        assert!(hits >= kills / 3, "only {hits} of {kills} kills found the process alive: they prove little");
        format!("killed {hits} times in {rounds} rounds at random moments of {} ms", self.duration.as_millis())
    }
}
