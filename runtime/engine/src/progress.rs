//! What a micro-batch did, in the names that Spark's dashboards know.

use levada_connector_api::OffsetRanges;
use serde::Serialize;
use serde_json::Value;

/// One micro-batch, as Spark's `StreamingQueryProgress` reports it. Serialises to the same JSON names.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The pipeline's id: the same over restarts from one checkpoint.
    pub id: String,
    /// This run's id.
    pub run_id: String,
    /// The pipeline's name.
    pub name: String,
    /// The task's number.
    pub task: u32,
    /// When the batch began, ISO-8601 in UTC.
    pub timestamp: String,
    /// The micro-batch.
    pub batch_id: u64,
    /// From the first row read to the commit, in milliseconds.
    pub batch_duration: u64,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows read a second, since the batch before.
    pub input_rows_per_second: f64,
    /// Rows read a second of the batch's duration.
    pub processed_rows_per_second: f64,
    /// Where the time went.
    pub duration_ms: Durations,
    /// Event time, when the pipeline has a watermark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeProgress>,
    /// The stateful transforms, the last of the chain first.
    pub state_operators: Vec<StateProgress>,
    /// The sources.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Rows that went to the dead letters.
    pub num_rejected_rows: u64,
    /// What transforms tell of the batch, by their aliases; Spark has the metrics of `observe` there.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub observed_metrics: serde_json::Map<String, Value>,
}

impl Progress {
    /// Rows that stateful transforms dropped because they were late; `None` when there is no such transform.
    pub fn late_rows(&self) -> Option<u64> {
        let dropped = |state: &StateProgress| state.num_rows_dropped_by_watermark;
        (!self.state_operators.is_empty()).then(|| self.state_operators.iter().map(dropped).sum())
    }
}

/// Where a batch's time went, in milliseconds. Stages overlap: the parts may exceed the whole.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// Reading and decoding.
    pub get_batch: u64,
    /// Staging at the sink, without its commit. Transforms run meanwhile; Spark counts them here, too.
    pub add_batch: u64,
    /// Making the batch's record durable.
    pub wal_commit: u64,
    /// The sink's commit.
    pub sink_commit: u64,
    /// Recording the commit.
    pub commit_offsets: u64,
    /// All of it.
    pub trigger_execution: u64,
}

/// The event times of a batch, ISO-8601 in UTC.
#[derive(Debug, Clone, Serialize)]
pub struct EventTimeProgress {
    /// The earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// The mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg: Option<String>,
    /// The watermark that the batch used.
    pub watermark: String,
}

/// One stateful transform.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateProgress {
    /// The operator.
    pub operator_name: String,
    /// Keys held.
    pub num_rows_total: u64,
    /// Keys touched.
    pub num_rows_updated: u64,
    /// Keys removed.
    pub num_rows_removed: u64,
    /// Memory held.
    pub memory_used_bytes: u64,
    /// Rows dropped because they were late.
    pub num_rows_dropped_by_watermark: u64,
}

/// What was read of the source.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The source's class.
    pub description: String,
    /// For each partition that moved: where it stood.
    pub start_offset: Value,
    /// For each partition that moved: where it stands.
    pub end_offset: Value,
    /// Rows read.
    pub num_input_rows: u64,
}

impl SourceProgress {
    pub(crate) fn new(description: &str, ranges: &OffsetRanges, rows: u64) -> Self {
        let entry = |partition: &levada_connector_api::Partition, offset: Value| serde_json::json!({ "partition": partition.to_map(), "offset": offset });
        let json = |offset: &levada_connector_api::Offset| serde_json::to_value(offset).unwrap_or(Value::Null);
        Self {
            description: description.to_owned(),
            start_offset: ranges
                .iter()
                .map(|(p, range)| entry(p, range.start.as_ref().map_or(Value::Null, json)))
                .collect(),
            end_offset: ranges.iter().map(|(p, range)| entry(p, json(&range.end))).collect(),
            num_input_rows: rows,
        }
    }
}

/// What was written to the sink.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The sink's class.
    pub description: String,
    /// Rows written.
    pub num_output_rows: u64,
    /// What the sink promises.
    pub guarantee: String,
}
