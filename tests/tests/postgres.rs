//! Pipelines into a real Postgres, killed, cut off and doubled: the table must hold the input, 0 lost, 0 doubled.

use std::sync::OnceLock;
use std::time::Duration;

use levada_services::postgres::{self, Postgres};
use levada_services::proxy::{Cut, Proxy};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::crash::{fail_at_points, kill_at_points, kill_at_random, report};
use crate::support::{Case, long, wait};

/// The database of these tests; `None` where there is no server.
fn database() -> Option<&'static str> {
    static DATABASE: OnceLock<Option<String>> = OnceLock::new();
    DATABASE.get_or_init(|| postgres::shared().map(|server| server.database("crash"))).as_deref()
}

/// JSON lines, some of them bad → filter → a table that is appended to.
fn append(database: &str) -> Case {
    Case::filter().into_postgres("filter to a table", database)
}

/// Text → word count in update mode → a table whose rows are replaced.
fn upsert(database: &str) -> Case {
    Case::word_count()
        .into_postgres("word count to a table", database)
        .with("output.mode", "update")
        .with("sink.insert.mode", "upsert")
        .with("sink.pk.fields", "word")
}

/// Text → word count in complete mode → a table whose content is replaced.
fn complete(database: &str) -> Case {
    Case::word_count().into_postgres("word count that replaces a table", database)
}

/// What the fault points are counted with.
pub(crate) fn cases() -> Vec<Case> {
    database().map(|database| vec![append(database), upsert(database)]).unwrap_or_default()
}

#[test]
fn appends_killed_at_every_fault_point() {
    let Some(database) = database() else { return };
    kill_at_points(&append(database), |_| true);
}

#[test]
fn upserts_killed_at_every_fault_point() {
    let Some(database) = database() else { return };
    kill_at_points(&upsert(database), |_| true);
}

#[test]
fn replacements_killed_at_the_sinks_fault_points() {
    let Some(database) = database() else { return };
    kill_at_points(&complete(database), |point| point.starts_with("postgres.") || point.starts_with("sink."));
}

#[test]
fn appends_killed_at_random_moments() {
    let Some(database) = database() else { return };
    kill_at_random(&append(database), 21);
}

#[test]
fn upserts_killed_at_random_moments() {
    let Some(database) = database() else { return };
    kill_at_random(&upsert(database), 22);
}

#[test]
fn appends_failing_at_every_fault_point_go_on_by_themselves() {
    let Some(database) = database() else { return };
    fail_at_points(&append(database));
}

/// The connection is cut at each commit in turn, before it arrives and after it took effect.
#[test]
fn commits_whose_answers_are_lost_are_neither_lost_nor_doubled() {
    let (Some(database), Some(server)) = (database(), postgres::shared()) else { return };
    let case = append(database);
    let expected = case.uninterrupted();
    let mut cuts = 0;
    for (number, after) in (0..10).flat_map(|number| [(number, false), (number, true)]) {
        let proxy = Proxy::to(server.port());
        let through = database.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
        let site = case.site();
        site.set("sink.connection.url", &through);
        let bytes = b"COMMIT\0".to_vec();
        proxy.plan_nth(number, if after { Cut::After(bytes) } else { Cut::Before(bytes) });
        site.run(&[]).succeeded();
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("cut {number}, after: {after}: {problem}"));
        cuts += proxy.cuts();
    }
    assert!(cuts >= 15, "only {cuts} connections were cut");
    report(&case, &expected, &format!("its connection cut in {cuts} commits"));
}

/// The server is stopped and started while the pipeline runs.
#[test]
fn a_server_that_restarts_costs_nothing_but_time() {
    let Some(mut server) = Postgres::start() else { return };
    let url = server.url().to_owned();
    let Some(_) = database() else { return };
    let rounds = if long() { 100 } else { 3 };
    let case = append(&url);
    let expected = case.uninterrupted();
    for round in 0..rounds {
        let mut random = SmallRng::seed_from_u64(round);
        let site = case.site();
        let child = site.spawn(&[]);
        std::thread::sleep(Duration::from_millis(random.random_range(5..150)));
        server.stop();
        std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        server.start_again();
        wait(child).succeeded();
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("round {round}: {problem}"));
    }
    report(&case, &expected, &format!("the server restarted {rounds} times"));
}

/// A process that hangs is taken for dead, another goes on from its checkpoint, and then the first wakes up.
#[test]
fn of_two_instances_of_a_task_the_older_is_fenced() {
    let Some(database) = database() else { return };
    let rounds = if long() { 100 } else { 10 };
    let case = upsert(database);
    let expected = case.uninterrupted();
    let mut fenced = 0;
    for round in 0..rounds {
        let mut random = SmallRng::seed_from_u64(round);
        let site = case.site();
        let zombie = site.spawn(&[]);
        let pid = Pid::from_child(&zombie);
        std::thread::sleep(Duration::from_millis(random.random_range(20..150)));
        // A process that has ended already is no zombie of this kind.
        let _ = kill_process(pid, Signal::STOP);
        if !site.path("data").exists() {
            let _ = kill_process(pid, Signal::CONT);
            wait(zombie).succeeded();
            continue;
        }
        let twin = site.twin();
        twin.run(&[]).succeeded();
        twin.output().same_as(&expected).unwrap_or_else(|problem| panic!("round {round}: {problem}"));
        let _ = kill_process(pid, Signal::CONT);
        let ended = wait(zombie);
        if !ended.status.success() {
            assert!(ended.error().starts_with("fenced:"), "round {round}: {}", ended.said);
            fenced += 1;
        }
        twin.output().same_as(&expected).unwrap_or_else(|problem| panic!("round {round}, after it woke: {problem}"));
    }
    assert!(fenced > 0, "no instance was fenced in {rounds} rounds");
    report(&case, &expected, &format!("doubled {rounds} times, of which {fenced} found the first at work"));
}
