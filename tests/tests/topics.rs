//! Topics into files and tables, killed, and with their servers stopped: the target must hold the input, 0 lost, 0 doubled.

use std::time::Duration;

use levada_services::kafka::Kafka;
use levada_services::postgres::{self, Postgres};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::crash::{kill_at_points, kill_at_random, report};
use crate::support::{Case, long, wait};

/// JSON messages, some of them bad → filter → a table.
fn table(kafka: &Kafka, database: &str) -> Case {
    Case::filter().into_postgres("topic to a table", database).out_of_topic("topic to a table", kafka)
}

/// The same into Parquet.
fn parquet(kafka: &Kafka) -> Case {
    Case::filter().out_of_topic("topic to Parquet", kafka)
}

/// The points around what is durable, in the short form.
fn wanted(point: &str) -> bool {
    let parts = ["prepare.", "sink.commit", "postgres.", "files.", "commit.", "source.commit", "read.after"];
    long() || parts.iter().any(|part| point.starts_with(part))
}

#[test]
fn topic_to_table_killed_at_fault_points() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    kill_at_points(&table(kafka, &server.database("topics_points")), wanted);
}

#[test]
fn topic_to_table_killed_at_random_moments() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    kill_at_random(&table(kafka, &server.database("topics_random")), 31);
}

#[test]
fn topic_to_parquet_killed_at_fault_points() {
    let Some(kafka) = Kafka::shared() else { return };
    kill_at_points(&parquet(kafka), wanted);
}

#[test]
fn topic_to_parquet_killed_at_random_moments() {
    let Some(kafka) = Kafka::shared() else { return };
    kill_at_random(&parquet(kafka), 32);
}

/// Both servers are killed and come back while the pipeline runs, and then it is killed, too.
#[test]
fn topic_to_table_while_servers_come_and_go() {
    let (Some(mut kafka), Some(mut server)) = (Kafka::start(), Postgres::start()) else { return };
    if postgres::shared().is_none() {
        return;
    }
    let url = server.url().to_owned();
    // Batches small enough that it takes a while.
    let case = table(&kafka, &url).with("source.max.offsets.per.trigger", "20").with("restart.attempts", "1000");
    let expected = case.uninterrupted();
    let rounds = if long() { 50 } else { 2 };
    for round in 0..rounds {
        let mut random = SmallRng::seed_from_u64(round);
        let site = case.site();
        let mut child = site.spawn(&[]);
        let mut pause = |most: u64| std::thread::sleep(Duration::from_millis(random.random_range(20..most)));
        pause(250);
        kafka.kill();
        pause(100);
        kafka.restart();
        pause(100);
        server.stop();
        pause(100);
        server.start_again();
        pause(200);
        if round % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
            child = site.spawn(&[]);
        }
        wait(child).succeeded();
        site.output().same_as(&expected).unwrap_or_else(|problem| panic!("round {round}: {problem}"));
    }
    report(&case, &expected, &format!("both servers stopped and started {rounds} times"));
}
