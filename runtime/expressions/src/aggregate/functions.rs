//! Spark's aggregate functions: their arguments and types. How they accumulate is not decided here.

use arrow::datatypes::DataType;
use levada_connector_api::config::nearest;

use super::names::{MISSING, NAMES, instead};
use super::pairs::PairFunction;
use super::special::{self, AggregateParams};
use crate::Expression;
use crate::ast::{Ast, Node, PlanError, Planned, Sort, Span};
use crate::coerce::argument;
use crate::functions::cast::{Mode, cast};
use crate::functions::types::{list, sql_name};
use crate::operators::choose;
use crate::planner::Planner;
use crate::typed::Typed;

/// What an aggregate computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// Rows, or rows in which no argument is null.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Avg,
    /// The smallest value. NaN is larger than any other number.
    Min,
    /// The largest value.
    Max,
    /// The variance of a sample.
    VarSamp,
    /// The variance of all.
    VarPop,
    /// The standard deviation of a sample.
    StddevSamp,
    /// The standard deviation of all.
    StddevPop,
    /// The third standardised moment.
    Skewness,
    /// The fourth standardised moment, less 3.
    Kurtosis,
    /// The first value, nulls included.
    First,
    /// The first value that is not null.
    FirstValid,
    /// The last value, nulls included.
    Last,
    /// The last value that is not null.
    LastValid,
    /// The first argument where the second is largest.
    MaxBy,
    /// The first argument where the second is smallest.
    MinBy,
    /// All values that are not null.
    CollectList,
    /// All different values that are not null.
    CollectSet,
    /// Bitwise and.
    BitAnd,
    /// Bitwise or.
    BitOr,
    /// Bitwise exclusive or.
    BitXor,
    /// About how many different values there are.
    ApproxCountDistinct,
    /// The value at a share of the way through all values, in proportion between two.
    Percentile,
    /// The first value up to which a share of all values is reached.
    PercentileDisc,
    /// About the value at a share of the way through all values.
    PercentileApprox,
    /// The most frequent value.
    Mode,
    /// How many values there are about so many places.
    Histogram,
    /// Texts or bytes, joined.
    Listagg,
    /// One of pairs of numbers.
    OfPairs(PairFunction),
}

/// What becomes of a result that its type cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// An error.
    Error,
    /// Whole numbers wrap; decimals become null.
    Wrap,
    /// Null.
    Null,
}

/// An aggregate that was compiled for a schema.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// What it computes.
    pub function: AggregateFunction,
    /// Over what: cast to the types that the function takes.
    pub args: Vec<Expression>,
    /// Which rows count; a row for which it is null does not.
    pub filter: Option<Expression>,
    /// The type of the result.
    pub ty: DataType,
    /// What becomes of a result that its type cannot hold.
    pub overflow: Overflow,
    /// What constants among the arguments say.
    pub params: AggregateParams,
    /// As Spark names it.
    pub name: String,
}

/// Whether a call is one of an aggregate.
pub(crate) fn is_aggregate(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name) || MISSING.contains(&name)
}

/// The names of the aggregates.
pub(crate) fn aggregate_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

impl AggregateFunction {
    /// Whether the order of rows decides the result, so that parts must be put together in the order in which rows came.
    pub fn is_ordered(self) -> bool {
        use AggregateFunction as F;
        matches!(
            self,
            F::First
                | F::FirstValid
                | F::Last
                | F::LastValid
                | F::MaxBy
                | F::MinBy
                | F::CollectList
                | F::CollectSet
                | F::Listagg
                | F::Histogram
        )
    }
}

/// Compiles a call of an aggregate.
pub(crate) fn plan(
    planner: &Planner<'_>,
    text: &str,
    (name, args): (&str, &[Ast]),
    (distinct, order, filter): (bool, &[(Ast, Sort)], Option<&Ast>),
    span: Span,
) -> Planned<AggregateCall> {
    let Some((_, mut function)) = NAMES.iter().find(|(known, _)| *known == name).copied() else {
        if let Some(other) = instead(name) {
            let message = format!("the aggregate '{name}' is not supported: its result is a sketch of Spark's own");
            return Err(PlanError::new(span, message).hint(other));
        }
        let near = nearest(name, NAMES.iter().map(|(known, _)| *known)).unwrap_or("count, sum, avg, min, max");
        let message = format!("the aggregate '{name}' is not supported");
        return Err(PlanError::new(span, message).hint(format!("is there another way, such as {near}?")));
    };
    if distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::CollectSet)
    {
        let message =
            format!("[STREAMING_DISTINCT] {name}(DISTINCT …) cannot be streamed: it needs all values for ever");
        return Err(PlanError::new(span, message).hint("drop duplicates before, with Deduplicate"));
    }
    use AggregateFunction as F;
    if !order.is_empty() && !matches!(function, F::Mode | F::Listagg | F::Percentile | F::PercentileDisc) {
        let message = format!("[INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX] {name} takes no WITHIN GROUP");
        return Err(PlanError::new(span, message).hint("leave it out"));
    }
    let star = matches!(args, [Ast { node: Node::Star(None), .. }]);
    let mut values = Vec::new();
    if !(star && function == AggregateFunction::Count) {
        for arg in args {
            values.push(planner.plan(arg)?);
        }
    }
    let mut title = match (star, values.as_slice()) {
        (true, []) => format!("{name}(1)"),
        (_, values) => special::title(planner, name, function, values, order)?,
    };
    if distinct {
        title = title.replacen('(', "(DISTINCT ", 1);
    }
    let mut condition = filter.map(|filter| planner.condition(filter)).transpose()?;
    if let Some(condition) = &condition {
        title = format!("{title} FILTER (WHERE {})", condition.name);
    }
    if name == "count_if" {
        let [value] = one(name, values, span)?;
        let counted = argument(value, &DataType::Boolean, planner.ansi, name)?;
        condition = Some(match condition {
            Some(filter) => planner.binary(crate::ast::Binary::And, filter, counted, span)?,
            None => counted,
        });
        values = Vec::new();
    }
    if matches!(function, AggregateFunction::First | AggregateFunction::Last) && values.len() == 2 {
        match values.pop().and_then(|flag| flag.literal) {
            Some(datafusion_common::ScalarValue::Boolean(Some(true))) => {
                function = match function {
                    AggregateFunction::First => AggregateFunction::FirstValid,
                    _ => AggregateFunction::LastValid,
                };
            }
            Some(datafusion_common::ScalarValue::Boolean(Some(false))) => {}
            _ => {
                let message = format!("the second argument of {name} says whether nulls are left out: true or false");
                return Err(PlanError::new(span, message));
            }
        }
    }
    if name.starts_with("regr_") {
        let [y, x] = one(name, values, span)?;
        if function == AggregateFunction::Avg {
            let (value, other) = if name == "regr_avgx" { (x, y) } else { (y, x) };
            let known = planner.present(other)?;
            condition = Some(match condition {
                Some(filter) => planner.binary(crate::ast::Binary::And, filter, known, span)?,
                None => known,
            });
            values = vec![value];
        } else {
            values = if name == "regr_sxx" { vec![x, y] } else { vec![y, x] };
        }
    }
    let (values, ty, params) = match function {
        AggregateFunction::ApproxCountDistinct
        | AggregateFunction::Percentile
        | AggregateFunction::PercentileDisc
        | AggregateFunction::PercentileApprox
        | AggregateFunction::Mode
        | AggregateFunction::Histogram
        | AggregateFunction::Listagg => special::arguments(planner, name, function, values, order, span)?,
        _ => {
            let (values, ty) = arguments(planner, name, function, values, span)?;
            (values, ty, AggregateParams::default())
        }
    };
    // Rows that do not count are not computed: they could fail.
    let values = values.into_iter().map(|value| match &condition {
        Some(condition) if value.fallible => {
            let name = value.name.clone();
            Ok(choose(vec![condition.clone()], vec![value], planner.ansi, span)?.named(name))
        }
        _ => Ok(value),
    });
    let values: Vec<Typed> = values.collect::<Planned<_>>()?;
    let expression = |typed: Typed| Expression::new(text, typed.name.clone(), typed);
    Ok(AggregateCall {
        function,
        args: values.into_iter().map(expression).collect(),
        filter: condition.map(expression),
        ty,
        overflow: match planner.ansi {
            _ if name.starts_with("try_") => Overflow::Null,
            true => Overflow::Error,
            false => Overflow::Wrap,
        },
        params,
        name: title,
    })
}

fn one<const N: usize>(name: &str, values: Vec<Typed>, span: Span) -> Planned<[Typed; N]> {
    let given = values.len();
    values.try_into().map_err(|_| {
        let s = if N == 1 { "" } else { "s" };
        PlanError::new(span, format!("[WRONG_NUM_ARGS] {name} takes {N} argument{s}, not {given}"))
    })
}

/// The arguments in the types that the function takes, and the type of its result.
fn arguments(
    planner: &Planner<'_>,
    name: &str,
    function: AggregateFunction,
    values: Vec<Typed>,
    span: Span,
) -> Planned<(Vec<Typed>, DataType)> {
    use AggregateFunction as F;
    use DataType::{Decimal128, Float64, Int64};
    let ansi = planner.ansi;
    let double = |value: Typed| argument(value, &Float64, ansi, name);
    Ok(match function {
        F::Count => {
            if values.is_empty() && name == "count" && span.start == span.end {
                return Err(PlanError::new(span, "count takes * or values"));
            }
            (values, Int64)
        }
        F::Sum | F::Avg => {
            let [value] = one(name, values, span)?;
            let value = match value.ty {
                DataType::Utf8 | DataType::Null => argument(value, &Float64, ansi, name)?,
                _ => value,
            };
            let (to, ty) = match (&value.ty, function) {
                (Decimal128(p, s), F::Sum) => (value.ty.clone(), Decimal128((p + 10).min(38), *s)),
                (Decimal128(p, s), _) => {
                    let scale = (*s + 4).min(38);
                    (value.ty.clone(), Decimal128((p + 4).min(38), scale))
                }
                (ty, F::Sum) if ty.is_integer() => (Int64, Int64),
                (ty, _) if ty.is_numeric() => (Float64, Float64),
                (ty, _) => {
                    let message =
                        format!("[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {name} takes numbers, not {}", sql_name(ty));
                    return Err(PlanError::new(value.span, message).hint("cast it"));
                }
            };
            (vec![cast(value, &to, Mode::of(ansi))], ty)
        }
        F::Min | F::Max => {
            let [value] = one(name, values, span)?;
            if matches!(name, "bool_and" | "every" | "bool_or" | "any" | "some") {
                (vec![argument(value, &DataType::Boolean, ansi, name)?], DataType::Boolean)
            } else if !orderable(&value.ty) {
                return Err(unordered(name, &value));
            } else {
                let ty = value.ty.clone();
                (vec![value], ty)
            }
        }
        F::VarSamp | F::VarPop | F::StddevSamp | F::StddevPop | F::Skewness | F::Kurtosis => {
            let [value] = one(name, values, span)?;
            (vec![double(value)?], Float64)
        }
        F::OfPairs(_) => {
            let [x, y] = one(name, values, span)?;
            (vec![double(x)?, double(y)?], Float64)
        }
        F::First | F::FirstValid | F::Last | F::LastValid => {
            let [value] = one(name, values, span)?;
            let ty = value.ty.clone();
            (vec![value], ty)
        }
        F::MaxBy | F::MinBy => {
            let [value, by] = one(name, values, span)?;
            if !orderable(&by.ty) {
                return Err(unordered(name, &by));
            }
            let ty = value.ty.clone();
            (vec![value, by], ty)
        }
        F::CollectList | F::CollectSet => {
            let [value] = one(name, values, span)?;
            let ty = list(value.ty.clone());
            (vec![value], ty)
        }
        F::BitAnd | F::BitOr | F::BitXor => {
            let [value] = one(name, values, span)?;
            if !value.ty.is_integer() {
                let message = format!("[DATATYPE_MISMATCH] {name} takes whole numbers, not {}", sql_name(&value.ty));
                return Err(PlanError::new(value.span, message).hint("cast it"));
            }
            let ty = value.ty.clone();
            (vec![value], ty)
        }
        F::ApproxCountDistinct
        | F::Percentile
        | F::PercentileDisc
        | F::PercentileApprox
        | F::Mode
        | F::Histogram
        | F::Listagg => {
            return Err(PlanError::new(span, format!("{name} has arguments of its own")));
        }
    })
}

pub(super) fn unordered(name: &str, value: &Typed) -> PlanError {
    let message = format!(
        "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] {name} cannot compare values of type {}",
        sql_name(&value.ty)
    );
    PlanError::new(value.span, message)
}

/// Whether values of the type have an order.
pub(super) fn orderable(ty: &DataType) -> bool {
    match ty {
        DataType::Map(_, _) => false,
        DataType::List(item) => orderable(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| orderable(field.data_type())),
        _ => true,
    }
}
