use arrow::datatypes::Schema;

use super::*;
use crate::csv::CsvOptions;
use crate::ddl::to_ddl;

fn json(lines: &[&str]) -> String {
    infer_json_schema(lines.iter().map(|l| l.as_bytes())).map_or_else(|e| e.to_string(), |s: Schema| to_ddl(&s))
}

#[test]
fn json_types_widen_until_they_fit() {
    assert_eq!(
        json(&[
            r#"{"z":1,"a":1,"s":"x","n":null,"b":true,"p":{"y":1,"x":[1,2.5]},"e":[],"o":{},"m":1,"q":"","d":1}"#,
            r#"[{"z":1.5,"a":2,"p":{"w":null},"m":"x"},{"b":false,"d":12345678901234567890}]"#,
            "",
        ]),
        "a BIGINT, b BOOLEAN, d DECIMAL(20,0), e ARRAY<STRING>, m STRING, n STRING, \
         p STRUCT<w: STRING, x: ARRAY<DOUBLE>, y: BIGINT>, q STRING, s STRING, z DOUBLE"
    );
    assert_eq!(json(&[r#"{"a":1}"#, "nonsense"]), "_corrupt_record STRING, a BIGINT");
    assert!(json(&["{}"]).contains("no schema can be inferred"));
    assert_eq!(json(&["[".repeat(1_000_000).as_str()]), "_corrupt_record STRING");
}

#[test]
fn csv_names_and_types() {
    let options = CsvOptions::default();
    let lines: Vec<&[u8]> = vec![
        b"id,Name,name,,t,d,b,l,m",
        b"1,x,1.5,2024,2024-01-01,2024-01-01,true,1,1",
        b"",
        b"2,y,2,,2024-01-01 10:00:00,,FALSE,3000000000,x",
    ];
    let infer = |header, types| to_ddl(&infer_csv_schema(lines.iter().copied(), header, types, &options).unwrap());
    assert_eq!(
        infer(true, true),
        "id INT, Name1 STRING, name2 DOUBLE, _c3 INT, t TIMESTAMP, d DATE, b BOOLEAN, l BIGINT, m STRING"
    );
    assert!(infer(true, false).starts_with("id STRING, Name1 STRING"));
    assert!(infer(false, false).starts_with("_c0 STRING, _c1 STRING"));
    assert!(infer_csv_schema([], true, true, &options).is_err());
}
