//! Which partitions are read, and where each begins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use levada_connector_api::{Error, ErrorKind, Result, Retry};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use regex::Regex;

use crate::client::{self, Consumer, REQUEST};

/// How often it is asked again for a partition that the client or the broker does not know yet, and the wait before it.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Topic and partition.
pub(crate) type Place = (String, i32);

/// What the user wants to read.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Topics(Vec<String>),
    Pattern(Regex),
    Partitions(Vec<Place>),
}

impl Wanted {
    /// Whether this partition is meant.
    pub(crate) fn has(&self, place: &Place) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(&place.0),
            Self::Pattern(pattern) => has_topic(pattern, &place.0),
            Self::Partitions(partitions) => partitions.contains(place),
        }
    }
}

/// Whether a pattern means this topic. What the brokers keep for themselves is not meant.
fn has_topic(pattern: &Regex, topic: &str) -> bool {
    pattern.is_match(topic) && !topic.starts_with("__")
}

/// A task's share of the partitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) task: u32,
    pub(crate) tasks: u32,
}

impl Share {
    /// Whether the task has this partition. The partitions of a topic are dealt out in turn; with which task that begins
    /// depends on the topic's name (FNV-1a), so that many topics of one partition do not all come to the first.
    pub(crate) fn has(self, (topic, partition): &Place) -> bool {
        let hash = topic
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let tasks = u64::from(self.tasks.max(1));
        let turn = hash % tasks + u64::try_from(*partition).unwrap_or(0) % tasks;
        turn % tasks == u64::from(self.task)
    }
}

/// The pattern, matched against whole names as Java does.
pub(crate) fn pattern(text: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|e| Error::config(format!("not a regular expression: {}", e.to_string().replace('\n', " "))))
}

/// Partitions named one by one.
pub(crate) fn assignment(text: &str) -> Result<Vec<Place>, String> {
    let map: BTreeMap<String, Vec<i32>> =
        serde_json::from_str(text).map_err(|e| format!("write it as {{\"topic\": [0, 1]}}: {e}"))?;
    let all = map.into_iter().flat_map(|(topic, ids)| ids.into_iter().map(move |id| (topic.clone(), id)));
    let all: Vec<Place> = all.collect();
    if all.is_empty() { Err("it names no partition".to_owned()) } else { Ok(all) }
}

/// Where a pipeline without a checkpoint begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
    Offsets(BTreeMap<Place, i64>),
    Time(i64),
    Times(BTreeMap<Place, i64>),
}

impl Start {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => each(text, -2)
                .map(Self::Offsets)
                .map_err(|e| format!("use earliest, latest, or {{\"topic\": {{\"0\": 42, \"1\": -2}}}}: {e}")),
        }
    }

    pub(crate) fn parse_times(text: &str) -> Result<Self, String> {
        match text.trim().parse() {
            Ok(ms) if ms >= 0 => Ok(Self::Time(ms)),
            Ok(ms) => Err(format!("{ms} is before 1970; use milliseconds since then")),
            Err(_) => each(text, 0)
                .map(Self::Times)
                .map_err(|e| format!("use milliseconds since 1970, or {{\"topic\": {{\"0\": 1700000000000}}}}: {e}")),
        }
    }

    /// The same where partitions have appeared since it was written, which are read from their first message.
    pub(crate) fn with_new(mut self, found: &[Place]) -> Self {
        let (map, first) = match &mut self {
            Self::Offsets(map) => (map, -2),
            Self::Times(map) => (map, 0),
            Self::Earliest | Self::Latest | Self::Time(_) => return self,
        };
        found.iter().for_each(|place| _ = map.entry(place.clone()).or_insert(first));
        self
    }

    /// Whether all that it names is there.
    pub(crate) fn check(&self, found: &[Place]) -> Result<()> {
        let (key, named) = match self {
            Self::Offsets(map) => ("starting.offsets", map),
            Self::Times(map) => ("starting.timestamp", map),
            Self::Earliest | Self::Latest | Self::Time(_) => return Ok(()),
        };
        let unknown = named.keys().filter(|place| !found.contains(place));
        let unknown: Vec<_> = unknown.map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = found.iter().map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        Err(Error::config(format!("{key}: it names {}, which is not read", unknown.join(", ")))
            .hint(format!("what is read is {}", names.join(", "))))
    }
}

/// A number of at least `least` for each partition.
fn each(text: &str, least: i64) -> Result<BTreeMap<Place, i64>, String> {
    let map: BTreeMap<String, BTreeMap<i32, i64>> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    for (topic, at) in &map {
        if let Some((id, at)) = at.iter().find(|(_, at)| **at < least) {
            return Err(format!("{topic}-{id} has {at}"));
        }
    }
    Ok(map.into_iter().flat_map(|(topic, at)| at.into_iter().map(move |(id, at)| ((topic.clone(), id), at))).collect())
}

/// The partitions that there are of what is wanted, sorted. A topic that is gone is an error, unless it may be. Blocks.
pub(crate) fn find(consumer: &Consumer, wanted: &Wanted, may_be_gone: bool) -> Result<Vec<Place>> {
    let topics: Vec<Option<&str>> = match wanted {
        // Of a partition that is gone the reader says so.
        Wanted::Partitions(partitions) if may_be_gone => return Ok(partitions.clone()),
        Wanted::Partitions(partitions) => {
            let names: BTreeSet<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
            names.into_iter().map(Some).collect()
        }
        Wanted::Topics(topics) => topics.iter().map(|topic| Some(topic.as_str())).collect(),
        Wanted::Pattern(_) => vec![None],
    };
    let mut places = Vec::new();
    for topic in topics {
        let what = topic.map_or("topics".to_owned(), |topic| format!("topic '{topic}'"));
        let metadata = client::metadata(consumer, topic, &format!("looking for {what}"))?;
        for found in metadata.topics() {
            match wanted {
                Wanted::Pattern(pattern) if !has_topic(pattern, found.name()) => continue,
                _ => {}
            }
            if let Some(code) = found.error() {
                let code = RDKafkaErrorCode::from(code);
                if may_be_gone && code == RDKafkaErrorCode::UnknownTopicOrPartition {
                    continue;
                }
                return Err(client::error(
                    format!("topic '{}'", found.name()),
                    rdkafka::error::KafkaError::MetadataFetch(code),
                ));
            }
            places.extend(found.partitions().iter().map(|partition| (found.name().to_owned(), partition.id())));
        }
    }
    places.sort();
    let Wanted::Partitions(partitions) = wanted else { return Ok(places) };
    if let Some((topic, partition)) = partitions.iter().find(|place| !places.contains(place)) {
        let there: Vec<_> = places.iter().filter(|(name, _)| name == topic).map(|(_, id)| id.to_string()).collect();
        return Err(Error::new(ErrorKind::NotFound, format!("topic '{topic}' has no partition {partition}"))
            .with_retry(Retry::Permanent)
            .hint(format!("correct assign; there are {}", there.join(", "))));
    }
    Ok(partitions.clone())
}

/// The first offset that is there, and the one after the last. Blocks.
pub(crate) fn bounds(consumer: &Consumer, place: &Place) -> Result<(i64, i64)> {
    bounds_within(REQUEST, consumer, place)
}

/// The same, where each request may take so long. Blocks.
pub(crate) fn bounds_within(patience: Duration, consumer: &Consumer, place: &Place) -> Result<(i64, i64)> {
    let mut answer = consumer.fetch_watermarks(&place.0, place.1, patience);
    for _ in 0..TRIES {
        // What the client has in mind of a topic may be older than its partitions.
        let Err(error) = &answer else { break };
        // A topic that was just made has no leader for a moment.
        let passing = matches!(
            client::code(error),
            Some(
                RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
            )
        );
        if !passing {
            break;
        }
        std::thread::sleep(PAUSE);
        let _ = consumer.fetch_metadata(Some(&place.0), patience);
        answer = consumer.fetch_watermarks(&place.0, place.1, patience);
    }
    answer.map_err(|e| client::error(format!("asking for the offsets of {}-{}", place.0, place.1), e))
}

/// The first offsets of partitions, or with `Offset::End` their ends, asked for together; `None` if they must be asked for one
/// by one, to learn which of them is wrong. Blocks.
pub(crate) fn together<'a>(
    consumer: &Consumer,
    places: impl Iterator<Item = &'a Place>,
    which: Offset,
) -> Option<BTreeMap<Place, i64>> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, which).ok()?;
    }
    if list.count() == 0 {
        return Some(BTreeMap::new());
    }
    let found = consumer.offsets_for_times(list, REQUEST).ok()?;
    let offset = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match (e.error(), e.offset()) {
        (Ok(()), Offset::Offset(at)) => Some(((e.topic().to_owned(), e.partition()), at)),
        _ => None,
    };
    found.elements().iter().map(offset).collect()
}

/// The offsets at which reading begins. Blocks.
pub(crate) fn begin(consumer: &Consumer, places: &[Place], start: &Start) -> Result<Vec<i64>> {
    let mut offsets = Vec::with_capacity(places.len());
    // One request to each broker: one after the other, many partitions take long.
    let lows = together(consumer, places.iter(), Offset::Beginning).unwrap_or_default();
    let highs = match start {
        Start::Earliest => BTreeMap::new(),
        _ => together(consumer, places.iter(), Offset::End).unwrap_or_default(),
    };
    let mut ranges = Vec::with_capacity(places.len());
    for place in places {
        ranges.push(match (lows.get(place), highs.get(place), start) {
            (Some(low), _, Start::Earliest) => (*low, *low),
            (Some(low), Some(high), _) => (*low, *high),
            _ => bounds(consumer, place)?,
        });
    }
    // After the ends: of what comes in between, a time finds the first message, and no end is behind it.
    let times = by_time(consumer, places, start)?;
    for (place, (low, high)) in places.iter().zip(ranges) {
        let wanted = match start {
            Start::Earliest => -2,
            Start::Latest => -1,
            Start::Offsets(map) => *map.get(place).ok_or_else(|| {
                unnamed(place, "starting.offsets")
                    .hint("name every partition; -2 is the earliest offset and -1 the latest")
            })?,
            // It may be behind the end that there was: then all before it are older.
            Start::Time(_) | Start::Times(_) => {
                offsets.push(times.get(place).copied().filter(|at| *at >= 0).unwrap_or(high));
                continue;
            }
        };
        offsets.push(match wanted {
            -2 => low,
            -1 => high,
            offset if (low..=high).contains(&offset) => offset,
            offset => {
                let name = format!("{}-{}", place.0, place.1);
                return Err(Error::config(format!(
                    "starting.offsets: {name} has offsets {low} to {high}, not {offset}"
                ))
                .hint("use an offset that is there, -2 for the earliest or -1 for the latest"));
            }
        });
    }
    Ok(offsets)
}

fn unnamed(place: &Place, key: &str) -> Error {
    Error::config(format!("{key}: partition {} of topic '{}' is not in it", place.1, place.0))
}

fn by_time(consumer: &Consumer, places: &[Place], start: &Start) -> Result<BTreeMap<Place, i64>> {
    let time = |place: &Place| match start {
        Start::Time(ms) => Ok(Some(*ms)),
        Start::Times(map) => map
            .get(place)
            .map(|ms| Some(*ms))
            .ok_or_else(|| unnamed(place, "starting.timestamp").hint("name every partition; 0 is before all messages")),
        _ => Ok(None),
    };
    let failed = |e| client::error("asking for the offsets of a time", e);
    let mut list = TopicPartitionList::new();
    for place in places {
        if let Some(ms) = time(place)? {
            list.add_partition_offset(&place.0, place.1, Offset::Offset(ms)).map_err(failed)?;
        }
    }
    if list.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let found = consumer.offsets_for_times(list, REQUEST).map_err(failed)?;
    let offset = |offset| match offset {
        Offset::Offset(offset) => offset,
        // There is no message of this time or later.
        _ => -1,
    };
    Ok(found.elements().iter().map(|e| ((e.topic().to_owned(), e.partition()), offset(e.offset()))).collect())
}

/// What to do about a topic that is gone while it is read.
pub(crate) const WAS_THERE: &str = "it was there before: find out who deletes it. What was not read of it is gone; with \
    fail.on.data.loss=false the task goes on without it, and reads one of this name that comes from its first message";

/// The error for a partition that ends at `high`, before what is to be read does: a micro-batch that is repeated, or all that
/// there was when the run began.
pub(crate) fn cut((topic, partition): &Place, stop: i64, high: i64) -> Error {
    let last = stop - 1;
    let message = format!("{topic}-{partition}: offset {last} is to be read, but the partition ends at {high}");
    Error::new(ErrorKind::Data, message)
        .with_retry(Retry::Permanent)
        .hint("the brokers have lost the partition's end: start anew with another checkpoint.location and name")
}

/// The error for messages that are gone.
pub(crate) fn lost(place: &Place, next: i64, low: i64, high: i64) -> Error {
    let name = format!("{}-{}", place.0, place.1);
    let (message, hint) = if next > high {
        (
            format!("{name}: the next offset to read is {next}, but the partition ends at {high}"),
            "the topic was deleted and made anew, or lost its end: start anew with another checkpoint.location and name",
        )
    } else {
        (
            format!("{name}: offsets {next} to {} are gone; the first that is there is {low}", low - 1),
            "they have expired before they were read: set fail.on.data.loss=false to go on without them, and a longer retention",
        )
    };
    Error::new(ErrorKind::Data, message).with_retry(Retry::Permanent).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_task_and_a_topic_is_dealt_out_evenly() {
        for tasks in 1..5 {
            for topic in ["cars", "a", "ä-0"] {
                let mut counts = vec![0; tasks as usize];
                for partition in 0..12 {
                    let place = (topic.to_owned(), partition);
                    let owners: Vec<_> = (0..tasks).filter(|task| Share { task: *task, tasks }.has(&place)).collect();
                    assert_eq!(owners.len(), 1, "{place:?} of {tasks}: {owners:?}");
                    counts[owners[0] as usize] += 1;
                }
                assert!(counts.iter().all(|count| *count == 12 / tasks), "{topic} of {tasks}: {counts:?}");
            }
        }
    }

    #[test]
    fn starts_as_people_write_them() {
        assert_eq!(Start::parse("EARLIEST"), Ok(Start::Earliest));
        let offsets = Start::Offsets(BTreeMap::from([(("a".to_owned(), 0), 42), (("a".to_owned(), 1), -2)]));
        assert_eq!(Start::parse(r#"{"a": {"0": 42, "1": -2}}"#), Ok(offsets));
        assert_eq!(Start::parse_times("1700000000000"), Ok(Start::Time(1_700_000_000_000)));
        assert!(Start::parse("erliest").unwrap_err().starts_with("use earliest, latest"));
        assert_eq!(assignment(r#"{"a": [1, 0]}"#).unwrap(), [("a".to_owned(), 1), ("a".to_owned(), 0)]);
        for (parsed, part) in [
            (Start::parse(r#"{"a": {"0": -3}}"#), "a-0 has -3"),
            (Start::parse_times("-1"), "-1 is before 1970"),
            (Start::parse_times(r#"{"a": {"0": -2}}"#), "a-0 has -2"),
        ] {
            let error = parsed.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(assignment("{}").is_err());
        assert!(pattern("a.*").unwrap().is_match("ab"));
        assert!(!pattern("a|b").unwrap().is_match("ab"), "whole names match");
        assert!(pattern("(").is_err());
    }
}
