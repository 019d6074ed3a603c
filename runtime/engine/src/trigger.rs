//! When micro-batches start.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use levada_connector_api::config::parse_duration;

/// When a micro-batch starts (Spark's triggers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// As soon as there is data.
    Available,
    /// At the multiples of an interval since the epoch; at once when reading the batch before took longer.
    Interval(Duration),
    /// What is there at the start, in batches as the limits have it; then the pipeline ends.
    AvailableNow,
    /// What is there at the start, in one batch whatever the limits; then the pipeline ends.
    Once,
}

impl Trigger {
    /// Whether the pipeline ends by itself.
    pub fn ends(self) -> bool {
        matches!(self, Self::AvailableNow | Self::Once)
    }

    /// When the batch after one that starts at `now_ms` is due: at the next multiple of the interval. Both are milliseconds
    /// since the epoch.
    pub(crate) fn next(self, now_ms: i64) -> i64 {
        let Self::Interval(interval) = self else { return now_ms };
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        now_ms.saturating_add(interval - now_ms.rem_euclid(interval))
    }
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        match trimmed.to_ascii_lowercase().replace([' ', '_'], "-").as_str() {
            "available" | "as-available" => return Ok(Self::Available),
            "available-now" | "availablenow" => return Ok(Self::AvailableNow),
            "once" => return Ok(Self::Once),
            _ => {}
        }
        match parse_duration(trimmed) {
            Ok(Duration::ZERO) => Ok(Self::Available),
            Ok(interval) if interval < Duration::from_millis(1) => {
                Err("an interval is one millisecond or more".to_owned())
            }
            Ok(interval) => Ok(Self::Interval(interval)),
            Err(_) => Err("not a trigger; use an interval ('5 seconds'), 'available-now', 'once' or 'available' \
                           (as soon as there is data)"
                .to_owned()),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::Interval(interval) => write!(f, "{} ms", interval.as_millis()),
            Self::AvailableNow => f.write_str("available-now"),
            Self::Once => f.write_str("once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_as_users_write_them() {
        assert_eq!("5 seconds".parse(), Ok(Trigger::Interval(Duration::from_secs(5))));
        assert_eq!("available-now".parse(), Ok(Trigger::AvailableNow));
        assert_eq!("Available Now".parse(), Ok(Trigger::AvailableNow));
        assert_eq!("once".parse(), Ok(Trigger::Once));
        assert_eq!("0 seconds".parse(), Ok(Trigger::Available));
        assert!("5 secnds".parse::<Trigger>().is_err());
    }

    #[test]
    fn an_interval_is_aligned_to_its_multiples() {
        let minute = Trigger::Interval(Duration::from_secs(60));
        assert_eq!(minute.next(59_000), 60_000);
        assert_eq!(minute.next(60_000), 120_000);
        assert_eq!(minute.next(-1), 0);
    }
}
