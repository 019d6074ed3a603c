//! ROLLUP, CUBE and GROUPING SETS: what the recorded cases do not show.

use std::sync::Arc;

use arrow::json::ReaderBuilder;
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, OutputMode, Plugin, StateImage, StateKind, Transform, TransformPlugin,
};
use levada_formats::ddl::parse_schema;
use levada_transform_sql::SqlPlugin;

fn make(query: &str) -> Box<dyn Transform> {
    let raw: RawConfig = [("query".to_owned(), query.to_owned())].into_iter().collect();
    let config = SqlPlugin.config_def().parse(&raw, "transforms.q.").unwrap();
    let mut transform = SqlPlugin.create(&config).unwrap();
    let schema = Arc::new(parse_schema("a STRING, b INT, c INT, d INT").unwrap());
    transform.bind(&schema, &BindContext::new("q", OutputMode::Update)).unwrap();
    transform
}

/// The state after one row.
async fn state(query: &str) -> StateImage {
    let schema = Arc::new(parse_schema("a STRING, b INT, c INT, d INT").unwrap());
    let text = r#"{"a":"x","b":1,"c":2,"d":3}"#;
    let rows = ReaderBuilder::new(schema).build(text.as_bytes()).unwrap().next().unwrap().unwrap();
    let mut transform = make(query);
    transform.begin(&BatchInfo { batch_id: 0, watermark: 0, late: 0 }).unwrap();
    transform.process(Batch::new(rows)).await.unwrap();
    transform.finish(0).await.unwrap();
    transform.checkpoint(StateKind::Snapshot).await.unwrap().unwrap()
}

#[tokio::test]
async fn other_groupings_are_another_query() {
    let query = |by: &str| format!("SELECT a, b, count(*) AS n, grouping(a) AS g FROM input GROUP BY {by}");
    let image = state(&query("ROLLUP(a, b)")).await;
    assert_eq!(image.sections.iter().flat_map(|s| &s.batches).map(|b| b.num_rows()).sum::<usize>(), 3);
    make(&query("GROUPING SETS ((a, b), (a), ())")).restore(image.clone()).await.unwrap();
    for other in ["CUBE(a, b)", "GROUPING SETS ((a, b), (b), ())", "ROLLUP(b, a)"] {
        let error = make(&query(other)).restore(image.clone()).await.unwrap_err().to_string();
        assert!(error.contains("the query has changed"), "{other}: {error}");
    }
}

#[test]
fn keys_and_arguments_are_what_is_read() {
    let mut read = make("SELECT a, sum(c) AS s FROM input GROUP BY ROLLUP(a, b % 2)").reads(None).unwrap();
    read.sort();
    assert_eq!(read, ["a", "b", "c"]);
}
