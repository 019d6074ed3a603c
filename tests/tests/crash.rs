//! Processes killed, and steps failed: at every fault point and at random moments.
//!
//! After the restart the output must be the uninterrupted run's, row for row: none lost, none doubled. The default form
//! takes seconds; `LEVADA_CRASH=long` kills each pipeline at 200 random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rand::Rng as _;

use crate::support::{Case, Kills, Output, Site, for_all, long};

/// A point with the passing at which something happens.
#[derive(Debug, Clone)]
struct Moment {
    point: String,
    passing: u64,
}

impl Moment {
    fn argument(&self) -> String {
        format!("{}:{}", self.point, self.passing)
    }
}

/// A dry run: the fault points that the case passes.
pub(crate) fn points(case: &Case) -> BTreeMap<String, u64> {
    let points = case.site().run(&["--list-points"]).succeeded().points();
    assert!(!points.is_empty(), "no fault points were passed");
    points
}

/// The first, the second and the last passing of each point.
fn moments(points: &BTreeMap<String, u64>) -> Vec<Moment> {
    let moment = |(point, last): (&String, &u64)| {
        BTreeSet::from([1, 2.min(*last), *last])
            .into_iter()
            .map(|passing| Moment { point: point.clone(), passing })
            .collect()
    };
    points.iter().flat_map(|entry| -> Vec<Moment> { moment(entry) }).collect()
}

/// Restarts until done: once, unless something is wrong.
pub(crate) fn finish(site: &Site, expected: &Output) -> Result<(), String> {
    let ended = site.run(&[]);
    if !ended.status.success() {
        return Err(format!("the restart failed: {}", ended.error()));
    }
    site.output().same_as(expected)
}

pub(crate) fn kill_at_points(case: &Case, wanted: impl Fn(&str) -> bool) {
    let expected = case.uninterrupted();
    let moments: Vec<_> = moments(&points(case)).into_iter().filter(|m| wanted(&m.point)).collect();
    let (count, unreached) = (moments.len(), AtomicU32::new(0));
    for_all(moments, |moment| {
        let site = case.site();
        let ended = site.run(&["--kill-at", &moment.argument()]);
        // How often a source is polled depends on the time: a last passing need not be reached again. Nor need a second
        // new segment: the worker learns that one is due while it is already some batches ahead.
        let rolls = moment.point.starts_with("roll.");
        let sure = if rolls { 1 } else { 2 };
        if !ended.killed() && (!ended.status.success() || moment.passing <= sure) {
            return Err(format!("not killed but {}: {}", ended.status, ended.said));
        }
        unreached.fetch_add(u32::from(!ended.killed() && !rolls), Relaxed);
        finish(&site, &expected)
    });
    let unreached = unreached.into_inner();
    assert!(unreached as usize <= count / 10, "{unreached} of {count} moments were not reached");
    report(
        case,
        &expected,
        &format!("killed at {count} moments of fault points, of which {unreached} were not reached again"),
    );
}

pub(crate) fn fail_at_points(case: &Case) {
    let expected = case.uninterrupted();
    let moments = moments(&points(case));
    let count = moments.len();
    for_all(moments, |moment| {
        let site = case.site();
        let ended = site.run(&["--fail-at", &moment.argument()]);
        if !ended.status.success() {
            return Err(format!("the task did not go on by itself: {}", ended.said));
        }
        site.output().same_as(&expected)
    });
    report(case, &expected, &format!("failed at {count} moments of fault points"));
}

pub(crate) fn kill_at_random(case: &Case, seed: u64) {
    let expected = case.uninterrupted();
    let sites: Vec<_> = (0..3).map(|_| case.site()).collect();
    let said = Kills::timed(&sites).rounds(if long() { 200 } else { 20 }, seed, |kills, random| {
        let site = case.site();
        for _ in 0..random.random_range(1..4) {
            kills.kill(&site, random);
        }
        finish(&site, &expected)
    });
    report(case, &expected, &said);
}

pub(crate) fn report(case: &Case, expected: &Output, what: &str) {
    println!(
        "{}: {what}: 0 lost, 0 doubled: {} rows, {} dead letters, checksum {:016x}",
        case.name,
        expected.rows.len(),
        expected.letters.len(),
        expected.checksum()
    );
}

#[test]
fn word_count_killed_at_every_fault_point() {
    kill_at_points(&Case::word_count(), |_| true);
}

#[test]
fn filter_to_parquet_killed_at_every_fault_point() {
    kill_at_points(&Case::filter(), |_| true);
}

#[test]
fn a_checkpoint_that_rolls_over_killed_at_its_fault_points() {
    kill_at_points(&Case::rolling(), |point| point.starts_with("roll."));
}

#[test]
fn windows_of_windows_killed_at_every_fault_point() {
    kill_at_points(&Case::windows(), |_| true);
}

#[test]
fn sessions_killed_at_every_fault_point() {
    kill_at_points(&Case::sessions(), |_| true);
}

#[test]
fn duplicates_killed_at_every_fault_point() {
    kill_at_points(&Case::duplicates(), |_| true);
}

#[test]
fn updates_killed_at_every_fault_point() {
    kill_at_points(&Case::updates(), |_| true);
}

#[test]
fn stateful_transforms_killed_at_random_moments() {
    for (number, case) in [Case::windows(), Case::sessions(), Case::duplicates(), Case::updates()].iter().enumerate() {
        kill_at_random(case, 20 + number as u64);
    }
}

#[test]
fn word_count_killed_at_random_moments() {
    kill_at_random(&Case::word_count(), 11);
}

#[test]
fn filter_to_parquet_killed_at_random_moments() {
    kill_at_random(&Case::filter(), 12);
}

#[test]
fn word_count_failing_at_every_fault_point_goes_on_by_itself() {
    fail_at_points(&Case::word_count());
}

#[test]
fn filter_to_parquet_failing_at_every_fault_point_goes_on_by_itself() {
    fail_at_points(&Case::filter());
}

/// A point that no pipeline here passes would never be tested.
#[test]
fn every_fault_point_in_the_code_is_passed() {
    let mut passed = BTreeSet::new();
    let tables = crate::postgres::cases();
    let missing = if tables.is_empty() { Some("postgres.") } else { None };
    for case in [Case::word_count(), Case::filter(), Case::rolling()].into_iter().chain(tables) {
        passed.extend(points(&case).into_keys());
    }
    let kafka = levada_services::kafka::Kafka::shared();
    passed.extend(kafka.map(|kafka| crate::kafka::Case::topic(kafka).points()).unwrap_or_default().into_keys());
    passed.extend(crate::dead_letters::points().into_keys());
    if let Some(case) = crate::split::to_kafka() {
        let (first, second) = case.points();
        passed.extend(first.into_keys().chain(second.into_keys()));
    }
    let mut named = BTreeSet::new();
    for file in crate::architecture::rust_files() {
        let inside = ["connectors", "transforms", "runtime"].iter().any(|part| file.name.starts_with(part));
        for line in file.text.lines().filter(|_| inside) {
            for rest in line.split("faults.at(\"").skip(1) {
                named.extend(rest.split('"').next().map(str::to_owned));
            }
        }
    }
    // Without its server a sink passes nothing: the tests that need it have said so.
    named.retain(|name| kafka.is_some() || name != "postgres.sink.pieces.before");
    named.retain(|name| missing.is_none_or(|service| !name.starts_with(service)));
    named.retain(|name| kafka.is_some() || !(name.starts_with("kafka.") || name.starts_with("layout.")));
    let never: Vec<_> = named.difference(&passed).collect();
    assert!(never.is_empty(), "never passed: {never:?}; passed: {passed:?}");
    for stage in
        ["begin", "read", "transform", "finish", "prepare", "sink.write", "sink.commit", "commit", "source.commit"]
    {
        for side in ["before", "after"] {
            assert!(passed.contains(&format!("{stage}.{side}")), "{stage}.{side} is missing in {passed:?}");
        }
    }
}
