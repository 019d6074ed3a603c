//! The live line of each pipeline on a terminal.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use levada_engine::{Progress, TaskState, TaskStatus};
use serde_json::Value;

/// How often a line may change: quicker than that nobody reads.
const REFRESH: Duration = Duration::from_millis(200);

/// The lines at the bottom of the terminal, and the way past them for everything else that goes to stderr.
#[derive(Clone)]
pub(crate) struct Status {
    all: MultiProgress,
    lines: Arc<Mutex<HashMap<String, Line>>>,
}

struct Line {
    bar: ProgressBar,
    shown: Option<Instant>,
    rows: u64,
}

impl Status {
    /// No lines yet; stderr is passed through.
    pub(crate) fn hidden() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), lines: Arc::default() }
    }

    /// Shows a line for each of `pipelines`, if stderr is a terminal. Answers whether it is.
    pub(crate) fn show<'a>(&self, pipelines: impl Iterator<Item = &'a str>) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let Ok(mut lines) = self.lines.lock() else { return false };
        if dumb || !std::io::stderr().is_terminal() {
            return false;
        }
        self.all.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        for name in pipelines {
            let bar = self.all.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(name.to_owned()));
            bar.set_message("waiting for data");
            bar.enable_steady_tick(REFRESH);
            lines.insert(name.to_owned(), Line { bar, shown: None, rows: 0 });
        }
        true
    }

    /// A batch was committed.
    pub(crate) fn progress(&self, progress: &Progress) {
        let Ok(mut lines) = self.lines.lock() else { return };
        let Some(line) = lines.get_mut(&progress.name) else { return };
        line.rows += progress.num_input_rows;
        if line.shown.is_none_or(|at| at.elapsed() >= REFRESH) {
            line.shown = Some(Instant::now());
            line.bar.set_message(describe(progress, line.rows));
        }
    }

    /// A task's state changed.
    pub(crate) fn status(&self, status: &TaskStatus) {
        let Ok(lines) = self.lines.lock() else { return };
        let Some(line) = lines.get(&status.pipeline) else { return };
        match status.state {
            TaskState::Running => {}
            TaskState::Restarting => line.bar.set_message("failed; it will be started again"),
            TaskState::Failed | TaskState::Stopped => line.bar.finish_and_clear(),
        }
    }

    /// Runs `work` with the lines out of the way.
    pub(crate) fn aside<R>(&self, work: impl FnOnce() -> R) -> R {
        self.all.suspend(work)
    }
}

/// Stderr, past the lines: one call of `write` is one whole message.
impl Write for Status {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.aside(|| std::io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What the line says: `batch 12  3,456,789 rows  1,234,567 rows/s  13 ms  lag 1,024  watermark 2024-05-01T10:15:03.000Z`.
fn describe(progress: &Progress, rows: u64) -> String {
    let rate = thousands(progress.processed_rows_per_second.round().max(0.0) as u64);
    let mut text =
        format!("batch {}  {} rows  {rate} rows/s  {} ms", progress.batch_id, thousands(rows), progress.batch_duration);
    // Not every source knows its lag, and not every pipeline has a watermark: Spark's names say where they stand.
    let value = serde_json::to_value(progress).unwrap_or_default();
    if let Some(lag) = lag(&value) {
        text += &format!("  lag {}", thousands(lag));
    }
    if let Some(watermark) = value.pointer("/eventTime/watermark").and_then(Value::as_str) {
        text += &format!("  watermark {watermark}");
    }
    if progress.num_rejected_rows > 0 {
        text += &format!("  {} bad rows", thousands(progress.num_rejected_rows));
    }
    text
}

/// How far all partitions are behind what there is, in the unit of the source's positions.
fn lag(progress: &Value) -> Option<u64> {
    let mut lag = None;
    for source in progress.get("sources")?.as_array()? {
        let (Some(latest), Some(end)) = (source["latestOffset"].as_array(), source["endOffset"].as_array()) else {
            continue;
        };
        let position = |entry: &Value| entry["offset"]["position"].as_u64();
        for entry in latest {
            let at = end.iter().find(|other| other["partition"] == entry["partition"]).and_then(position);
            if let (Some(latest), Some(at)) = (position(entry), at) {
                *lag.get_or_insert(0) += latest.saturating_sub(at);
            }
        }
    }
    lag
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn the_lag_is_the_sum_over_the_partitions_that_are_known() {
        let at =
            |partition: u32, position: u64| json!({"partition": {"p": partition}, "offset": {"position": position}});
        let source = json!({"latestOffset": [at(0, 10), at(1, 7), at(2, 5)], "endOffset": [at(0, 4), at(1, 7)]});
        assert_eq!(lag(&json!({"sources": [source]})), Some(6));
        assert_eq!(lag(&json!({"sources": [{"endOffset": [at(0, 4)]}]})), None);
    }
}
