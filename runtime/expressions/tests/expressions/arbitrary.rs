//! Whatever a user writes, the answer is a result or an error.

use arrow::datatypes::SchemaRef;
use levada_expressions::{Projection, SqlOptions, split_list};
use levada_formats::ddl::parse_schema;
use proptest::prelude::*;

use crate::canonical::rows;

const WORDS: &[&str] = &[
    "a",
    "s",
    "arr",
    "m",
    "p",
    "p.x",
    "1",
    "2147483647",
    "1.5",
    "9e300",
    "'x'",
    "'1'",
    "null",
    "true",
    "+",
    "-",
    "*",
    "/",
    "%",
    "div",
    "=",
    "<",
    "<=>",
    "||",
    "AND",
    "OR",
    "NOT",
    "IS",
    "IN",
    "LIKE",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "AS",
    "INT",
    "STRING",
    "DECIMAL(38,38)",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "::",
    "INTERVAL",
    "DAY",
    "DATE",
    "'2024-01-01'",
    "split",
    "size",
    "substring",
    "round",
    "element_at",
    "explode",
    "from_json",
    "'a int'",
    "coalesce",
    "date_format",
    "'yyyy'",
    "sequence",
    "array",
    "map",
    "struct",
    "regexp_replace",
    "slice",
    "\"",
    "`",
    "\\",
    "é",
];

fn schema() -> SchemaRef {
    parse_schema("a int, s string, d double, arr array<int>, m map<string,int>, p struct<x:double>, t timestamp")
        .unwrap()
        .into()
}

fn attempt(text: &str) {
    let batch = rows(&schema(), r#"{"a":1,"s":"x","arr":[1],"m":{"k":1},"p":{"x":2}}"#);
    for ansi in [true, false] {
        let options = SqlOptions { ansi, ..SqlOptions::default() };
        if let Ok(projection) = Projection::compile(&[text], &batch.schema(), &options) {
            // Sequences and repetitions can be as large as memory: they are left out here.
            if text.contains("sequence") || text.contains("repeat") {
                continue;
            }
            let _ = projection.evaluate(&batch);
            let _ = projection.evaluate(&batch.slice(0, 0));
        }
    }
    let _ = split_list(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn words_in_any_order(words in prop::collection::vec(prop::sample::select(WORDS), 0..14)) {
        attempt(&words.join(" "));
    }

    #[test]
    fn any_text(text in "\\PC{0,40}") {
        attempt(&text);
    }

    #[test]
    fn functions_of_any_arguments(
        function in prop::sample::select(levada_expressions::function_names()),
        args in prop::collection::vec(
            prop::sample::select(&["a", "s", "d", "arr", "m", "p", "t", "null", "1", "-1", "0", "'x'", "1.5", "2147483647"][..]),
            0..4,
        ),
    ) {
        if !matches!(function, "sequence" | "repeat" | "array_repeat" | "space" | "lpad" | "rpad") {
            attempt(&format!("{function}({})", args.join(", ")));
        }
    }
}
