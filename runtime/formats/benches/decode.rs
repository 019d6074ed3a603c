//! Nanoseconds a row of the decoders in one thread: `cargo bench -p levada-formats`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may stop at the first surprise")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use levada_formats::csv::{CsvDecoder, CsvOptions};
use levada_formats::ddl::parse_schema;
use levada_formats::json::{JsonDecoder, JsonMode, JsonOptions};
use levada_formats::text::LineSplitter;

const ROWS: usize = 200_000;
/// Rows of one batch.
const BATCH: usize = 8192;
const ROUNDS: usize = 15;

const CARINFO: &str = "dataId string, trsmDy int, trmnId string, trsmUtcTime double, trsmYear string, trsmMt string, \
    trsmTm string, trsmMs string, vhcleLot double, vhcleLat double, vhcleEvt double, trmnTypeCd string, \
    gpsUtcTime double, vhcleDrc double, vhcleSped double, trnsmStatCd string, lcdtRevisnStatCd string, \
    vhcleTypeCd string, rgtrId string, regDt timestamp";

/// The best of some rounds: the others were disturbed.
fn measure(name: &str, text: &[u8], mut round: impl FnMut(&[&[u8]])) {
    let mut lines = Vec::new();
    LineSplitter::new().split(text, true, |line, _| lines.push(line));
    // A word on the command line chooses cases by their names.
    if std::env::args().skip(1).any(|word| !word.starts_with("--") && !name.contains(&word)) {
        return;
    }
    let bytes = text.len();
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round(&lines);
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    let nanos = best.as_secs_f64() * 1e9;
    let (row, width) = (nanos / lines.len() as f64, bytes as f64 / lines.len() as f64);
    println!("{name:<44} {row:7.1} ns/row {width:6.1} B/row {:6.2} GB/s", bytes as f64 / nanos);
}

fn json(name: &str, ddl: &str, text: &[u8], options: &JsonOptions) {
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let mut decoder = JsonDecoder::new(schema, options.clone()).unwrap();
    measure(name, text, |lines| {
        for chunk in lines.chunks(BATCH) {
            chunk.iter().for_each(|line| decoder.push(line));
            black_box(decoder.finish().unwrap());
        }
    });
}

fn csv(name: &str, ddl: &str, text: &[u8]) {
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let mut decoder = CsvDecoder::new(schema, CsvOptions::permissive()).unwrap();
    measure(name, text, |lines| {
        for chunk in lines.chunks(BATCH) {
            chunk.iter().for_each(|line| decoder.push(line));
            black_box(decoder.finish().unwrap());
        }
    });
}

fn rows(row: impl Fn(usize) -> String) -> Vec<u8> {
    (0..ROWS).flat_map(|i| (row(i) + "\n").into_bytes()).collect()
}

fn main() {
    let time =
        |i: usize| format!("2024-01-{:02}T{:02}:{:02}:{:02}", i / 86400 % 28 + 1, i / 3600 % 24, i / 60 % 60, i % 60);
    let key = |i: usize| i.wrapping_mul(7919) % 1000;
    let events = rows(|i| {
        format!(
            r#"{{"ts":"{}.{:03}Z","key":"k{:03}","value":{}.{:02}}}"#,
            time(i),
            i % 1000,
            key(i),
            i % 100,
            i % 90 + 10
        )
    });
    let spaced = rows(|i| {
        format!(r#"{{"ts": "{}Z", "key": "k{:03}", "value": {}.{:02}}}"#, time(i), key(i), i % 100, i % 90 + 10)
    });
    let cars = rows(|i| {
        format!(
            "{{\"dataId\": \"C{i:04}\", \"trsmDy\": 20240101, \"trmnId\": \"T{}\", \"trsmUtcTime\": {}.25, \
             \"trsmYear\": \"2024\", \"trsmMt\": \"0101\", \"trsmTm\": \"090000\", \"trsmMs\": \"{:03}\", \
             \"vhcleLot\": 127.{:03}, \"vhcleLat\": 37.5625, \"vhcleEvt\": 35.5, \"trmnTypeCd\": \"A1\", \
             \"gpsUtcTime\": 1704067201.0, \"vhcleDrc\": 90.0, \"vhcleSped\": 60.5, \"trnsmStatCd\": \"D\", \
             \"lcdtRevisnStatCd\": \"1\", \"vhcleTypeCd\": \"11\", \"rgtrId\": \"SYS\", \"regDt\": \"{}Z\"}}",
            i % 3,
            1_704_067_200 + i,
            i % 1000,
            i % 1000,
            time(i),
        )
    });
    let users = rows(|i| {
        format!(
            r#"{{"id":{i},"user":"user-{}","age":{},"country":"{}","amount":{}.{:02},"active":{}}}"#,
            i.wrapping_mul(7919) % 1_000_000,
            i.wrapping_mul(31) % 100,
            ["ES", "KR", "FR", "BR", "DE"][i.wrapping_mul(17) % 5],
            i.wrapping_mul(104_729) % 100_000,
            i % 90 + 10,
            i.wrapping_mul(2_654_435_761) % 7 < 3,
        )
    });
    let people = rows(|i| format!("name{},{},{}.5,{}Z", key(i), i % 90, i % 200, time(i)));
    let quoted = rows(|i| format!("\"name, {}\",{},{}.5,{}Z", key(i), i % 90, i % 200, time(i)));

    let permissive = JsonOptions::permissive(JsonMode::Source);
    let ddl = "ts timestamp, key string, value double";
    json("json {ts,key,value}", ddl, &events, &permissive);
    json("json {ts,key,value}, strict", ddl, &events, &JsonOptions::default());
    json("json {ts,key,value}, with blanks", ddl, &spaced, &permissive);
    json("json {ts,key,value}, ts as string", "ts string, key string, value double", &events, &permissive);
    json("json {ts,key,value}, value only", "value double", &events, &permissive);
    let user = "id bigint, user string, age int, country string, amount double, active boolean";
    json("json user record, 6 fields", user, &users, &permissive);
    json("json car record, 20 fields", CARINFO, &cars, &permissive);
    json("json car record, 20 fields, from_json", CARINFO, &cars, &JsonOptions::permissive(JsonMode::FromJson));
    let people_ddl = "name string, age int, x double, ts timestamp";
    csv("csv name,age,x,ts", people_ddl, &people);
    csv("csv name,age,x,ts with quotes", people_ddl, &quoted);
    csv("csv name,age", "name string, age int", &rows(|i| format!("name{},{}", key(i), i % 90)));

    let windows = String::from_utf8_lossy(&events).replace('\n', "\r\n").into_bytes();
    for (name, text) in [("lines of 63 bytes, \\n", &events), ("lines of 63 bytes, \\r\\n", &windows)] {
        measure(name, text, |_| {
            let mut total = 0;
            for chunk in text.chunks(1 << 18) {
                LineSplitter::new().split(chunk, false, |line, at| total += line.len() ^ at);
            }
            black_box(total);
        });
    }
}
