//! Rows that cannot be decoded: dead letters, or a failure that names the place.

use crate::support::{Case, for_all};

#[test]
fn a_bad_row_fails_the_task_with_its_place() {
    let case = Case::filter().with("errors.tolerance", "none");
    let first = &case.bad[0];
    let site = case.site();
    let ended = site.run(&[]);
    let error = ended.error();
    assert!(error.starts_with("data: "), "{error}");
    let place = format!("{}, {}", first.file, first.place);
    assert!(error.contains(&place), "{place} is not in: {error}");
    assert!(!ended.said.contains("restarting"), "trying again cannot help: {}", ended.said);
    assert!(site.output().letters.is_empty());
}

#[test]
fn what_was_good_stays_when_the_task_fails_and_goes_on_when_rows_are_tolerated() {
    let case = Case::filter();
    let expected = case.uninterrupted();
    let site = case.site();
    site.set("errors.tolerance", "none");
    site.run(&[]).error();
    site.set("errors.tolerance", "all");
    site.run(&[]).succeeded();
    site.output().same_as(&expected).unwrap();
}

#[test]
fn dead_letters_are_not_doubled_by_a_kill() {
    let case = Case::filter();
    let expected = case.uninterrupted();
    assert_eq!(expected.letters.len(), case.bad.len());
    let points = ["prepare.after", "dead-letters.before", "dead-letters.after", "sink.commit.after", "commit.before"];
    let moments = points.iter().flat_map(|point| (1..=5).map(move |passing| format!("{point}:{passing}"))).collect();
    for_all(moments, |moment: &String| {
        let site = case.site();
        let ended = site.run(&["--kill-at", moment]);
        if !ended.killed() {
            return Err(format!("not killed: {}", ended.said));
        }
        site.run(&[]).succeeded();
        site.output().same_as(&expected)
    });
}
