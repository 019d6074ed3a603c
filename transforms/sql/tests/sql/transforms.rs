//! `Filter` and `Select` as the runtime drives them.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, SchemaRef};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BindContext, Emitted, Error, Origin, OutputMode, Registry, Result, Transform, TransformPlugin,
};
use levada_formats::ddl::{parse_schema, to_ddl};

const PEOPLE: &str = r#"
    {"name": "kim", "age": 17, "tags": ["a", "b"]}
    {"name": "lee", "age": 18, "tags": []}
    {"name": null, "age": null, "tags": null}
    {"name": "x", "age": 19, "tags": ["c"]}
"#;

/// Rows that are written as JSON, one a line.
fn rows(schema: &arrow::datatypes::SchemaRef, json: &str) -> arrow::array::RecordBatch {
    let mut reader =
        arrow::json::ReaderBuilder::new(schema.clone()).build(std::io::Cursor::new(json.to_owned())).unwrap();
    reader.next().unwrap().unwrap()
}

fn schema() -> SchemaRef {
    parse_schema("name string, age int, tags array<string>").unwrap().into()
}

fn plugin(name: &str) -> Arc<dyn TransformPlugin> {
    let mut registry = Registry::new();
    levada_transform_sql::register(&mut registry).unwrap();
    registry.transform(name).unwrap()
}

fn bind(name: &str, options: &[(&str, &str)]) -> Result<(Box<dyn Transform>, SchemaRef)> {
    let raw: RawConfig = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let plugin = plugin(name);
    let joined = |errors: Vec<_>| Error::config(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    let config = plugin.config_def().parse(&raw, "transforms.t.").map_err(joined)?;
    // As a pipeline tells them: with what stands before the keys.
    let errors: Vec<_> = plugin.validate(&config).into_iter().map(|error| error.prefixed("transforms.t.")).collect();
    if !errors.is_empty() {
        return Err(joined(errors));
    }
    let mut transform = plugin.create(&config)?;
    let context = BindContext::new("t", OutputMode::Append);
    let bound = transform.bind(&schema(), &context)?;
    Ok((transform, bound.schema))
}

async fn run(name: &str, options: &[(&str, &str)]) -> (Emitted, String) {
    let (mut transform, schema) = bind(name, options).unwrap();
    let batch = Batch::with_origin(rows(&self::schema(), PEOPLE), Origin::exact("people.json", "line", 1));
    let emitted = transform.process(batch).await.unwrap();
    for batch in &emitted.batches {
        assert_eq!(batch.rows.schema(), schema);
    }
    (emitted, to_ddl(&schema))
}

fn refusal(name: &str, options: &[(&str, &str)]) -> String {
    bind(name, options).err().unwrap().to_string()
}

#[tokio::test]
async fn filter_keeps_what_meets_the_condition() {
    let (emitted, _) = run("Filter", &[("condition", "age >= 18")]).await;
    let [batch] = emitted.batches.as_slice() else { panic!("one batch is expected") };
    assert_eq!(batch.rows.column(1).as_primitive::<Int32Type>().values(), &[18, 19]);
    assert_eq!(batch.origin.of(0), "people.json, line 2");

    let (emitted, _) = run("Filter", &[("condition", "age > 100")]).await;
    assert!(emitted.batches.is_empty());

    // Nothing is copied and every row is still known when all pass.
    let (emitted, _) = run("Filter", &[("condition", "true")]).await;
    assert_eq!(emitted.batches[0].origin.of(3), "people.json, line 4");
}

#[tokio::test]
async fn rows_that_fail_are_rejected_with_their_place() {
    for (name, options) in [
        ("Filter", ("condition", "name <> 'y' AND length(name) / (age - 18) < 100")),
        ("Select", ("columns", "name, 1 / (age - 18) AS q")),
    ] {
        let (emitted, _) = run(name, &[options]).await;
        let [bad] = emitted.rejected.as_slice() else { panic!("{name}: one bad row is expected") };
        assert_eq!((bad.stage.as_str(), bad.position.as_str()), ("t", "people.json, line 2"));
        assert!(bad.reason.contains("[DIVIDE_BY_ZERO]"), "{}", bad.reason);
        assert_eq!(bad.raw, br#"{"name":"lee","age":18,"tags":[]}"#);
    }
    let (emitted, _) = run("Select", &[("columns", "1 / (age - 18) AS q"), ("ansi", "false")]).await;
    assert!(emitted.rejected.is_empty());
    assert_eq!(emitted.batches[0].rows.column(0).null_count(), 2);
}

#[tokio::test]
async fn select_computes_explodes_and_renames() {
    let (emitted, ddl) =
        run("Select", &[("columns", "*, upper(name) AS loud, age + 1"), ("rename", "age:years, NAME : `who`")]).await;
    assert_eq!(ddl, "who STRING, years INT, tags ARRAY<STRING>, loud STRING, `(age + 1)` INT");
    assert_eq!(emitted.batches[0].origin.of(2), "people.json, line 3");

    let (emitted, ddl) = run("Select", &[("columns", "name, explode(tags) AS tag")]).await;
    assert_eq!(ddl, "name STRING, tag STRING");
    let [batch] = emitted.batches.as_slice() else { panic!("one batch is expected") };
    let column = |at: usize| batch.rows.column(at).as_string::<i32>().iter().map(Option::unwrap).collect::<Vec<_>>();
    assert_eq!((column(0), column(1)), (vec!["kim", "kim", "x"], vec!["a", "b", "c"]));
    assert_eq!(batch.origin.of(2), "people.json, row 2 of a batch");

    let (emitted, ddl) = run("Select", &[("columns", "age, posexplode_outer(tags)")]).await;
    assert_eq!(ddl, "age INT, pos INT, col STRING");
    assert_eq!(emitted.batches[0].num_rows(), 5);
}

#[test]
fn configurations_are_checked() {
    assert_eq!(
        refusal("Filter", &[]),
        "transforms.t.condition: missing; it is required: The condition, in Spark SQL: rows for which it is false or null are dropped"
    );
    assert_eq!(refusal("Select", &[]), "transforms.t.columns: missing; give columns, rename or both");
    assert_eq!(
        refusal("Filter", &[("condition", "agee > 1")]),
        "transforms.t.condition: expression \"agee > 1\", column 1: [UNRESOLVED_COLUMN] unknown column 'agee' \
         (did you mean 'age'? the columns are: name, age, tags)"
    );
    assert_eq!(
        refusal("Filter", &[("condition", "age")]),
        "transforms.t.condition: expression \"age\", column 1: [DATATYPE_MISMATCH] a condition is needed here, not INT \
         (compare it with something)"
    );
    assert!(
        refusal("Select", &[("columns", "a b c")])
            .starts_with("transforms.t.columns = 'a b c': expression \"a b c\", column 5")
    );
    assert!(refusal("Select", &[("rename", "age")]).contains("write it as old:new, old:new"));
    assert!(
        refusal("Select", &[("rename", "agee:x")]).starts_with(
            "transforms.t.rename: there is no column 'agee'; there are name, age, tags (did you mean 'age'?"
        )
    );
}

#[test]
fn what_is_read_is_told() {
    let names = |columns: &[&str]| Some(columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let (select, _) = bind("Select", &[("columns", "upper(Name) AS n, size(tags) > 0 AS t")]).unwrap();
    assert_eq!(select.reads(None), names(&["name", "tags"]));
    let (select, _) = bind("Select", &[("rename", "name:n")]).unwrap();
    assert_eq!(select.reads(None), names(&["name", "age", "tags"]));
    let (filter, _) = bind("Filter", &[("condition", "age > 17")]).unwrap();
    assert_eq!(filter.reads(names(&["tags"]).as_deref()), names(&["tags", "age"]));
    assert_eq!(filter.reads(None), None);
}

#[tokio::test]
async fn what_nobody_reads_is_not_computed_and_cannot_fail() {
    for (name, key, list) in [
        ("Select", "columns", "name, CAST(name AS INT) AS bad, age + 1 AS next"),
        ("Sql", "query", "SELECT name, CAST(name AS INT) AS bad, age + 1 AS next FROM input"),
    ] {
        let (mut transform, schema) = bind(name, &[(key, list)]).unwrap();
        let all = rows(&self::schema(), PEOPLE);
        // Nobody said so yet: the bad cast is a bad row.
        let emitted = transform.process(Batch::new(all.clone())).await.unwrap();
        assert_eq!(emitted.rejected.len(), 3, "{name}");
        let wanted = ["name".to_owned(), "next".to_owned()];
        transform.wanted(Some(&wanted));
        assert_eq!(transform.reads(Some(&wanted)), Some(vec!["name".to_owned(), "age".to_owned()]), "{name}");
        let emitted = transform.process(Batch::new(all)).await.unwrap();
        assert!(emitted.rejected.is_empty(), "{name}");
        assert_eq!(emitted.batches[0].rows.schema(), schema, "{name}");
        assert_eq!((emitted.batches[0].num_rows(), emitted.batches[0].rows.column(1).null_count()), (4, 4), "{name}");
        let next = emitted.batches[0].rows.column(2).as_primitive::<Int32Type>().iter().collect::<Vec<_>>();
        assert_eq!(next, [Some(18), Some(19), None, Some(20)], "{name}");
    }
}

#[test]
fn an_explode_of_a_column_gives_its_condition_away_once() {
    let same = |column: &str| Some(format!("`{column}`"));
    for (list, moved) in [
        ("name, explode(tags) AS tag", 1),
        ("name, explode_outer(tags) AS tag", 0),
        ("name, explode(split(name, ' ')) AS word", 0),
        ("name", 0),
    ] {
        let (mut transform, _) = bind("Select", &[("columns", list)]).unwrap();
        assert_eq!(transform.split_off(1, &same).len(), moved, "{list}");
        assert!(transform.split_off(1, &same).is_empty(), "{list}");
        let query = format!("SELECT {list} FROM input");
        let (mut transform, _) = bind("Sql", &[("query", &query)]).unwrap();
        assert_eq!(transform.split_off(1, &same).len(), moved, "{query}");
        assert!(transform.split_off(1, &same).is_empty(), "{query}");
    }
    // The column is unknown below.
    let (mut transform, _) = bind("Select", &[("columns", "explode(tags) AS tag")]).unwrap();
    assert!(transform.split_off(1, &|_| None).is_empty());
}
