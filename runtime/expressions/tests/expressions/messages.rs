//! What users read when an expression is wrong.

use arrow::datatypes::SchemaRef;
use levada_connector_api::ErrorKind;
use levada_expressions::{Expression, Predicate, Projection, SqlOptions, split_list};
use levada_formats::ddl::parse_schema;

use crate::canonical::rows;

fn schema() -> SchemaRef {
    parse_schema("name string, age int, Age_Group string, p struct<x:double,Tags:array<string>>").unwrap().into()
}

fn refusal(expr: &str) -> String {
    let error = Projection::compile(&[expr], &schema(), &SqlOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn an_error_says_what_where_and_what_to_do() {
    let cases = [
        (
            "CAST(agee AS INT)",
            "expression \"CAST(agee AS INT)\", column 6: [UNRESOLVED_COLUMN] unknown column 'agee' \
             (did you mean 'age'? the columns are: name, age, Age_Group, p)",
        ),
        (
            "p.tag",
            "expression \"p.tag\", column 1: [UNRESOLVED_COLUMN] unknown field 'tag' in 'p' \
             (did you mean 'Tags'? the fields are: x, Tags)",
        ),
        ("age +", "expression \"age +\", column 6: the expression ends where an expression is expected"),
        ("(age", "expression \"(age\", column 5: the expression ends where ')' is expected"),
        ("age\n  ? 1", "expression \"age\n  ? 1\", line 2, column 3: the character '?' has no meaning here"),
        (
            "uper(name)",
            "expression \"uper(name)\", column 1: [UNRESOLVED_ROUTINE] unknown function 'uper' (did you mean 'upper'?)",
        ),
        (
            "sum(age)",
            "expression \"sum(age)\", column 1: [UNRESOLVED_ROUTINE] unknown function 'sum' \
             (it works on groups of rows: use the transform WindowedAggregate, or a Sql query with GROUP BY)",
        ),
        (
            "summ(nothing)",
            "expression \"summ(nothing)\", column 1: [UNRESOLVED_ROUTINE] unknown function 'summ' (did you mean 'sum'?)",
        ),
        (
            "java_method(name, 256)",
            "expression \"java_method(name, 256)\", column 1: [UNRESOLVED_ROUTINE] unknown function 'java_method' \
             ('levada plugin describe functions' lists them)",
        ),
        (
            "row_number() over (order by age)",
            "expression \"row_number() over (order by age)\", column 14: window functions over rows cannot be streamed: \
             rows have no last one (group by a window of time)",
        ),
        (
            "age IN (SELECT age FROM input)",
            "expression \"age IN (SELECT age FROM input)\", column 9: a query inside an expression is not possible \
             (write its values out, or compute them in a transform before)",
        ),
        ("upper(name, 1)", "expression \"upper(name, 1)\", column 1: [WRONG_NUM_ARGS] upper takes 1 argument, not 2"),
        (
            "name.first",
            "expression \"name.first\", column 1: [INVALID_EXTRACT_BASE_FIELD_TYPE] 'name' is STRING and has no fields \
             (a name with a dot in it needs backticks)",
        ),
        (
            "CAST(age AS DATE)",
            "expression \"CAST(age AS DATE)\", column 1: [DATATYPE_MISMATCH] a value of type INT cannot be cast to DATE \
             (choose another type)",
        ),
        ("'open", "expression \"'open\", column 1: the string literal is not closed (add ')"),
        (
            "explode(name)",
            "expression \"explode(name)\", column 9: [DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] explode takes an array or \
             a map, and 'name' is STRING (split() makes an array of a text)",
        ),
        (
            "1 + explode(p.tags)",
            "expression \"1 + explode(p.tags)\", column 5: explode stands at the top of a select list only \
             (give it an item of its own and use the result in the next transform)",
        ),
    ];
    for (expr, message) in cases {
        assert_eq!(refusal(expr), message);
    }
}

#[test]
fn names_are_found_without_regard_to_case_but_exactly_first() {
    let schema: SchemaRef = parse_schema("id int, Id int, Other struct<A:int>").unwrap().into();
    let batch = rows(&schema, r#"{"id": 1, "Id": 2, "Other": {"A": 3}}"#);
    let get = |expr: &str| -> levada_connector_api::Result<serde_json::Value> {
        let column = Expression::compile(expr, &schema, &SqlOptions::default())?.evaluate(&batch)?;
        Ok(crate::canonical::canonical(&column, 0))
    };
    assert_eq!(get("id").unwrap(), 1);
    assert_eq!(get("Id").unwrap(), 2);
    assert_eq!(get("OTHER.a").unwrap(), 3);
    let error = get("ID").unwrap_err().to_string();
    assert!(error.contains("[AMBIGUOUS_REFERENCE] the column 'ID' is ambiguous: id, Id"), "{error}");
}

#[test]
fn an_error_of_a_row_names_the_expression_and_sparks_condition() {
    let batch = rows(&schema(), r#"{"name": "x", "age": 1}"#);
    let fail = |expr: &str| {
        let projection = Projection::compile(&[expr], &schema(), &SqlOptions::default()).unwrap();
        projection.evaluate(&batch).unwrap_err().to_string()
    };
    assert_eq!(
        fail("CAST(name AS INT) AS n"),
        "expression \"CAST(name AS INT) AS n\": [CAST_INVALID_INPUT] the value 'x' of the type \"STRING\" cannot be cast to \
         \"INT\" because it is malformed; correct the value, or use try_cast to get NULL instead"
    );
    assert!(fail("age / 0").contains("[DIVIDE_BY_ZERO]"));
    assert!(fail("age + 2147483647").contains("[ARITHMETIC_OVERFLOW]"));
    assert!(fail("getbit(CAST(age AS DECIMAL(30, 0)), 100)").contains("from 0 to 63"));
    assert!(fail("split(name, ',')[3]").contains("[INVALID_ARRAY_INDEX] the index 3 is out of bounds"));
}

#[test]
fn bad_rows_are_told_from_good_ones() {
    let json = (0..100).map(|n| format!("{{\"name\": \"{}\", \"age\": {n}}}\n", if n % 33 == 7 { "x" } else { "5" }));
    let batch = rows(&schema(), &json.collect::<String>());
    let projection =
        Projection::compile(&["CAST(name AS INT) AS n", "age"], &schema(), &SqlOptions::default()).unwrap();
    let (good, bad) = projection.evaluate_isolating(&batch).unwrap();
    assert_eq!(good.num_rows(), 97);
    assert_eq!(bad.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [7, 40, 73]);
    assert!(bad[0].1.contains("[CAST_INVALID_INPUT]"), "{}", bad[0].1);

    let predicate = Predicate::compile("CAST(name AS INT) + age > 50", &schema(), &SqlOptions::default()).unwrap();
    let (mask, bad) = predicate.evaluate_isolating(&batch).unwrap();
    assert_eq!((mask.len(), mask.true_count()), (100, 53));
    assert_eq!(bad.len(), 3);
}

/// One row with a large number does not take all memory.
#[test]
fn results_that_are_too_long_are_bad_rows() {
    let batch = rows(&schema(), "{\"name\": \"x\", \"age\": 3}\n{\"name\": \"x\", \"age\": 2147483647}\n");
    for expr in [
        "space(age)",
        "repeat(name, age)",
        "repeat(repeat(name, 100000), if(age > 3, 100000, 1))",
        "lpad(name, age, 'y')",
        "rpad(name, age)",
        "replace(repeat(name, 100000), 'x', repeat('y', if(age > 3, 100000, 1)))",
        "array_repeat(name, age)",
        "format_number(age, age)",
        "sequence(1, if(age > 3, 2000000000, 3))",
    ] {
        let projection = Projection::compile(&[expr], &schema(), &SqlOptions::default()).unwrap();
        let (good, bad) = projection.evaluate_isolating(&batch).unwrap();
        assert_eq!((good.num_rows(), bad.len(), bad[0].0), (1, 1, 1), "{expr}");
        assert!(bad[0].1.contains("[RESULT_TOO_LONG]"), "{}", bad[0].1);
    }
}

/// What formats numbers here takes no more than 65,535 decimals, and panics at more.
#[test]
fn a_number_may_have_many_decimals() {
    let batch = rows(&schema(), "{\"name\": \"x\", \"age\": 100000}\n");
    for value in ["1.5D", "1.5", "1"] {
        let condition = format!("length(format_number({value}, age)) = 100002");
        let predicate = Predicate::compile(&condition, &schema(), &SqlOptions::default()).unwrap();
        assert_eq!(predicate.evaluate_isolating(&batch).unwrap().0.true_count(), 1, "{value}");
    }
}

#[test]
fn lists_are_split_at_their_own_commas_only() {
    let list = "a, `b,c` AS d, concat(a, ',', \"x,y\"), struct(1, 2) AS s , CAST(a AS DECIMAL(10,2))";
    let items = ["a", "`b,c` AS d", "concat(a, ',', \"x,y\")", "struct(1, 2) AS s", "CAST(a AS DECIMAL(10,2))"];
    assert_eq!(split_list(list).unwrap(), items);
    assert!(split_list("a,, b").unwrap_err().to_string().contains("column 3: unexpected ','"));
}

#[test]
fn what_is_deep_is_refused_rather_than_overflowing_the_stack() {
    for expr in ["(".repeat(100_000), "- ".repeat(100_000), "NOT ".repeat(50_000), format!("a{}", "[a".repeat(50_000))]
    {
        let error = refusal(&expr);
        assert!(error.contains("nested more than"), "{}", &error[error.len() - 100..]);
    }
    // What is long but not deep is no problem of the stack either.
    let long = vec!["age"; 149].join(" + ");
    Expression::compile(&long, &schema(), &SqlOptions::default()).unwrap();
    let longer = vec!["age"; 100_000].join(" + ");
    let error = refusal(&longer);
    assert!(error.contains("more than 150 operations") && error.len() < 500, "{}", error.len());
}

#[test]
fn conditions_may_have_any_number_of_terms() {
    let terms = |op: &str| (0..2000).map(|i| format!("age {op} {i}")).collect::<Vec<_>>();
    let rows = rows(&schema(), "{\"age\": 1999}\n{\"age\": 2000}\n{}\n");
    let kept = |condition: &str| {
        let condition = Predicate::compile(condition, &rows.schema(), &SqlOptions::default()).unwrap();
        condition.evaluate(&rows).unwrap().true_count()
    };
    assert_eq!(kept(&terms("=").join(" OR ")), 1);
    assert_eq!(kept(&terms("<>").join(" AND ")), 1);
}
