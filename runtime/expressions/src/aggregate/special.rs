//! Aggregates with constants among their arguments, or with an order of their own.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion_common::ScalarValue;

use super::functions::AggregateFunction;
use crate::ast::{Ast, PlanError, Planned, Sort, Span};
use crate::coerce::argument;
use crate::functions::cast::{Mode, cast};
use crate::functions::digest;
use crate::functions::types::{list, sql_name};
use crate::planner::Planner;
use crate::typed::{Typed, call_name};

/// Which of several values that are as frequent is the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// The one that Spark's hash table meets first.
    #[default]
    Hashed,
    /// The smallest.
    Smallest,
    /// The largest.
    Largest,
}

/// What an aggregate is told by constants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AggregateParams {
    /// The shares of a percentile, from 0 to 1.
    pub numbers: Vec<f64>,
    /// Whether the result is a list, with an element for each of `numbers`.
    pub list: bool,
    /// Of a percentile that is approximated: the inverse of the relative error. Of distinct values that are counted
    /// approximately: the relative standard deviation.
    pub accuracy: f64,
    /// Whether the largest value comes first.
    pub descending: bool,
    /// What stands between joined values, in bytes.
    pub between: Vec<u8>,
    /// The order of the values that are sorted by: of the arguments after the first.
    pub sort: Vec<SortOptions>,
    /// Of values that are as frequent, which one is taken.
    pub ties: Ties,
}

/// Arguments, the type of the result, and what constants say.
pub(super) type Special = (Vec<Typed>, DataType, AggregateParams);

/// The arguments of a call `name(values) WITHIN GROUP (ORDER BY order)`.
pub(super) fn arguments(
    planner: &Planner<'_>,
    name: &str,
    function: AggregateFunction,
    values: Vec<Typed>,
    order: &[(Ast, Sort)],
    span: Span,
) -> Planned<Special> {
    use AggregateFunction as F;
    let call = Call { planner, name, span };
    match function {
        F::ApproxCountDistinct => call.approx_count_distinct(values),
        F::Percentile | F::PercentileDisc
            if matches!(name, "percentile_cont" | "percentile_disc" | "quantile_cont") =>
        {
            call.within(values, order)
        }
        F::Percentile => call.percentile(values),
        F::PercentileApprox => call.percentile_approx(values),
        F::Mode => call.mode(values, order),
        F::Histogram => call.histogram(values),
        _ => call.listagg(values, order),
    }
}

/// What Spark calls the result.
pub(super) fn title(
    planner: &Planner<'_>,
    name: &str,
    function: AggregateFunction,
    values: &[Typed],
    order: &[(Ast, Sort)],
) -> Planned<String> {
    use AggregateFunction as F;
    let name = if name == "string_agg" { "listagg" } else { name };
    let ordered = matches!(name, "percentile_cont" | "percentile_disc");
    let mut by = Vec::new();
    for (ast, sort) in order {
        let name = planner.plan(ast)?.name;
        let nulls_first = sort.nulls_first.unwrap_or(!sort.descending);
        let nulls = if nulls_first { "FIRST" } else { "LAST" };
        by.push(match (ordered, sort.descending) {
            (true, false) => name,
            (true, true) => format!("{name} DESC"),
            (false, false) => format!("{name} ASC NULLS {nulls}"),
            (false, true) => format!("{name} DESC NULLS {nulls}"),
        });
    }
    Ok(match (function, values) {
        (F::ApproxCountDistinct, [value, ..]) => format!("{name}({})", value.name),
        (F::Percentile, [value, share]) if name == "percentile" => format!("{name}({}, {}, 1)", value.name, share.name),
        (F::PercentileApprox, [value, share]) if !name.starts_with("approx_percentile_") => {
            format!("{name}({}, {}, 10000)", value.name, share.name)
        }
        // Spark's rows are compared the other way round there.
        (F::Mode, []) => match order {
            [(value, sort)] => {
                let desc = if sort.descending { "" } else { " DESC" };
                format!("mode() WITHIN GROUP (ORDER BY {}{desc})", planner.plan(value)?.name)
            }
            _ => "mode()".to_owned(),
        },
        (F::Mode, [value, flag]) if flag.literal == Some(ScalarValue::Boolean(Some(true))) => {
            format!("mode() WITHIN GROUP (ORDER BY {} DESC)", value.name)
        }
        (F::Mode, [value, _]) => format!("mode({})", value.name),
        (F::Listagg, [value]) if by.is_empty() => format!("{name}({}, NULL)", value.name),
        _ if by.is_empty() => call_name(name, values),
        (F::Listagg, [value]) => format!("{name}({}, NULL) WITHIN GROUP (ORDER BY {})", value.name, by.join(", ")),
        _ => format!("{} WITHIN GROUP (ORDER BY {})", call_name(name, values), by.join(", ")),
    })
}

struct Call<'a> {
    planner: &'a Planner<'a>,
    name: &'a str,
    span: Span,
}

impl Call<'_> {
    fn error(&self, span: Span, message: impl Into<String>) -> PlanError {
        PlanError::new(span, message)
    }

    fn count(&self, given: usize, wanted: &str) -> PlanError {
        let message = format!("[WRONG_NUM_ARGS] {} takes {wanted}, not {given}", self.name);
        self.error(self.span, message)
    }

    fn approx_count_distinct(&self, values: Vec<Typed>) -> Planned<Special> {
        let given = values.len();
        let mut values = values.into_iter();
        let (Some(value), error, None) = (values.next(), values.next(), values.next()) else {
            return Err(self.count(given, "a value and perhaps an error"));
        };
        let mut accuracy = 0.05;
        if let Some(error) = error {
            let span = error.span;
            if !error.ty.is_numeric() {
                return Err(self.error(span, format!("the error of {} is a number", self.name)));
            }
            let number = self.numbers(error, "the error")?.0;
            accuracy = number.first().copied().unwrap_or(f64::NAN);
            // From 4 bits to as many as fit beside a state's other columns.
            if !(0.0025..=0.39).contains(&accuracy) {
                let message = format!("[VALUE_OUT_OF_RANGE] {} takes an error from 0.0025 to 0.39", self.name);
                return Err(self.error(span, message));
            }
        }
        if !digest::hashable(&value.ty) {
            let message = format!("[DATATYPE_MISMATCH] {} takes no {}", self.name, sql_name(&value.ty));
            return Err(self.error(value.span, message));
        }
        let span = value.span;
        let hash = Typed::call("xxhash64", &[value], DataType::Int64, span, |args| {
            let values = args.array(0)?;
            let null = *values.data_type() == DataType::Null;
            let hash = |row| (!null && values.is_valid(row)).then(|| digest::xxhash64(&values, row)).transpose();
            let hashes = (0..values.len()).map(hash).collect::<datafusion_common::Result<Int64Array>>()?;
            Ok(std::sync::Arc::new(hashes) as ArrayRef)
        });
        Ok((vec![hash], DataType::Int64, AggregateParams { accuracy, ..AggregateParams::default() }))
    }

    /// `percentile(value, shares, times)` and `median(value)`.
    fn percentile(&self, values: Vec<Typed>) -> Planned<Special> {
        let given = values.len();
        let mut values = values.into_iter();
        let Some(value) = values.next() else { return Err(self.count(0, "a value")) };
        let value = self.measure(value)?;
        if self.name == "median" {
            let params = AggregateParams { numbers: vec![0.5], ..AggregateParams::default() };
            return match values.next() {
                None => Ok((vec![value], DataType::Float64, params)),
                Some(_) => Err(self.count(given, "one value")),
            };
        }
        let (Some(shares), times, None) = (values.next(), values.next(), values.next()) else {
            return Err(self.count(given, "a value, shares, and perhaps how often the value counts"));
        };
        let (ty, params) = self.shares(shares, DataType::Float64)?;
        let mut args = vec![value];
        if let Some(times) = times {
            if !(times.ty.is_integer() || times.ty == DataType::Null) {
                let message = format!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes a whole number here, not {}",
                    self.name,
                    sql_name(&times.ty)
                );
                return Err(self.error(times.span, message));
            }
            args.push(cast(times, &DataType::Int64, Mode::of(self.planner.ansi)));
        }
        Ok((args, ty, params))
    }

    /// `percentile_cont(shares) WITHIN GROUP (ORDER BY value)`.
    fn within(&self, values: Vec<Typed>, order: &[(Ast, Sort)]) -> Planned<Special> {
        let given = values.len();
        let Ok([shares]) = <[Typed; 1]>::try_from(values) else { return Err(self.count(given, "one share")) };
        let [(value, sort)] = order else {
            let message = format!("{} needs one value to sort by", self.name);
            return Err(self
                .error(self.span, message)
                .hint(format!("write {}(0.5) WITHIN GROUP (ORDER BY a_column)", self.name)));
        };
        let value = self.measure(self.planner.plan(value)?)?;
        let (ty, params) = self.shares(shares, DataType::Float64)?;
        Ok((vec![value], ty, AggregateParams { descending: sort.descending, ..params }))
    }

    fn percentile_approx(&self, values: Vec<Typed>) -> Planned<Special> {
        let given = values.len();
        let mut values = values.into_iter();
        let half = || Typed::literal(ScalarValue::Float64(Some(0.5)), "0.5".into(), self.span);
        let (Some(value), shares) = (values.next(), values.next()) else {
            return Err(self.count(given, "a value, shares, and perhaps an accuracy"));
        };
        let shares =
            if self.name == "approx_median" { half() } else { shares.ok_or_else(|| self.count(given, "shares"))? };
        let (accuracy, None) = (values.next(), values.next()) else {
            return Err(self.count(given, "a value, shares, and perhaps an accuracy"));
        };
        let ty = match &value.ty {
            ty if ty.is_numeric() => ty.clone(),
            DataType::Date32 | DataType::Timestamp(_, _) => value.ty.clone(),
            DataType::Utf8 | DataType::Null => DataType::Float64,
            ty => {
                let message = format!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes numbers, dates and timestamps, not {}",
                    self.name,
                    sql_name(ty)
                );
                return Err(self.error(value.span, message).hint("cast it"));
            }
        };
        let (result, mut params) = self.shares(shares, ty)?;
        params.accuracy = 10_000.0;
        if let Some(accuracy) = accuracy {
            let span = accuracy.span;
            let whole = accuracy.ty.is_integer();
            let number = self.numbers(accuracy, "the accuracy")?.0.first().copied().unwrap_or(0.0);
            if !whole || !(1.0..=f64::from(i32::MAX)).contains(&number) {
                let message = format!("[VALUE_OUT_OF_RANGE] {} takes an accuracy from 1 to {}", self.name, i32::MAX);
                return Err(self.error(span, message));
            }
            params.accuracy = number;
        }
        // Days and microseconds are numbers while they are compared.
        let mode = Mode::of(self.planner.ansi);
        let value = match &value.ty {
            DataType::Date32 => number(value, DataType::Int32),
            DataType::Timestamp(_, _) => number(value, DataType::Int64),
            _ => value,
        };
        Ok((vec![cast(value, &DataType::Float64, mode)], result, params))
    }

    fn mode(&self, values: Vec<Typed>, order: &[(Ast, Sort)]) -> Planned<Special> {
        let given = values.len();
        let mut params = AggregateParams::default();
        let mut values = values.into_iter();
        let value = match (values.next(), values.next(), values.next(), order) {
            (None, _, _, [(value, sort)]) => {
                params.ties = if sort.descending { Ties::Largest } else { Ties::Smallest };
                self.planner.plan(value)?
            }
            (Some(value), None, _, []) => value,
            (Some(value), Some(flag), None, []) => {
                match flag.literal {
                    Some(ScalarValue::Boolean(Some(true))) => params.ties = Ties::Smallest,
                    Some(ScalarValue::Boolean(Some(false))) => {}
                    _ => return Err(self.error(flag.span, "the second argument of mode is true or false")),
                }
                value
            }
            _ => return Err(self.count(given, "one value, or none WITHIN GROUP (ORDER BY a_column)")),
        };
        if !super::functions::orderable(&value.ty) {
            return Err(super::functions::unordered(self.name, &value));
        }
        let ty = value.ty.clone();
        Ok((vec![value], ty, params))
    }

    /// `histogram_numeric(value, bins)`.
    fn histogram(&self, values: Vec<Typed>) -> Planned<Special> {
        let given = values.len();
        let Ok([value, bins]) = <[Typed; 2]>::try_from(values) else {
            return Err(self.count(given, "a value and a number of bins"));
        };
        let value = match value.ty {
            DataType::Utf8 | DataType::Null => argument(value, &DataType::Float64, self.planner.ansi, self.name)?,
            _ => value,
        };
        let ty = value.ty.clone();
        if !(ty.is_numeric() || matches!(ty, DataType::Date32 | DataType::Timestamp(_, _))) {
            let message = format!(
                "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes numbers, dates and timestamps, not {}",
                self.name,
                sql_name(&ty)
            );
            return Err(self.error(value.span, message).hint("cast it"));
        }
        let span = bins.span;
        let most = self.numbers(bins, "the number of bins")?.0;
        let fits = |most: &&f64| most.fract() == 0.0 && (2.0..=f64::from(i32::MAX)).contains(*most);
        let Some(most) = most.first().filter(fits) else {
            return Err(self.error(span, format!("[DATATYPE_MISMATCH] {} has 2 bins or more", self.name)));
        };
        let value = match ty {
            DataType::Date32 => number(value, DataType::Int32),
            DataType::Timestamp(_, _) => number(value, DataType::Int64),
            _ => value,
        };
        let fields = vec![Field::new("x", ty, true), Field::new("y", DataType::Float64, true)];
        let params = AggregateParams { numbers: vec![*most], ..AggregateParams::default() };
        let value = cast(value, &DataType::Float64, Mode::of(self.planner.ansi));
        Ok((vec![value], list(DataType::Struct(fields.into())), params))
    }

    fn listagg(&self, values: Vec<Typed>, order: &[(Ast, Sort)]) -> Planned<Special> {
        let given = values.len();
        let ansi = self.planner.ansi;
        let mut values = values.into_iter();
        let (Some(value), between, None) = (values.next(), values.next(), values.next()) else {
            return Err(self.count(given, "a value and perhaps what stands between"));
        };
        let value = match value.ty {
            DataType::Binary => value,
            _ => argument(value, &DataType::Utf8, ansi, self.name)?,
        };
        let mut params = AggregateParams::default();
        if let Some(between) = between {
            params.between = match &between.literal {
                Some(ScalarValue::Utf8(Some(text))) if value.ty == DataType::Utf8 => text.as_bytes().to_vec(),
                Some(ScalarValue::Binary(Some(bytes))) if value.ty == DataType::Binary => bytes.clone(),
                Some(literal) if literal.is_null() => Vec::new(),
                Some(_) => {
                    let message = format!(
                        "[DATATYPE_MISMATCH] what {} puts between is of type {}",
                        self.name,
                        sql_name(&value.ty)
                    );
                    return Err(self.error(between.span, message));
                }
                None => {
                    let message = "[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] what stands between is no constant";
                    return Err(self.error(between.span, message));
                }
            };
        }
        let ty = value.ty.clone();
        let mut args = vec![value];
        for (by, sort) in order {
            let by = self.planner.plan(by)?;
            if !super::functions::orderable(&by.ty) {
                return Err(super::functions::unordered(self.name, &by));
            }
            args.push(by);
            // Nulls are the smallest values, unless told otherwise.
            let nulls_first = sort.nulls_first.unwrap_or(!sort.descending);
            params.sort.push(SortOptions { descending: sort.descending, nulls_first });
        }
        Ok((args, ty, params))
    }

    /// A value as a double.
    fn measure(&self, value: Typed) -> Planned<Typed> {
        match &value.ty {
            ty if ty.is_numeric() => Ok(cast(value, &DataType::Float64, Mode::of(self.planner.ansi))),
            DataType::Utf8 | DataType::Null => argument(value, &DataType::Float64, self.planner.ansi, self.name),
            ty => {
                let message = format!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes numbers, not {}",
                    self.name,
                    sql_name(ty)
                );
                Err(self.error(value.span, message).hint("cast it"))
            }
        }
    }

    /// Shares from 0 to 1, and the type of the result if one value is of type `ty`.
    fn shares(&self, shares: Typed, ty: DataType) -> Planned<(DataType, AggregateParams)> {
        let span = shares.span;
        let (numbers, many) = self.numbers(shares, "the share")?;
        if numbers.iter().any(|share| !(0.0..=1.0).contains(share)) {
            let message = format!("[DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE] {} takes shares from 0 to 1", self.name);
            return Err(self.error(span, message));
        }
        let params = AggregateParams { numbers, list: many, ..AggregateParams::default() };
        Ok((if many { list(ty) } else { ty }, params))
    }

    /// A constant number, or those of a constant array, and whether it was one.
    fn numbers(&self, value: Typed, what: &str) -> Planned<(Vec<f64>, bool)> {
        let span = value.span;
        let constant = |why: &str| {
            let message = format!("[DATATYPE_MISMATCH.{why}] {what} of {} is to be a constant number", self.name);
            self.error(span, message)
        };
        let many = matches!(value.ty, DataType::List(_));
        let wanted = if many { list(DataType::Float64) } else { DataType::Float64 };
        if !crate::functions::cast::castable(&value.ty, &wanted, self.planner.ansi) || value.ty == DataType::Boolean {
            return Err(constant("UNEXPECTED_INPUT_TYPE"));
        }
        let Some(literal) = cast(value, &wanted, Mode::of(self.planner.ansi)).literal else {
            return Err(constant("NON_FOLDABLE_INPUT"));
        };
        let array = literal.to_array().map_err(|_| constant("UNEXPECTED_INPUT_TYPE"))?;
        let array = match array.as_list_opt::<i32>() {
            Some(lists) if lists.is_valid(0) => lists.value(0),
            _ => array,
        };
        match array.as_primitive_opt::<Float64Type>() {
            Some(numbers) if numbers.null_count() == 0 => Ok((numbers.values().to_vec(), many)),
            _ => Err(constant("UNEXPECTED_NULL")),
        }
    }
}

/// A value's days or microseconds.
fn number(value: Typed, ty: DataType) -> Typed {
    let span = value.span;
    let to = ty.clone();
    Typed::call("number", &[value], ty, span, move |args| {
        let values = args.array(0)?;
        let data = values.to_data().into_builder().data_type(to.clone()).build()?;
        Ok(arrow::array::make_array(data))
    })
}
