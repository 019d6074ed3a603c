//! Aggregates that keep more than numbers: their results, and that a restored state goes on as the uninterrupted one.

use std::sync::LazyLock;

use levada_connector_api::OutputMode;
use levada_transform_aggregate::WindowedAggregate;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::windowed::{Event, Job, steps};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const ALL: &str = "approx_count_distinct(value), percentile(value, array(0.1, 0.5)), \
    percentile(value, 0.5, 2) FILTER (WHERE value > 0), median(value), \
    percentile_disc(0.3) WITHIN GROUP (ORDER BY value DESC), percentile_approx(value, 0.5, 3), mode(value, true), \
    mode(name), listagg(name, '/') WITHIN GROUP (ORDER BY value DESC, at), \
    regr_slope(value, unix_timestamp(at)), regr_sxx(value, value), regr_count(value, value), regr_avgy(value, value)";

/// The rows of batches of values under one key.
fn of(aggregates: &str, batches: &[&[i64]]) -> Vec<String> {
    RUNTIME.block_on(async {
        let mut job = Job::new(&WindowedAggregate, &[("aggregates", aggregates)], OutputMode::Complete).await;
        let mut last = Vec::new();
        for (number, values) in (0..).zip(batches) {
            let events: Vec<Event> = values.iter().map(|value| (0, Some(1), *value)).collect();
            last = job.run(number, (0, 0), &[events], false).await;
        }
        last
    })
}

#[test]
fn percentiles_are_exact() {
    let all = "percentile(value, array(0, 0.25, 0.5, 1)) AS p, median(value) AS m, \
        percentile_cont(0.25) WITHIN GROUP (ORDER BY value DESC) AS c, \
        percentile_disc(0.25) WITHIN GROUP (ORDER BY value) AS d, percentile_approx(value, 0.5) AS a";
    assert_eq!(of(all, &[&[4, 1], &[3, 10]]), ["[1.0, 2.5, 3.5, 10.0] 3.5 5.5 1.0 3"]);
    assert_eq!(of(all, &[&[]]), ["- - - - -"]);
}

#[test]
fn distinct_values_are_counted_to_a_few_percent() {
    let values: Vec<i64> = (0..200_000).collect();
    for (some, allowed) in [(100, 5), (1000, 50), (1500, 200), (2500, 300), (200_000, 20_000)] {
        let all = of("approx_count_distinct(value) AS n, approx_count_distinct(value, 0.01) AS m", &[&values[..some]]);
        let counts: Vec<i64> = all[0].split(' ').map(|count| count.parse().unwrap()).collect();
        assert!((counts[0] - some as i64).abs() <= allowed, "{some}: {counts:?}");
        assert!((counts[1] - some as i64).abs() <= (some as i64) / 40, "{some}: {counts:?}");
    }
}

#[test]
fn approximate_percentiles_are_as_right_as_they_were_asked_to_be() {
    let values: Vec<i64> = (0..30_000).map(|i| i * 7919 % 30_011).collect();
    let batches: Vec<&[i64]> = values.chunks(1000).collect();
    let found = of("percentile_approx(value, array(0.1, 0.5, 0.9), 100) AS p", &batches);
    let found: Vec<i64> = found[0].trim_matches(['[', ']']).split(", ").map(|value| value.parse().unwrap()).collect();
    for (value, wanted) in found.into_iter().zip([3000, 15_000, 27_000]) {
        assert!((value - wanted).abs() <= 300, "{value} is not near {wanted}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn a_restored_state_goes_on_as_the_uninterrupted_one(steps in steps(), shape in 0..4) {
        RUNTIME.block_on(async {
            let mut config = vec![("aggregates", ALL), ("group.by", "key")];
            config.extend(match shape {
                0 => vec![("time", "at"), ("window", "20 seconds")],
                1 => vec![("time", "at"), ("window", "20 seconds"), ("slide", "7 seconds")],
                2 => vec![("time", "at"), ("session.gap", "5 seconds")],
                _ => vec![],
            });
            let mode = if shape == 3 { OutputMode::Update } else { OutputMode::Append };
            let mut steady = Job::new(&WindowedAggregate, &config, mode).await;
            let mut broken = Job::new(&WindowedAggregate, &config, mode).await;
            let (mut late, mut watermark) = (0, 0);
            for (id, (pieces, moved, snapshot, restart)) in (0..).zip(&steps) {
                let expected = steady.run(id, (late, watermark), pieces, false).await;
                prop_assert_eq!(&broken.run(id, (late, watermark), pieces, *snapshot).await, &expected);
                if *restart {
                    broken.restart().await;
                }
                late = watermark;
                watermark += moved;
            }
            Ok(())
        })?;
    }
}
