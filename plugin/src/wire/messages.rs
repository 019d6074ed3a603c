//! The arguments and answers of operations.

use std::sync::{Mutex, PoisonError};

use levada_connector_api::config::{ConfigError, RawConfig};
use levada_connector_api::{
    BadRow, EventTime, Guarantee, OffsetRanges, Offsets, Origin, OutputMode, PollStatus, Record, StateStats,
};
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

#[derive(Serialize, Deserialize)]
pub(crate) struct CreateArgs {
    pub(crate) config: RawConfig,
    /// For messages: the prefix of the keys.
    #[serde(default)]
    pub(crate) prefix: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TasksArgs {
    pub(crate) config: RawConfig,
    pub(crate) max: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct InvalidWire {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) message: String,
}

impl From<ConfigError> for InvalidWire {
    fn from(error: ConfigError) -> Self {
        Self { key: error.key, value: error.value, message: error.message }
    }
}

impl From<InvalidWire> for ConfigError {
    fn from(wire: InvalidWire) -> Self {
        Self { key: wire.key, value: wire.value, message: wire.message }
    }
}

#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CapabilitiesWire {
    pub(crate) replayable: bool,
    pub(crate) bounded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) modes: Vec<OutputMode>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ContextWire {
    pub(crate) pipeline: String,
    #[serde(default)]
    pub(crate) checkpoint: String,
    pub(crate) task: u32,
    pub(crate) tasks: u32,
    pub(crate) epoch: u64,
    pub(crate) tolerant: bool,
    #[serde(default)]
    pub(crate) pending: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct OpenArgs {
    pub(crate) context: ContextWire,
    #[serde(default)]
    pub(crate) from: Offsets,
    #[serde(default)]
    pub(crate) mode: Option<OutputMode>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PollArgs {
    pub(crate) batch_id: u64,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) wait_ms: u64,
    #[serde(default)]
    pub(crate) until: Option<Offsets>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatusWire {
    More,
    Idle,
    Boundary,
    End,
}

impl From<PollStatus> for StatusWire {
    fn from(status: PollStatus) -> Self {
        match status {
            PollStatus::More => Self::More,
            PollStatus::Idle => Self::Idle,
            PollStatus::Boundary => Self::Boundary,
            PollStatus::End => Self::End,
        }
    }
}

impl From<StatusWire> for PollStatus {
    fn from(status: StatusWire) -> Self {
        match status {
            StatusWire::More => Self::More,
            StatusWire::Idle => Self::Idle,
            StatusWire::Boundary => Self::Boundary,
            StatusWire::End => Self::End,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PolledWire {
    pub(crate) ranges: OffsetRanges,
    #[serde(default)]
    pub(crate) rejected: Vec<BadRowWire>,
    #[serde(default)]
    pub(crate) bytes: usize,
    pub(crate) status: StatusWire,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BindArgs {
    pub(crate) alias: String,
    pub(crate) output_mode: OutputMode,
    #[serde(default)]
    pub(crate) aggregated: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BoundWire {
    pub(crate) stateful: bool,
    pub(crate) aggregates: bool,
    pub(crate) watermark: Option<String>,
    pub(crate) origins: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BeginArgs {
    pub(crate) batch_id: u64,
    pub(crate) watermark: i64,
    pub(crate) late: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProcessArgs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<usize>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BatchArgs {
    pub(crate) batch_id: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EmittedWire {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<BadRowWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_time: Option<EventTimeWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<StatsWire>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub(crate) metrics: serde_json::Map<String, serde_json::Value>,
}

impl EmittedWire {
    pub(crate) fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.event_time.is_none() && self.stats.is_none() && self.metrics.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EventTimeWire {
    count: u64,
    min: i64,
    max: i64,
    /// As text: it does not fit a JSON number.
    sum: String,
    delay: i64,
}

impl From<EventTime> for EventTimeWire {
    fn from(time: EventTime) -> Self {
        Self { count: time.count, min: time.min, max: time.max, sum: time.sum.to_string(), delay: time.delay }
    }
}

impl From<EventTimeWire> for EventTime {
    fn from(wire: EventTimeWire) -> Self {
        let sum = wire.sum.parse().unwrap_or_default();
        Self { count: wire.count, min: wire.min, max: wire.max, sum, delay: wire.delay }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatsWire {
    operator: String,
    rows_total: u64,
    rows_updated: u64,
    rows_removed: u64,
    rows_dropped: u64,
    memory_bytes: u64,
}

impl From<StateStats> for StatsWire {
    fn from(stats: StateStats) -> Self {
        let StateStats { operator, rows_total, rows_updated, rows_removed, rows_dropped, memory_bytes } = stats;
        Self { operator, rows_total, rows_updated, rows_removed, rows_dropped, memory_bytes }
    }
}

impl From<StatsWire> for StateStats {
    fn from(wire: StatsWire) -> Self {
        let StatsWire { operator, rows_total, rows_updated, rows_removed, rows_dropped, memory_bytes } = wire;
        Self { operator, rows_total, rows_updated, rows_removed, rows_dropped, memory_bytes }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateKindWire {
    Delta,
    Snapshot,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CheckpointArgs {
    pub(crate) kind: StateKindWire,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StateWire {
    pub(crate) kind: StateKindWire,
    pub(crate) fingerprint: String,
    pub(crate) sections: Vec<SectionWire>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SectionWire {
    pub(crate) partition: u32,
    pub(crate) batches: usize,
}

/// A row that could not be handled.
#[derive(Serialize, Deserialize)]
pub(crate) struct BadRowWire {
    reason: String,
    #[serde(default)]
    stage: String,
    #[serde(default)]
    position: String,
    #[serde(default)]
    raw: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<RecordWire>,
}

#[derive(Serialize, Deserialize)]
struct RecordWire {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl From<BadRow> for BadRowWire {
    fn from(row: BadRow) -> Self {
        let record = row.record.map(|record| RecordWire {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Bytes),
            value: record.value.map(Bytes),
            headers: record.headers.into_iter().map(|(name, value)| (name, value.map(Bytes))).collect(),
        });
        Self { reason: row.reason, stage: row.stage, position: row.position, raw: Bytes(row.raw), record }
    }
}

impl From<BadRowWire> for BadRow {
    fn from(wire: BadRowWire) -> Self {
        let record = wire.record.map(|record| {
            Box::new(Record {
                topic: record.topic,
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(|bytes| bytes.0),
                value: record.value.map(|bytes| bytes.0),
                headers: record.headers.into_iter().map(|(name, value)| (name, value.map(|bytes| bytes.0))).collect(),
            })
        });
        Self { reason: wire.reason, stage: wire.stage, position: wire.position, raw: wire.raw.0, record }
    }
}

/// Where a batch came from.
#[derive(Serialize, Deserialize)]
struct OriginWire<'a> {
    #[serde(borrow)]
    label: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    unit: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
}

pub(crate) fn encode_origin(origin: &Origin) -> Option<Vec<u8>> {
    let (label, unit, first) = origin.parts();
    let unit = first.map(|_| unit.into());
    serde_json::to_vec(&OriginWire { label: label?.into(), unit, first }).ok()
}

pub(crate) fn decode_origin(bytes: &[u8]) -> Origin {
    if bytes.is_empty() {
        return Origin::unknown();
    }
    match serde_json::from_slice::<OriginWire<'_>>(bytes) {
        Ok(OriginWire { label, unit, first: Some(first) }) => {
            Origin::exact(&*label, interned(unit.as_deref().unwrap_or("row")), first)
        }
        Ok(OriginWire { label, .. }) => Origin::near(&*label),
        Err(_) => Origin::unknown(),
    }
}

/// Units live as long as the process: there are only a few of them, and a plugin that makes up more gets "row".
fn interned(unit: &str) -> &'static str {
    static UNITS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    const MOST: usize = 100;
    match unit {
        "row" => return "row",
        "line" => return "line",
        "record" => return "record",
        _ => {}
    }
    let mut units = UNITS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = units.iter().find(|known| **known == unit) {
        return known;
    }
    if units.len() >= MOST {
        return "row";
    }
    let unit: &'static str = Box::leak(unit.to_owned().into_boxed_str());
    units.push(unit);
    unit
}
