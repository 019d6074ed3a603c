//! The generator: what it gives, and that it gives it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use levada_connector_api::testkit::{ManualClock, canonical_rows};
use levada_connector_api::{
    ErrorKind, Offset, Offsets, Partition, Plugin, PollLimit, PollStatus, Source, SourcePlugin, TaskContext,
};
use levada_connector_basic::datagen::Datagen;
use levada_formats::ddl;
use proptest::prelude::*;

use super::{config, config_errors};

fn make(entries: &[(&str, &str)]) -> Box<dyn Source> {
    Datagen.create(&config(&Datagen, entries)).unwrap()
}

fn at(kind: &str, row: u64) -> Offsets {
    Offsets::from_iter([(Partition::named("generator", kind), Offset::at(row))])
}

fn kind_of<'a>(entries: &[(&'a str, &'a str)]) -> &'a str {
    entries.iter().find(|(key, _)| *key == "kind").map_or("words", |(_, kind)| kind)
}

/// Rows `from..to`, read with a limit of rows.
async fn read(entries: &[(&str, &str)], from: u64, to: u64, limit: usize) -> RecordBatch {
    let mut source = make(entries);
    let schema = source.schema().await.unwrap();
    source.open(&TaskContext::new("p"), &at(kind_of(entries), from)).await.unwrap();
    let until = Some(Arc::new(at(kind_of(entries), to)));
    let limit = PollLimit { rows: limit, until, ..PollLimit::unlimited(0) };
    let mut batches = Vec::new();
    loop {
        let polled = source.poll(&limit).await.unwrap();
        batches.extend(polled.batches.into_iter().map(|batch| batch.rows));
        if polled.status == PollStatus::End {
            return concat_batches(&schema, &batches).unwrap();
        }
    }
}

#[tokio::test]
async fn words_are_always_the_same() {
    let rows = read(&[("words.per.line", "4"), ("seed", "7")], 0, 3, 100).await;
    // A change here breaks the replay of every checkpoint made before it.
    let lines: Vec<_> = rows.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(lines, WORDS_OF_SEED_7);
    assert_ne!(rows, read(&[("words.per.line", "4"), ("seed", "8")], 0, 3, 100).await);
}

const WORDS_OF_SEED_7: [&str; 3] = ["mu ne yama tetecu", "ticave te jizu te", "su nexe tekufu no"];

#[tokio::test]
async fn words_follow_zipfs_law() {
    let rows = read(&[("distinct", "1000"), ("words.per.line", "10")], 0, 20_000, 8192).await;
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for line in rows.column(0).as_string::<i32>().iter().flatten() {
        assert_eq!(line.split(' ').count(), 10, "{line}");
        for word in line.split(' ') {
            *counts.entry(word).or_default() += 1.0;
        }
    }
    let mut ranked: Vec<_> = counts.into_values().collect();
    ranked.sort_by(|a, b| b.total_cmp(a));
    assert!(ranked.len() > 990, "{} words", ranked.len());
    let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
    for rank in [1u32, 2, 10, 100] {
        let (found, wanted) = (ranked[rank as usize - 1], 200_000.0 / f64::from(rank) / harmonic);
        assert!((found / wanted - 1.0).abs() < 0.2, "rank {rank}: {found} for {wanted}");
    }
}

#[tokio::test]
async fn without_skew_all_words_are_equally_frequent() {
    let rows = read(&[("distinct", "10"), ("skew", "0"), ("words.per.line", "1")], 0, 10_000, 8192).await;
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for word in rows.column(0).as_string::<i32>().iter().flatten() {
        *counts.entry(word).or_default() += 1;
    }
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[tokio::test]
async fn orders_are_plausible() {
    let entries = [("kind", "orders"), ("keys", "50"), ("start.time", "2024-02-29 12:00:00"), ("step", "2 seconds")];
    let rows = read(&entries, 5, 2005, 100).await;
    let wanted = "order_id BIGINT, customer STRING, product STRING, quantity INT, price DECIMAL(10,2), ts TIMESTAMP";
    assert_eq!(rows.schema_ref().fields(), ddl::parse_schema(wanted).unwrap().fields());
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 5);
    let times = rows.column(5).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), 1_709_208_010_000_000);
    assert_eq!(times.value(1) - times.value(0), 2_000_000);
    let customers: std::collections::HashSet<_> = rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(customers.len(), 50);
    assert!(
        rows.column(4).as_primitive::<Decimal128Type>().iter().flatten().all(|cents| (100..10_000).contains(&cents))
    );
}

#[tokio::test]
async fn cars_have_the_twenty_fields() {
    let wanted = "dataId STRING NOT NULL, trsmDy INT, trmnId STRING, trsmUtcTime DOUBLE, trsmYear STRING, \
                  trsmMt STRING, trsmTm STRING, trsmMs STRING, vhcleLot DOUBLE, vhcleLat DOUBLE, vhcleEvt DOUBLE, \
                  trmnTypeCd STRING, gpsUtcTime DOUBLE, vhcleDrc DOUBLE, vhcleSped DOUBLE, trnsmStatCd STRING, \
                  lcdtRevisnStatCd STRING, vhcleTypeCd STRING, rgtrId STRING, regDt TIMESTAMP";
    let rows = read(&[("kind", "cars"), ("keys", "7"), ("step", "1 minute")], 1000, 1500, 64).await;
    assert_eq!(rows.schema_ref().fields(), ddl::parse_schema(wanted).unwrap().fields());
    let text = &canonical_rows(&rows)[0];
    for part in ["D000000001000", "20240101", "\"T000006\"", "\"2024\"", "\"0101\"", "\"164000\"", "\"000\"", "\"SYS\""]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(rows.columns().iter().all(|column| column.null_count() == 0));
    let between = |name: &str, low: f64, high: f64| {
        let column = rows.column_by_name(name).unwrap();
        assert_eq!(column.data_type(), &DataType::Float64);
        let values = column.as_primitive::<arrow::datatypes::Float64Type>();
        assert!(values.iter().flatten().all(|value| (low..high).contains(&value)), "{name}");
    };
    between("vhcleLot", 126.0, 128.0);
    between("vhcleLat", 37.0, 38.0);
    between("vhcleDrc", 0.0, 360.0);
    between("vhcleSped", 0.0, 120.0);
}

#[tokio::test]
async fn the_pace_is_the_clocks() {
    let clock = Arc::new(ManualClock::at(1000));
    let context = TaskContext { clock: clock.clone(), ..TaskContext::new("p") };
    let mut source = make(&[("rows.per.second", "100"), ("rows", "250")]);
    source.schema().await.unwrap();
    source.open(&context, &at("words", 40)).await.unwrap();
    let limit = PollLimit { rows: 15, ..PollLimit::unlimited(0) };
    let mut polls = Vec::new();
    for step in [0, 200, 0, 0, 10_000] {
        clock.advance(Duration::from_millis(step));
        assert!(source.latest().await.unwrap().ranges_to(&at("words", 250)).is_ok());
        let polled = source.poll(&limit).await.unwrap();
        polls.push((polled.num_rows(), polled.status));
    }
    use PollStatus::{Idle, More};
    assert_eq!(polls, [(0, Idle), (15, More), (5, Idle), (0, Idle), (15, More)]);
    assert_eq!(source.latest().await.unwrap(), at("words", 250));
    // A recorded range is given at once, whatever the clock says.
    let mut again = make(&[("rows.per.second", "1")]);
    again.schema().await.unwrap();
    again.open(&context, &at("words", 0)).await.unwrap();
    let until = Some(Arc::new(at("words", 100)));
    let polled = again.poll(&PollLimit { until, ..PollLimit::unlimited(0) }).await.unwrap();
    assert_eq!((polled.num_rows(), polled.status), (100, PollStatus::End));
}

#[tokio::test]
async fn a_poll_waits_for_the_next_row() {
    let mut source = make(&[("rows.per.second", "200")]);
    source.schema().await.unwrap();
    source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap();
    let limit = PollLimit { wait: Duration::from_secs(5), ..PollLimit::unlimited(0) };
    let begun = std::time::Instant::now();
    let mut rows = 0;
    while rows == 0 {
        rows = source.poll(&limit).await.unwrap().num_rows();
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_time_that_does_not_exist_is_an_error() {
    let mut source = make(&[("kind", "orders"), ("step", "52000 weeks")]);
    source.schema().await.unwrap();
    source.open(&TaskContext::new("p"), &at("orders", 1_000_000)).await.unwrap();
    let error = source.poll(&PollLimit::unlimited(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}

#[test]
fn options_are_checked() {
    let errors = config_errors(&Datagen, &[("kind", "word"), ("rows.per.second", "0"), ("start.time", "noon")]);
    assert_eq!(
        errors,
        [
            "kind = 'word': use one of words, orders, cars; did you mean 'words'?",
            "rows.per.second = '0': it must be more than 0",
            "start.time = 'noon': not a time; write it as 2024-01-01T00:00:00Z",
        ]
    );
    let idle = Datagen.validate(&config(&Datagen, &[("kind", "cars"), ("skew", "2")]));
    assert_eq!(idle[0].to_string(), "skew: it is for kind words only");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_range_is_the_same_however_it_is_cut(
        kind in prop::sample::select(vec!["words", "orders", "cars"]),
        seed in 0u64..100,
        from in 0u64..1_000_000_000,
        cuts in prop::collection::vec((1u64..40, 1usize..50), 1..6),
    ) {
        let seed = seed.to_string();
        let entries = [("kind", kind), ("seed", seed.as_str())];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let to = from + cuts.iter().map(|(length, _)| length).sum::<u64>();
            let whole = canonical_rows(&read(&entries, from, to, 8192).await);
            let (mut pieces, mut at) = (Vec::new(), from);
            for (length, limit) in cuts {
                pieces.extend(canonical_rows(&read(&entries, at, at + length, limit).await));
                at += length;
            }
            assert_eq!(whole, pieces);
        });
    }
}

#[tokio::test]
async fn a_checkpoint_of_another_source_is_refused() {
    let mut of_files = Offsets::new();
    of_files.set(Partition::named("file", "a.txt"), Offset::at(6));
    let mut source = Datagen.create(&config(&Datagen, &[("kind", "words")])).unwrap();
    let error = source.open(&TaskContext::new("p"), &of_files).await.unwrap_err();
    assert!(error.to_string().contains("no generator"), "{error}");
}
