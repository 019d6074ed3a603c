//! The live line of each pipeline on a terminal.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use levada_engine::{Progress, TaskState, TaskStatus};

/// How often the lines are drawn: quicker than that nobody reads.
const REFRESH: Duration = Duration::from_millis(200);

/// The lines at the bottom of the terminal, and the way past them for everything else that goes to stderr.
#[derive(Clone)]
pub(crate) struct Status {
    all: MultiProgress,
    lines: Arc<Mutex<HashMap<String, Line>>>,
}

struct Line {
    bar: ProgressBar,
    rows: u64,
    /// The newest event so far: a batch without data has none.
    newest: Option<DateTime<Utc>>,
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
            lines.insert(name.to_owned(), Line { bar, rows: 0, newest: None });
        }
        true
    }

    /// A batch was committed.
    pub(crate) fn progress(&self, progress: &Progress) {
        let Ok(mut lines) = self.lines.lock() else { return };
        let Some(line) = lines.get_mut(&progress.name) else { return };
        line.rows += progress.num_input_rows;
        let newest = progress.event_time.as_ref().and_then(|times| times.max.as_ref()?.parse().ok());
        line.newest = line.newest.max(newest);
        line.bar.set_message(describe(progress, line.rows, line.newest.map(|newest| Utc::now() - newest)));
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

/// What the line says: `batch 12  3,456,789 rows  1,234,567 rows/s  13 ms  lag 2 s  watermark 2024-05-01T10:15:03.000Z`.
/// The lag is how long ago the newest event was; it is known where the pipeline has event times.
fn describe(progress: &Progress, rows: u64, lag: Option<TimeDelta>) -> String {
    let rate = thousands(progress.processed_rows_per_second.round().max(0.0) as u64);
    let mut text =
        format!("batch {}  {} rows  {rate} rows/s  {} ms", progress.batch_id, thousands(rows), progress.batch_duration);
    if let Some(lag) = lag {
        text += &format!("  lag {}", span(lag.num_seconds()));
    }
    if let Some(times) = &progress.event_time {
        text += &format!("  watermark {}", times.watermark);
    }
    if progress.num_rejected_rows > 0 {
        text += &format!("  {} bad rows", thousands(progress.num_rejected_rows));
    }
    text
}

/// A span of time in its largest unit.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{} s", seconds.max(0)),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
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
    use levada_engine::{Durations, EventTimeProgress, SinkProgress};

    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn the_line_says_what_is_known() {
        let mut progress = Progress {
            id: String::new(),
            run_id: String::new(),
            name: "p".to_owned(),
            task: 0,
            timestamp: String::new(),
            batch_id: 12,
            batch_duration: 13,
            num_input_rows: 5,
            input_rows_per_second: 0.0,
            processed_rows_per_second: 1234.4,
            duration_ms: Durations::default(),
            event_time: None,
            state_operators: Vec::new(),
            sources: Vec::new(),
            sink: SinkProgress { description: String::new(), num_output_rows: 0, guarantee: String::new() },
            num_rejected_rows: 0,
            observed_metrics: serde_json::Map::new(),
        };
        assert_eq!(describe(&progress, 7000, None), "batch 12  7,000 rows  1,234 rows/s  13 ms");
        progress.event_time = Some(EventTimeProgress { min: None, max: None, avg: None, watermark: "W".to_owned() });
        progress.num_rejected_rows = 3;
        let text = describe(&progress, 7000, TimeDelta::try_seconds(180));
        assert!(text.ends_with("13 ms  lag 3 min  watermark W  3 bad rows"), "{text}");
    }
}
