use arrow::datatypes::TimeUnit;
use proptest::prelude::*;

use super::*;

#[test]
fn all_types_and_forms() {
    let schema = parse_schema(
        "name STRING NOT NULL, age: int COMMENT 'in ''years', `odd ``name` Struct<x: DOUBLE, tags: ARRAY<STRING>>, \
         m MAP<STRING,INT>, d DECIMAL(10,2), ts TIMESTAMP, n timestamp_ntz, v varchar(20), e struct<>, dec dec",
    );
    // Adjacent quotes do not join: the comment ends at the second quote.
    assert!(schema.is_err());
    let schema = parse_schema(
        "name STRING NOT NULL, age: int COMMENT 'in \\'years', `odd ``name` Struct<x: DOUBLE, tags: ARRAY<STRING>>, \
         m MAP<STRING,INT>, d DECIMAL(10,2), ts TIMESTAMP, n timestamp_ntz, v varchar(20), e struct<>, dec dec",
    )
    .unwrap();
    assert!(!schema.field(0).is_nullable());
    assert_eq!(schema.field(1).metadata()[COMMENT], "in 'years");
    assert_eq!(schema.field(2).name(), "odd `name");
    assert_eq!(type_name(schema.field(2).data_type()), "struct<x:double,tags:array<string>>");
    assert_eq!(schema.field(4).data_type(), &DataType::Decimal128(10, 2));
    assert_eq!(schema.field(5).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    assert_eq!(schema.field(6).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
    assert_eq!(schema.field(9).data_type(), &DataType::Decimal128(10, 0));
    assert_eq!(parse_schema(&to_ddl(&schema)).unwrap(), schema);
    for (alias, data_type) in [
        ("byte", DataType::Int8),
        ("SHORT", DataType::Int16),
        ("Long", DataType::Int64),
        ("real", DataType::Float32),
        ("numeric(38, 38)", DataType::Decimal128(38, 38)),
        ("timestamp_ltz", timestamp_type()),
    ] {
        assert_eq!(parse_type(alias).unwrap(), data_type);
    }
    assert_eq!(parse_schema("struct<a: int>").unwrap(), parse_schema("a int").unwrap());
    assert_eq!(parse_schema("struct int").unwrap().field(0).name(), "struct");
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    for (ddl, message) in [
        ("", "the schema is empty"),
        ("a int, b strin", "position 10: unknown type 'strin'"),
        ("a", "position 2: expected a type, found the end"),
        ("a int b int", "position 7: expected ',' or the end, found 'b'"),
        ("a int, a string", "two columns named 'a'"),
        ("a array<int", "position 12: expected '>', found the end"),
        ("my-name int", "position 3: expected a type, found '-'"),
        ("a decimal(40,2)", "position 3: decimal(40,2) does not exist"),
        ("`a int", "position 1: this backtick"),
        ("a int not", "expected NULL after NOT"),
        ("a int,", "expected a column name, found the end"),
    ] {
        let error = parse_schema(ddl).unwrap_err();
        assert!(error.message().contains(message), "{ddl:?}: {error}");
        assert!(error.remedy().is_some(), "{ddl:?}");
    }
    assert!(parse_type(&"array<".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}", words in "[a-c`<>():,' ]{0,40}") {
        let _ = parse_schema(&text);
        let _ = parse_type(&text);
        let _ = parse_schema(&words);
    }
}
