use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use proptest::prelude::*;

use super::*;
use crate::ddl::parse_schema;
use crate::{MalformedFields, MalformedRows, Rejected};

fn tokens(line: &str, options: &CsvOptions) -> Vec<Option<String>> {
    let mut all = Vec::new();
    tokenize(line.as_bytes(), options, &mut Vec::new(), |index, token| {
        assert_eq!(index, all.len());
        all.push(token.map(|t| String::from_utf8(t.to_vec()).unwrap()));
    });
    all
}

#[test]
fn quotes() {
    let default = CsvOptions::default();
    for (line, expected) in [
        (r#"a,b"#, vec![Some("a"), Some("b")]),
        (r#"a,"#, vec![Some("a"), None]),
        (r#",a"#, vec![None, Some("a")]),
        (r#""a,b",c"#, vec![Some("a,b"), Some("c")]),
        (r#""a,b""#, vec![Some("a,b")]),
        ("\"\",\"\"", vec![Some(""), Some("")]),
        (r#""say ""hi""",1"#, vec![Some(r#""say ""hi""""#), Some("1")]),
        (r#""back \" slash",1"#, vec![Some(r#"back " slash"#), Some("1")]),
        (r#""two \\",1"#, vec![Some(r#"two \"#), Some("1")]),
        (r#""other \n",1"#, vec![Some(r#"other \n"#), Some("1")]),
        (r#""a"  ,1"#, vec![Some("a"), Some("1")]),
        (r#""a"  "#, vec![Some("a")]),
        (r#""a" b,1"#, vec![Some(r#""a" b"#), Some("1")]),
        (r#""unclosed,1,"#, vec![Some("unclosed,1,")]),
        (r#"""#, vec![Some("\"")]),
        ("\"\",1", vec![Some(""), Some("1")]),
        (r#"a"b"c,1"#, vec![Some(r#"a"b"c"#), Some("1")]),
        (r#"'a,b',1"#, vec![Some("'a"), Some("b'"), Some("1")]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|t| t.map(str::to_owned)).collect();
        assert_eq!(tokens(line, &default), expected, "{line}");
    }
    let doubled = CsvOptions { escape: b'"', ..CsvOptions::default() };
    assert_eq!(tokens(r#""say ""hi""",1"#, &doubled), [Some("say \"hi\"".to_owned()), Some("1".to_owned())]);
    let trimming =
        CsvOptions { ignore_leading_white_space: true, ignore_trailing_white_space: true, ..CsvOptions::default() };
    assert_eq!(tokens(r#"  a b  , "x" ,  "#, &trimming), [Some("a b".to_owned()), Some("x".to_owned()), None]);
    let tabs = CsvOptions { separator: b'\t', ..CsvOptions::default() };
    assert_eq!(tokens("\"a\"\tb\t", &tabs), [Some("a".to_owned()), Some("b".to_owned()), None]);
}

fn decode(ddl: &str, options: CsvOptions, lines: &[&str]) -> (RecordBatch, Vec<Rejected>) {
    let mut decoder = CsvDecoder::new(Arc::new(parse_schema(ddl).unwrap()), options).unwrap();
    lines.iter().for_each(|l| decoder.push(l.as_bytes()));
    decoder.finish().unwrap()
}

#[test]
fn strict_decoding_rejects_with_a_reason() {
    let lines = ["kim,17", "lee,old", "park", "choi,1,2", ",3", "", "  ", "han,18.0", "yoon, 20", "im,20 ", "seo,20"];
    let (batch, rejected) = decode("name string not null, age int", CsvOptions::default(), &lines);
    assert_eq!(batch.num_rows(), 2);
    let reasons: Vec<_> = rejected.iter().map(|r| (r.index, r.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "field 'age': 'old' is no int"),
            (2, "the line has 1 value, the columns are 2"),
            (3, "the line has 3 values, the columns are 2"),
            (4, "field 'name' is null or missing but declared NOT NULL"),
            (7, "field 'age': '18.0' is no int"),
            (8, "field 'age': ' 20' is no int"),
            (9, "field 'age': '20 ' is no int"),
        ]
    );
    let options = CsvOptions { rows: MalformedRows::Drop, fields: MalformedFields::Null, ..CsvOptions::default() };
    let (batch, rejected) = decode("name string, age int", options, &lines);
    assert_eq!((batch.num_rows(), rejected.len()), (7, 0));
}

#[test]
fn nulls_comments_and_types() {
    let options = CsvOptions {
        null_value: "NA".to_owned(),
        comment: Some(b'#'),
        corrupt_column: None,
        ..CsvOptions::permissive()
    };
    let ddl = "s string, b boolean, t timestamp, m decimal(8,2), l bigint, y tinyint";
    let (batch, _) = decode(
        ddl,
        options,
        &[
            "# no",
            "\"\",TRUE,2024-01-01T00:00:00Z,\"1,234.565\",-9223372036854775808,127",
            "NA,t,NA,,9223372036854775808,128",
        ],
    );
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "");
    assert!(batch.column(1).as_boolean().value(0));
    assert_eq!(batch.column(3).as_primitive::<arrow::datatypes::Decimal128Type>().value(0), 123_457);
    assert_eq!(batch.column(4).as_primitive::<arrow::datatypes::Int64Type>().value(0), i64::MIN);
    for column in batch.columns() {
        assert!(column.is_valid(0) && column.is_null(1));
    }
    assert!(CsvDecoder::new(Arc::new(parse_schema("a array<int>").unwrap()), CsvOptions::default()).is_err());
}

#[test]
fn what_nobody_reads_makes_no_line_malformed() {
    let schema = Arc::new(parse_schema("id INT, name STRING, x DOUBLE, _corrupt_record STRING").unwrap());
    let lines = ["1,a,1.5", "2,b", "bad,c,bad", "4,d,0,5,6"];
    let decode = |wanted: &[&str], options: CsvOptions| {
        let mut decoder = CsvDecoder::new(schema.clone(), options).unwrap();
        decoder.only(&wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        lines.iter().for_each(|line| decoder.push(line.as_bytes()));
        let (rows, rejected) = decoder.finish().unwrap();
        let corrupt = rows.column(3).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
        (rows, corrupt, rejected.len())
    };
    let text = |line: &str| Some(line.to_owned());
    let (rows, corrupt, _) = decode(&["name", "_corrupt_record"], CsvOptions::permissive());
    assert_eq!(corrupt, [None, None, None, None]);
    assert_eq!(rows.column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!((rows.column(0).null_count(), rows.column(2).null_count()), (4, 4));
    let (_, corrupt, _) = decode(&["id", "_corrupt_record"], CsvOptions::permissive());
    assert_eq!(corrupt, [None, None, text("bad,c,bad"), None]);
    // All columns, and rows that may be bad ones: every line is judged as a whole.
    let (_, corrupt, _) = decode(&["id", "name", "x", "_corrupt_record"], CsvOptions::permissive());
    assert_eq!(corrupt, [None, text("2,b"), text("bad,c,bad"), text("4,d,0,5,6")]);
    let strict = CsvOptions { rows: MalformedRows::Error, fields: MalformedFields::Error, ..CsvOptions::default() };
    assert_eq!(decode(&["name"], strict).2, 3);
}

#[test]
fn headers() {
    assert_eq!(parse_header(b"\xef\xbb\xbfid,\"a b\",,x", &CsvOptions::default()), ["id", "a b", "_c2", "x"]);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_rejected(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        near in r#"[a1.,"\\ \tN-]{0,30}"#,
    ) {
        for options in [CsvOptions::default(), CsvOptions::permissive(), CsvOptions { escape: b'"', ..CsvOptions::permissive() }] {
            let ddl = "a string, b int, c double, d timestamp";
            let mut decoder = CsvDecoder::new(Arc::new(parse_schema(ddl).unwrap()), options).unwrap();
            decoder.push(&bytes);
            decoder.push(near.as_bytes());
            let rows = decoder.len();
            let (batch, _) = decoder.finish().unwrap();
            prop_assert_eq!(batch.num_rows(), rows);
        }
    }

    #[test]
    fn plain_values_round_trip(values in prop::collection::vec("[a-zé ]{1,8}", 1..6)) {
        let quoted: Vec<_> = values.iter().map(|v| format!("\"{v}\"")).collect();
        let expected: Vec<_> = values.iter().cloned().map(Some).collect();
        prop_assert_eq!(tokens(&values.join(","), &CsvOptions::default()), expected.clone());
        prop_assert_eq!(tokens(&quoted.join(","), &CsvOptions::default()), expected);
    }
}
