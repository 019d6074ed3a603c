//! Functions that choose among their arguments.

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;

use super::Invocation;
use super::compare;
use crate::ast::{Binary, Planned};
use crate::coerce::argument;
use crate::operators::{choose, present};
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "coalesce",
    "nvl",
    "ifnull",
    "nvl2",
    "nullif",
    "nullifzero",
    "zeroifnull",
    "equal_null",
    "if",
    "isnull",
    "isnotnull",
    "isnan",
    "nanvl",
];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "coalesce" | "nvl" | "ifnull" => {
            let most = if call.name == "coalesce" { usize::MAX } else { 2 };
            let args = call.between(if most == 2 { 2 } else { 1 }, most)?;
            let Some((last, first)) = args.split_last() else { return Err(call.error("arguments are missing")) };
            let conditions = first.iter().map(|value| present(value, span)).collect::<Planned<Vec<_>>>()?;
            let values = first.iter().chain([last]).cloned().collect();
            choose(conditions, values, ansi, span)
        }
        "nvl2" => {
            let [value, some, none] = call.exactly()?;
            choose(vec![present(&value, span)?], vec![some, none], ansi, span)
        }
        "nullif" => {
            let [value, other] = call.exactly()?;
            let equal = compare::plan(Binary::Eq, value.clone(), other, ansi, span)?;
            let null = Typed::literal(ScalarValue::Null, "NULL".into(), span);
            choose(vec![equal], vec![null, value], ansi, span)
        }
        "if" => {
            let [condition, then, otherwise] = call.exactly()?;
            let condition = argument(condition, &DataType::Boolean, ansi, "if")?;
            choose(vec![condition], vec![then, otherwise], ansi, span)
        }
        "nullifzero" => {
            let [value] = call.exactly()?;
            let zero = Typed::literal(ScalarValue::Int32(Some(0)), "0".into(), span);
            let equal = compare::plan(Binary::Eq, value.clone(), zero, ansi, span)?;
            let null = Typed::literal(ScalarValue::Null, "NULL".into(), span);
            choose(vec![equal], vec![null, value], ansi, span)
        }
        "zeroifnull" => {
            let [value] = call.exactly()?;
            let zero = Typed::literal(ScalarValue::Int32(Some(0)), "0".into(), span);
            choose(vec![present(&value, span)?], vec![value, zero], ansi, span)
        }
        "equal_null" => {
            let [a, b] = call.exactly()?;
            compare::plan(Binary::NullSafeEq, a, b, ansi, span)
        }
        "isnotnull" => {
            let [value] = call.exactly()?;
            present(&value, span)
        }
        "isnull" => {
            let [value] = call.exactly()?;
            let there = present(&value, span)?;
            let no = Typed::literal(ScalarValue::Boolean(Some(false)), "false".into(), span);
            compare::plan(Binary::Eq, there, no, ansi, span)
        }
        "isnan" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Float64, ansi, "isnan")?;
            let nan = Typed::literal(ScalarValue::Float64(Some(f64::NAN)), "NaN".into(), span);
            compare::plan(Binary::NullSafeEq, value, nan, ansi, span)
        }
        _ => {
            let [value, other] = call.exactly()?;
            let value = argument(value, &DataType::Float64, ansi, "nanvl")?;
            let other = argument(other, &DataType::Float64, ansi, "nanvl")?;
            let nan = Typed::literal(ScalarValue::Float64(Some(f64::NAN)), "NaN".into(), span);
            let is_nan = compare::plan(Binary::NullSafeEq, value.clone(), nan, ansi, span)?;
            choose(vec![is_nan], vec![other, value], ansi, span)
        }
    }
}
