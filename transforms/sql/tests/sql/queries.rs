//! `Sql`: queries as the runtime drives them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, OutputMode, Plugin, TaskContext, Transform, TransformPlugin,
};
use levada_formats::ddl::parse_schema;
use levada_transform_sql::SqlPlugin;

fn schema() -> SchemaRef {
    Arc::new(parse_schema("at TIMESTAMP, word STRING, n INT, tags ARRAY<STRING>").unwrap())
}

fn make(query: &str, more: &[(&str, &str)], mode: OutputMode) -> Result<Box<dyn Transform>, String> {
    let mut raw: RawConfig = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    raw.insert("query".to_owned(), query.to_owned());
    let config = SqlPlugin.config_def().parse(&raw, "transforms.q.").map_err(|e| format!("{e:?}"))?;
    let mut transform = SqlPlugin.create(&config).map_err(|e| e.to_string())?;
    transform.bind(&schema(), &BindContext::new("q", mode)).map_err(|e| e.to_string())?;
    Ok(transform)
}

/// Runs a query over rows, in one micro-batch, and answers with its rows as JSON.
fn run(query: &str, rows: &str) -> Vec<String> {
    let mut transform = make(query, &[], OutputMode::Complete).unwrap();
    let mut reader = ReaderBuilder::new(schema()).build(std::io::Cursor::new(rows.to_owned())).unwrap();
    let rows = reader.next().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let out: Vec<RecordBatch> = runtime.block_on(async {
        transform.open(&TaskContext::new("test")).await.unwrap();
        transform.begin(&BatchInfo { batch_id: 0, watermark: 0, late: 0 }).unwrap();
        let mut out = transform.process(Batch::new(rows)).await.unwrap().batches;
        out.extend(transform.finish(0).await.unwrap().batches);
        out.into_iter().map(|batch| batch.rows).collect()
    });
    let mut writer = LineDelimitedWriter::new(Vec::new());
    out.iter().for_each(|rows| writer.write(rows).unwrap());
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

const ROWS: &str = r#"
{"at":"2024-01-01T00:00:01Z","word":"a","n":1,"tags":["x","y"]}
{"at":"2024-01-01T00:00:12Z","word":"b","n":2,"tags":["x"]}
{"at":"2024-01-01T00:00:14Z","word":"a","n":3,"tags":[]}
"#;

#[test]
fn queries_without_groups_are_filters_and_projections() {
    assert_eq!(
        run("SELECT upper(word) AS w, n * 2 AS d FROM input WHERE n > 1", ROWS),
        [r#"{"w":"A","d":6}"#, r#"{"w":"B","d":4}"#]
    );
    assert_eq!(run("SELECT word, unnest(tags) AS tag FROM input", ROWS).len(), 3);
    let nested = "SELECT tag FROM (SELECT unnest(tags) AS tag, n FROM input WHERE n < 3) t WHERE tag = 'x';";
    assert_eq!(run(nested, ROWS), [r#"{"tag":"x"}"#, r#"{"tag":"x"}"#]);
}

/// Runs queries one over the other, as one transform or one by one: the rows as JSON, and who refused rows why.
fn chain(queries: &[&str], as_one: bool) -> (Vec<String>, Vec<String>) {
    let configs: Vec<(String, _)> = queries
        .iter()
        .enumerate()
        .map(|(at, query)| {
            let raw: RawConfig = [("query".to_owned(), (*query).to_owned())].into_iter().collect();
            let alias = format!("q{at}");
            let config = SqlPlugin.config_def().parse(&raw, &format!("transforms.{alias}.")).unwrap();
            (alias, config)
        })
        .collect();
    let parts: Vec<_> = configs.iter().map(|(alias, config)| (alias.as_str(), config)).collect();
    let mut steps: Vec<(&str, Box<dyn Transform>)> = if as_one {
        vec![(parts.last().unwrap().0, SqlPlugin.chain(&parts).unwrap())]
    } else {
        parts.iter().map(|(alias, config)| (*alias, SqlPlugin.create(config).unwrap())).collect()
    };
    let mut schema = schema();
    for (alias, step) in &mut steps {
        schema = step.bind(&schema, &BindContext::new(*alias, OutputMode::Complete)).unwrap().schema;
    }
    let mut reader = ReaderBuilder::new(self::schema()).build(std::io::Cursor::new(ROWS.to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut batches, mut refused) = (vec![Batch::new(reader.next().unwrap().unwrap())], Vec::new());
    runtime.block_on(async {
        for (_, step) in &mut steps {
            step.begin(&BatchInfo { batch_id: 0, watermark: 0, late: 0 }).unwrap();
            let mut next = Vec::new();
            for batch in batches.drain(..) {
                let emitted = step.process(batch).await.unwrap();
                next.extend(emitted.batches);
                refused.extend(emitted.rejected.into_iter().map(|bad| format!("{}: {}", bad.stage, bad.reason)));
            }
            next.extend(step.finish(0).await.unwrap().batches);
            batches = next;
        }
    });
    let mut writer = LineDelimitedWriter::new(Vec::new());
    batches.iter().for_each(|batch| {
        assert_eq!(batch.rows.schema(), schema);
        writer.write(&batch.rows).unwrap();
    });
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    (text.lines().map(str::to_owned).collect(), refused)
}

#[test]
fn a_chain_of_queries_is_one_query_with_the_same_rows() {
    for queries in [
        vec![
            "SELECT word, n + 1 AS m FROM input WHERE n > 1",
            "SELECT upper(word) AS w, m * 2 AS d FROM input WHERE m < 4",
        ],
        vec![
            "SELECT *, n * 10 AS t FROM input",
            "SELECT word AS w, t, n FROM input",
            "SELECT n, w FROM input WHERE t >= 20",
        ],
        // A computed column that is read twice stays computed once.
        vec!["SELECT n * n AS s FROM input", "SELECT s + s AS d, s FROM input"],
        // The division would fail for a row that the first condition drops.
        vec!["SELECT word, n - 1 AS z FROM input WHERE n > 1", "SELECT word FROM input WHERE 6 / z > 3"],
        vec!["SELECT unnest(tags) AS tag, n FROM input", "SELECT concat(tag, '!') AS tag FROM input WHERE n = 1"],
        vec![
            "SELECT n, tags FROM input WHERE n < 3",
            "SELECT unnest(tags) AS tag FROM input",
            "SELECT upper(tag) AS u FROM input",
        ],
        vec![
            "SELECT word AS w, n FROM input",
            "SELECT w, n AS m FROM input WHERE n > 0",
            "SELECT w, sum(m) AS s FROM input GROUP BY w",
        ],
        vec!["SELECT 1 AS one, n FROM input", "SELECT one, count(*) AS c FROM input WHERE n > 1 GROUP BY one"],
    ] {
        let (one, single) = (chain(&queries, true), chain(&queries, false));
        assert_eq!(one, single, "{queries:?}");
        assert!(!one.0.is_empty() && one.1.is_empty(), "{queries:?}: {one:?}");
    }
}

#[test]
fn a_bad_row_in_a_chain_is_told_with_the_alias() {
    let queries = ["SELECT word, n - 1 AS z FROM input WHERE n > 0", "SELECT word FROM input WHERE 6 / z > 3"];
    let (rows, refused) = chain(&queries, true);
    assert_eq!((rows, refused.clone()), chain(&queries, false));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("q1: ") && refused[0].contains("6 / z > 3"), "{refused:?}");
}

#[test]
fn a_chain_reads_what_its_end_needs() {
    let config = |query: &str| {
        let raw: RawConfig = [("query".to_owned(), query.to_owned())].into_iter().collect();
        SqlPlugin.config_def().parse(&raw, "transforms.q.").unwrap()
    };
    let (wide, narrow) =
        (config("SELECT word, n * 10 AS t, tags, at FROM input"), config("SELECT word AS w FROM input WHERE t > 5"));
    let mut chain = SqlPlugin.chain(&[("a", &wide), ("b", &narrow)]).unwrap();
    chain.bind(&schema(), &BindContext::new("b", OutputMode::Append)).unwrap();
    let mut reads = chain.reads(None).unwrap();
    reads.sort();
    assert_eq!(reads, ["n", "word"]);
}

#[test]
fn only_the_last_of_a_chain_may_aggregate() {
    let config = |query: &str| {
        let raw: RawConfig = [("query".to_owned(), query.to_owned())].into_iter().collect();
        SqlPlugin.config_def().parse(&raw, "transforms.q.").unwrap()
    };
    let (plain, grouped) = (config("SELECT * FROM input"), config("SELECT n, count(*) AS c FROM input GROUP BY n"));
    assert!(SqlPlugin.chain(&[("a", &plain), ("b", &grouped)]).is_some());
    assert!(SqlPlugin.chain(&[("a", &grouped), ("b", &plain)]).is_none());
}

#[test]
fn groups_windows_and_sessions() {
    assert_eq!(
        run("SELECT word, sum(n) + count(*) AS s FROM input GROUP BY word HAVING count(*) > 1", ROWS),
        [r#"{"word":"a","s":6}"#]
    );
    assert_eq!(run("SELECT count(*) AS c FROM input", ROWS), [r#"{"c":3}"#]);
    assert_eq!(run("SELECT n % 2 AS odd, count(*) AS c FROM input GROUP BY odd", ROWS).len(), 2);
    assert_eq!(run("SELECT n % 2 AS odd, count(*) AS c FROM input GROUP BY 1", ROWS).len(), 2);
    let tumbling = "SELECT window.start AS s, count(*) AS c FROM input GROUP BY tumble(at, INTERVAL '10 seconds')";
    assert_eq!(run(tumbling, ROWS), [r#"{"s":"2024-01-01T00:00:00Z","c":1}"#, r#"{"s":"2024-01-01T00:00:10Z","c":2}"#]);
    let called = "SELECT tumble(at, '10 seconds').end AS e, word FROM input GROUP BY tumble(at, '10 seconds'), word";
    assert_eq!(run(called, ROWS).len(), 3);
    assert_eq!(
        run("SELECT window, count(*) AS c FROM input GROUP BY hop(at, '5 seconds', '10 seconds')", ROWS).len(),
        4
    );
    let sessions =
        "SELECT session_window.end AS e, word, count(*) AS c FROM input GROUP BY session(at, '5 seconds'), word";
    assert_eq!(run(sessions, ROWS).len(), 3);
}

#[test]
fn aggregates_that_are_called_the_same_are_kept_apart() {
    let query = "SELECT max('word') AS text, max(word) AS word, count_if(word = 'word') AS a, count_if(word = word) AS b, \
                 count(*) FILTER (WHERE word = 'a') AS c FROM input";
    assert_eq!(run(query, ROWS), [r#"{"text":"word","word":"b","a":0,"b":3,"c":2}"#]);
}

#[test]
fn a_key_is_a_column_before_it_is_an_alias() {
    let query = "SELECT upper(word) AS word, count(*) AS c FROM input GROUP BY word";
    assert_eq!(run(query, ROWS), [r#"{"word":"A","c":2}"#, r#"{"word":"B","c":1}"#]);
}

#[test]
fn having_knows_the_names_of_items_but_keys_come_first() {
    let query = "SELECT word, count(*) AS c, max(n) AS m FROM input GROUP BY word HAVING c > 1 AND m > 0";
    assert_eq!(run(query, ROWS).len(), 1);
    let query = "SELECT upper(word) AS word, count(*) AS c FROM input GROUP BY word HAVING word = 'b'";
    assert_eq!(run(query, ROWS), [r#"{"word":"B","c":1}"#]);
}

#[test]
fn columns_may_have_the_name_of_their_table() {
    let plain = run("SELECT word, count(*) AS c FROM input GROUP BY word", ROWS);
    for query in [
        "SELECT input.word, count(*) AS c FROM input GROUP BY word",
        "SELECT word, count(*) AS c FROM input GROUP BY INPUT.word",
        "SELECT i.word, count(i.word) AS c FROM input i WHERE i.n IS NOT NULL OR true GROUP BY i.word",
        "SELECT t.word, count(*) AS c FROM (SELECT i.* FROM input AS i) t GROUP BY t.word",
    ] {
        assert_eq!(run(query, ROWS), plain, "{query}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let query = format!("{}SELECT n FROM input{}", "SELECT n FROM (".repeat(5000), ")".repeat(5000));
    let error = make(&query, &[], OutputMode::Append).err().unwrap();
    assert!(error.contains("nested"), "{}", &error[error.len() - 300..]);
    let named: String = (1..2000).map(|at| format!(", t{at} AS (SELECT * FROM t{})", at - 1)).collect();
    let query = format!("WITH t0 AS (SELECT n FROM input){named} SELECT n FROM t1999");
    let error = make(&query, &[], OutputMode::Append).err().unwrap();
    assert!(error.contains("nested"), "{}", &error[error.len() - 300..]);
}

#[test]
fn what_is_sorted_by_may_be_made_of_what_is_selected() {
    let counts = "SELECT word, count(*) AS c FROM input GROUP BY word";
    for by in ["-c", "c % 2", "10 - c", "CASE word WHEN 'a' THEN sqrt(-1D) ELSE 1D END DESC", "upper(word)"] {
        assert_eq!(run(&format!("{counts} ORDER BY {by} LIMIT 1"), ROWS), [r#"{"word":"a","c":2}"#], "{by}");
    }
    // The name is the selected one's, not what is read.
    let other = format!("SELECT word, -c AS c FROM ({counts}) ORDER BY c + 0 LIMIT 1");
    assert_eq!(run(&other, ROWS), [r#"{"word":"a","c":-2}"#]);
}

#[test]
fn what_cannot_be_done_is_said_with_the_place() {
    for (query, part) in [
        ("SELECT wrod FROM input", "did you mean 'word'?"),
        ("SELECT word, n FROM input GROUP BY word", "neither grouped by nor aggregated"),
        ("SELECT word FROM input ORDER BY word", "cannot be sorted"),
        ("SELECT word FROM input LIMIT 3", "output.mode=complete"),
        ("SELECT word, count(*) AS c FROM input GROUP BY word ORDER BY map('a', word)", "have no order"),
        ("SELECT * FROM (SELECT word, count(*) AS c FROM input GROUP BY word) ORDER BY 3", "no column 3"),
        ("SELECT count(*) FROM input GROUP BY tumble(word, '5 seconds')", "is STRING, not a TIMESTAMP"),
        ("SELECT count(*) FROM input GROUP BY tumble(at, '0 seconds')", "longer than nothing"),
        ("SELECT count(*) FROM input GROUP BY hop(at, '10 seconds')", "hop(time, slide, size)"),
        ("SELECT c FROM (SELECT count(*) AS c FROM input GROUP BY word) GROUP BY c", "two aggregations"),
        ("SELECT count(DISTINCT n) FROM input", "Deduplicate"),
        ("SELEC 1", "select"),
    ] {
        let error = make(query, &[], OutputMode::Complete).err().unwrap_or_default();
        assert!(error.contains(part), "{query}: {error}");
    }
    let second = "SELECT * FROM (SELECT word, count(*) AS c FROM input GROUP BY word) ORDER BY 2";
    assert_eq!(make(second, &[], OutputMode::Complete).err(), None);
    let error = make("SELECT n FROM input", &[("watermark", "5 seconds")], OutputMode::Append).err().unwrap();
    assert!(error.contains("no window"), "{error}");
}

#[test]
fn a_window_in_append_mode_needs_its_watermark() {
    let query = "SELECT window, count(*) AS c FROM input GROUP BY tumble(at, '10 seconds')";
    assert!(make(query, &[], OutputMode::Append).err().unwrap().contains("append needs a watermark"));
    let transform = make(query, &[("watermark", "5 seconds")], OutputMode::Append).unwrap();
    assert!(transform.event_time().is_some());
}

#[test]
fn aggregates_with_constants_and_orders_of_their_own() {
    assert_eq!(
        run(
            "SELECT approx_count_distinct(word) AS d, percentile_cont(0.5) WITHIN GROUP (ORDER BY n DESC) AS p, \
             listagg(word, '-') WITHIN GROUP (ORDER BY n DESC) AS l, mode(word) AS m, regr_slope(n, n) AS s, \
             sum(CAST(word AS INT)) FILTER (WHERE word = '1') AS f FROM input",
            ROWS
        ),
        [r#"{"d":2,"p":2.0,"l":"a-b-a","m":"a","s":1.0}"#]
    );
    let refused = |query: &str| make(query, &[], OutputMode::Complete).err().unwrap_or_default();
    for (call, message) in [
        ("percentile(n, 2)", "takes shares from 0 to 1"),
        ("percentile(n, n)", "is to be a constant number"),
        ("percentile_cont(0.5)", "needs one value to sort by"),
        ("sum(n) WITHIN GROUP (ORDER BY n)", "sum takes no WITHIN GROUP"),
        ("listagg(word, word)", "what stands between is no constant"),
        ("approx_count_distinct(n, 2)", "takes an error from"),
        ("percentile_approx(n, 0.5, 0)", "takes an accuracy from 1"),
        ("median(DISTINCT n)", "cannot be streamed"),
    ] {
        let error = refused(&format!("SELECT {call} AS x FROM input"));
        assert!(error.contains(message), "{call}: {error}");
    }
}
