//! Telemetry of cars: the twenty fields of `car_info`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Datelike, Timelike};
use levada_connector_api::{Error, Result};

use super::columns::Text;
use super::source::{event_time, fitting};
use super::{Draw, Generate, Options, mix};

/// What each row counts against a limit of bytes.
const ROW_BYTES: usize = 256;

/// Generates telemetry: car `i % keys` reports in row `i`.
pub(super) struct Cars {
    schema: SchemaRef,
    options: Options,
}

impl Cars {
    pub(super) fn new(options: &Options) -> Self {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let field = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
        let (text, number) = (DataType::Utf8, DataType::Float64);
        let schema = Schema::new(vec![
            Field::new("dataId", DataType::Utf8, false),
            field("trsmDy", &DataType::Int32),
            field("trmnId", &text),
            field("trsmUtcTime", &number),
            field("trsmYear", &text),
            field("trsmMt", &text),
            field("trsmTm", &text),
            field("trsmMs", &text),
            field("vhcleLot", &number),
            field("vhcleLat", &number),
            field("vhcleEvt", &number),
            field("trmnTypeCd", &text),
            field("gpsUtcTime", &number),
            field("vhcleDrc", &number),
            field("vhcleSped", &number),
            field("trnsmStatCd", &text),
            field("lcdtRevisnStatCd", &text),
            field("vhcleTypeCd", &text),
            field("rgtrId", &text),
            field("regDt", &time),
        ]);
        Self { schema: Arc::new(schema), options: options.clone() }
    }
}

/// The columns in the order of the schema.
struct Columns {
    data_id: Text,
    day: Vec<i32>,
    terminal: Text,
    sent: Vec<f64>,
    year: Text,
    month_day: Text,
    time: Text,
    millis: Text,
    longitude: Vec<f64>,
    latitude: Vec<f64>,
    elevation: Vec<f64>,
    terminal_type: Text,
    gps: Vec<f64>,
    direction: Vec<f64>,
    speed: Vec<f64>,
    status: Text,
    corrected: Text,
    car_type: Text,
    registrar: Text,
    registered: Vec<i64>,
}

impl Columns {
    fn with_capacity(rows: usize) -> Self {
        let text = |width| Text::with_capacity(rows, width);
        let numbers = || Vec::with_capacity(rows);
        Self {
            data_id: text(13),
            day: Vec::with_capacity(rows),
            terminal: text(7),
            sent: numbers(),
            year: text(4),
            month_day: text(4),
            time: text(6),
            millis: text(3),
            longitude: numbers(),
            latitude: numbers(),
            elevation: numbers(),
            terminal_type: text(2),
            gps: numbers(),
            direction: numbers(),
            speed: numbers(),
            status: text(1),
            corrected: text(1),
            car_type: text(2),
            registrar: text(3),
            registered: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, options: &Options, row: u64) -> Result<()> {
        let draw = Draw::row(options.seed, row);
        let (car, report) = (row % options.keys, row / options.keys);
        let micros = event_time(options, row)?;
        let time = DateTime::from_timestamp_micros(micros)
            .ok_or_else(|| Error::data(format!("the time of row {row} is too far from now")))?;

        self.data_id.push_number("D", row, 12)?;
        self.day.push(time.year() * 10_000 + (time.month() * 100 + time.day()) as i32);
        self.terminal.push_number("T", car, 6)?;
        self.sent.push(micros.div_euclid(1000) as f64 / 1000.0);
        self.year.push_number("", u64::try_from(time.year()).unwrap_or(0), 4)?;
        self.month_day.push_number("", (time.month() * 100 + time.day()).into(), 4)?;
        self.time.push_number("", (time.hour() * 10_000 + time.minute() * 100 + time.second()).into(), 6)?;
        self.millis.push_number("", u64::from(time.timestamp_subsec_millis()), 3)?;

        // A car drives to and fro on a straight line through its home, near Seoul.
        let (home, there) = (Draw(mix(car)), (report % 2000) < 1000);
        let along = if there { report % 1000 } else { 1000 - report % 1000 } as f64 / 1e5;
        let heading = home.below(0, 360);
        let slope = (heading % 90) as f64 / 90.0;
        self.longitude.push(micro(126.8 + home.below(1, 400_000) as f64 / 1e6 + along * slope));
        self.latitude.push(micro(37.4 + home.below(2, 300_000) as f64 / 1e6 + along * (1.0 - slope)));
        self.elevation.push(20.0 + draw.below(0, 600) as f64 / 10.0);
        self.terminal_type.push(if home.below(3, 2) == 0 { "A1" } else { "B2" })?;
        // A fix is up to half a second older than its message.
        self.gps.push((micros.div_euclid(1000) - draw.below(1, 500) as i64) as f64 / 1000.0);
        self.direction.push((heading + if there { 0 } else { 180 }) as f64 % 360.0);
        self.speed.push(draw.below(2, 1100) as f64 / 10.0);
        self.status.push(if draw.below(3, 50) == 0 { "P" } else { "D" })?;
        self.corrected.push(if draw.below(4, 20) == 0 { "0" } else { "1" })?;
        self.car_type.push_number("", 11 + home.below(4, 5), 2)?;
        self.registrar.push("SYS")?;
        self.registered.push(micros);
        Ok(())
    }

    fn finish(self) -> Result<Vec<ArrayRef>> {
        let numbers = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        Ok(vec![
            self.data_id.finish()?,
            Arc::new(Int32Array::from(self.day)),
            self.terminal.finish()?,
            numbers(self.sent),
            self.year.finish()?,
            self.month_day.finish()?,
            self.time.finish()?,
            self.millis.finish()?,
            numbers(self.longitude),
            numbers(self.latitude),
            numbers(self.elevation),
            self.terminal_type.finish()?,
            numbers(self.gps),
            numbers(self.direction),
            numbers(self.speed),
            self.status.finish()?,
            self.corrected.finish()?,
            self.car_type.finish()?,
            self.registrar.finish()?,
            Arc::new(TimestampMicrosecondArray::from(self.registered).with_timezone("UTC")),
        ])
    }
}

/// Degrees to six digits, as receivers give them.
fn micro(degrees: f64) -> f64 {
    (degrees * 1e6).round() / 1e6
}

impl Generate for Cars {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn generate(&self, first: u64, rows: usize, bytes: usize) -> Result<(RecordBatch, usize)> {
        let rows = fitting(rows, bytes, ROW_BYTES);
        let mut columns = Columns::with_capacity(rows);
        for row in (first..).take(rows) {
            columns.push(&self.options, row)?;
        }
        Ok((RecordBatch::try_new(self.schema(), columns.finish()?)?, rows * ROW_BYTES))
    }
}
