//! Functions of numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, make_comparator};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion_common::{DataFusionError, ScalarValue};

use super::cast::{Mode, cast, cast_array, overflow};
use super::decimal::{fits, of_integer, rescale};
use super::{Invocation, arithmetic};
use crate::ast::{Binary, Planned};
use crate::coerce::{Purpose, argument, unify};
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "abs",
    "negative",
    "positive",
    "round",
    "bround",
    "floor",
    "ceil",
    "ceiling",
    "sqrt",
    "exp",
    "expm1",
    "ln",
    "log",
    "log10",
    "log2",
    "log1p",
    "pow",
    "power",
    "sign",
    "signum",
    "cbrt",
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "atan2",
    "hypot",
    "degrees",
    "radians",
    "rint",
    "pi",
    "e",
    "greatest",
    "least",
    "mod",
    "pmod",
    "try_add",
    "try_subtract",
    "try_multiply",
    "try_divide",
    "try_mod",
    "shiftleft",
    "shiftright",
    "shiftrightunsigned",
    "hex",
    "bin",
    "factorial",
    "bit_count",
];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "abs" => {
            let [value] = call.exactly()?;
            arithmetic::abs(value, ansi, span)
        }
        "negative" => {
            let [value] = call.exactly()?;
            let name = format!("negative({})", value.name);
            Ok(arithmetic::negate(value, ansi, span)?.named(name))
        }
        "positive" => {
            let [value] = call.exactly()?;
            let name = format!("(+ {})", value.name);
            Ok(arithmetic::number(value, ansi, span)?.named(name))
        }
        "round" | "bround" => round(call),
        "floor" | "ceil" | "ceiling" => whole(call),
        "greatest" | "least" => extreme(call),
        "mod" => {
            let [left, right] = call.exactly()?;
            arithmetic::plan(Binary::Modulo, left, right, ansi, span)
        }
        "pmod" => pmod(call),
        "try_add" | "try_subtract" | "try_multiply" | "try_divide" | "try_mod" => attempt(call),
        "shiftleft" | "shiftright" | "shiftrightunsigned" => {
            let op = match call.name {
                "shiftleft" => Binary::ShiftLeft,
                "shiftright" => Binary::ShiftRight,
                _ => Binary::ShiftRightUnsigned,
            };
            let [left, right] = call.exactly()?;
            arithmetic::shift(op, left, right, ansi, span)
        }
        "pi" | "e" => {
            call.exactly::<0>()?;
            let value = if call.name == "pi" { std::f64::consts::PI } else { std::f64::consts::E };
            Ok(Typed::literal(ScalarValue::Float64(Some(value)), String::new(), span))
        }
        "pow" | "power" => binary(call, f64::powf),
        "atan2" => binary(call, f64::atan2),
        "hypot" => binary(call, f64::hypot),
        "hex" => hex(call),
        "bin" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Int64, ansi, "bin")?;
            Ok(Typed::call("bin", &[value], DataType::Utf8, span, |args| {
                let values = args.array(0)?;
                let text = values.as_primitive::<Int64Type>().iter().map(|v| v.map(|v| format!("{v:b}")));
                Ok(Arc::new(text.collect::<StringArray>()))
            }))
        }
        "factorial" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Int32, ansi, "factorial")?;
            Ok(Typed::call("factorial", &[value], DataType::Int64, span, |args| {
                let factorial = |n: i32| (0..=20).contains(&n).then(|| (1..=i64::from(n)).product());
                Ok(Arc::new(args.array(0)?.as_primitive::<Int32Type>().unary_opt::<_, Int64Type>(factorial)))
            }))
        }
        "bit_count" => {
            let [value] = call.exactly()?;
            let value = match value.ty {
                DataType::Boolean => cast(value, &DataType::Int64, Mode::Legacy),
                _ => argument(value, &DataType::Int64, ansi, "bit_count")?,
            };
            Ok(Typed::call("bit_count", &[value], DataType::Int32, span, |args| {
                let count = |v: i64| v.count_ones().cast_signed();
                Ok(Arc::new(args.array(0)?.as_primitive::<Int64Type>().unary::<_, Int32Type>(count)))
            }))
        }
        "log" if call.args.len() == 2 => {
            // Neither base nor argument may be zero or below: such a logarithm is null.
            binary_opt(call, |base, x| {
                (base > 0.0 || base.is_nan())
                    .then_some(x)
                    .filter(|x| *x > 0.0 || x.is_nan())
                    .map(|x| x.ln() / base.ln())
            })
        }
        name => {
            let op: fn(f64) -> Option<f64> = match name {
                "sqrt" => |x| Some(x.sqrt()),
                "exp" => |x| Some(x.exp()),
                "expm1" => |x| Some(x.exp_m1()),
                // Spark's logarithms are null where they are not defined.
                "ln" | "log" => |x| (x > 0.0 || x.is_nan()).then(|| x.ln()),
                "log10" => |x| (x > 0.0 || x.is_nan()).then(|| x.log10()),
                "log2" => |x| (x > 0.0 || x.is_nan()).then(|| x.log2()),
                "log1p" => |x| (x > -1.0 || x.is_nan()).then(|| x.ln_1p()),
                "cbrt" => |x| Some(x.cbrt()),
                "sin" => |x| Some(x.sin()),
                "cos" => |x| Some(x.cos()),
                "tan" => |x| Some(x.tan()),
                "cot" => |x| Some(1.0 / x.tan()),
                "sec" => |x| Some(1.0 / x.cos()),
                "csc" => |x| Some(1.0 / x.sin()),
                "asin" => |x| Some(x.asin()),
                "acos" => |x| Some(x.acos()),
                "atan" => |x| Some(x.atan()),
                "sinh" => |x| Some(x.sinh()),
                "cosh" => |x| Some(x.cosh()),
                "tanh" => |x| Some(x.tanh()),
                "degrees" => |x| Some(x.to_degrees()),
                "radians" => |x| Some(x.to_radians()),
                "rint" => |x| Some(x.round_ties_even()),
                _ => |x| Some(if x == 0.0 || x.is_nan() { x } else { x.signum() }),
            };
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Float64, ansi, name)?;
            Ok(Typed::call(name, &[value], DataType::Float64, span, move |args| {
                Ok(Arc::new(args.array(0)?.as_primitive::<Float64Type>().unary_opt::<_, Float64Type>(op)))
            }))
        }
    }
}

fn binary(call: Invocation<'_>, op: fn(f64, f64) -> f64) -> Planned<Typed> {
    binary_opt(call, move |a, b| Some(op(a, b)))
}

fn binary_opt(
    mut call: Invocation<'_>,
    op: impl Fn(f64, f64) -> Option<f64> + Send + Sync + 'static,
) -> Planned<Typed> {
    let [left, right] = call.exactly()?;
    let args = [
        argument(left, &DataType::Float64, call.ansi(), call.name)?,
        argument(right, &DataType::Float64, call.ansi(), call.name)?,
    ];
    Ok(Typed::call(call.name, &args, DataType::Float64, call.span, move |args| {
        let (a, b) = (args.array(0)?, args.array(1)?);
        let rows = a.as_primitive::<Float64Type>().iter().zip(b.as_primitive::<Float64Type>());
        Ok(Arc::new(rows.map(|(a, b)| op(a?, b?)).collect::<Float64Array>()))
    }))
}

/// Half up, or half to even; of a decimal the result has fewer decimals.
fn round(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(1, 2)?.into_iter();
    let (ansi, span) = (call.ansi(), call.span);
    let Some(value) = args.next() else { return Err(call.error("arguments are missing")) };
    let digits = args.next();
    let label = format!("{}({}, {})", call.name, value.name, digits.as_ref().map_or("0", |digits| &digits.name));
    let digits = match digits.map(|digits| digits.literal_long()) {
        None => 0,
        Some(Some(digits)) => digits.clamp(-400, 400) as i32,
        Some(None) => return Err(call.error(format!("the second argument of {} has to be a constant", call.name))),
    };
    let value = arithmetic::number(value, ansi, span)?;
    let even = call.name == "bround";
    let ty = match value.ty {
        DataType::Decimal128(precision, scale) => {
            let scale_to = i32::from(scale).min(digits.max(0));
            let whole = i32::from(precision) - i32::from(scale) + 1;
            let precision = if digits < 0 { whole.max(1 - digits) } else { (whole + scale_to).min(38) };
            DataType::Decimal128(precision.clamp(1, 38) as u8, scale_to as i8)
        }
        ref other => other.clone(),
    };
    let result = ty.clone();
    let integer = ty.is_integer();
    let typed = Typed::call(call.name, &[value], ty, span, move |args| {
        let array = args.array(0)?;
        Ok(match (array.data_type(), &result) {
            (DataType::Float64, _) => {
                Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| round_double(v, digits, even)))
            }
            (DataType::Float32, _) => {
                let round =
                    |v: f32| round_text(v.is_finite(), &format!("{v:e}"), digits, even).unwrap_or(f64::from(v)) as f32;
                Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(round))
            }
            (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) => {
                let round = |v: i128| {
                    // Below the point the scale says where to round, above it zeros are put in.
                    let rounded = round_decimal(v, i32::from(*from) - digits, even)?;
                    rescale(rounded, *from, *to).filter(|v| fits(*v, *precision))
                };
                let values = array.as_primitive::<Decimal128Type>().unary_opt::<_, Decimal128Type>(round);
                Arc::new(values.with_precision_and_scale(*precision, *to)?)
            }
            _ => {
                let long = cast_array(&array, &DataType::Int64, Mode::Legacy)?;
                let mut rounded = Vec::with_capacity(long.len());
                for value in long.as_primitive::<Int64Type>() {
                    rounded.push(value.map(|v| round_decimal(v.into(), -digits, even).unwrap_or(0)));
                }
                let wide: arrow::array::Decimal128Array = rounded.into_iter().collect();
                let wide: ArrayRef = Arc::new(wide.with_precision_and_scale(38, 0)?);
                cast_array(&wide, &result, Mode::of(ansi)).map_err(|_| {
                    DataFusionError::Execution("[ARITHMETIC_OVERFLOW] the rounded number is out of range".into())
                })?
            }
        })
    });
    let typed = typed.named(label);
    Ok(if ansi && integer && digits < 0 { typed.fallible() } else { typed })
}

/// Rounds off `drop` digits and puts zeros in their place.
fn round_decimal(value: i128, drop: i32, even: bool) -> Option<i128> {
    if drop <= 0 {
        return Some(value);
    }
    let unit = u32::try_from(drop).ok().and_then(|drop| 10i128.checked_pow(drop));
    let Some(unit) = unit else { return Some(0) };
    let (quotient, rest) = (value / unit, (value % unit).unsigned_abs());
    let half = unit.unsigned_abs() / 2;
    let up = rest > half || rest == half && (!even || quotient % 2 != 0);
    (quotient + if up { value.signum() } else { 0 }).checked_mul(unit)
}

fn round_double(value: f64, digits: i32, even: bool) -> f64 {
    round_text(value.is_finite(), &format!("{value:e}"), digits, even).unwrap_or(value)
}

/// Rounds the shortest decimal text of a number, as Spark does: 2.675 gives 2.68 though it lies a little below.
fn round_text(finite: bool, text: &str, digits: i32, even: bool) -> Option<f64> {
    if !finite {
        return None;
    }
    let (mantissa, exponent) = text.split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
    let rounded = round_decimal(unscaled, -exponent - digits, even)?;
    format!("{rounded}e{exponent}").parse().ok()
}

/// floor and ceil: a bigint, of a decimal a decimal without decimals.
fn whole(mut call: Invocation<'_>) -> Planned<Typed> {
    if call.args.len() == 2 {
        return whole_to(call);
    }
    let [value] = call.exactly()?;
    let (ansi, span) = (call.ansi(), call.span);
    let value = arithmetic::number(value, ansi, span)?;
    let label = if call.name == "ceiling" { "ceiling".to_owned() } else { call.name.to_uppercase() };
    let label = format!("{label}({})", value.name);
    let floor = call.name == "floor";
    let typed = match value.ty {
        DataType::Decimal128(precision, scale) => {
            let precision = (i32::from(precision) - i32::from(scale) + i32::from(scale > 0)).clamp(1, 38) as u8;
            let unit = 10i128.pow(u32::try_from(scale).unwrap_or(0));
            Typed::call(call.name, &[value], DataType::Decimal128(precision, 0), span, move |args| {
                let cut = |v: i128| if floor { v.div_euclid(unit) } else { -(-v).div_euclid(unit) };
                let values = args.array(0)?.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(cut);
                Ok(Arc::new(values.with_precision_and_scale(precision, 0)?))
            })
        }
        ref ty if ty.is_integer() => cast(value, &DataType::Int64, Mode::Legacy),
        _ => {
            let value = cast(value, &DataType::Float64, Mode::Legacy);
            Typed::call(call.name, &[value], DataType::Int64, span, move |args| {
                let cut = |v: f64| if floor { v.floor() } else { v.ceil() } as i64;
                Ok(Arc::new(args.array(0)?.as_primitive::<Float64Type>().unary::<_, Int64Type>(cut)))
            })
        }
    };
    Ok(typed.named(label))
}

/// `floor` and `ceil` to a number of decimals: always a decimal.
fn whole_to(mut call: Invocation<'_>) -> Planned<Typed> {
    let [value, digits] = call.exactly()?;
    let (ansi, span) = (call.ansi(), call.span);
    let label = format!("{}({}, {})", call.name, value.name, digits.name);
    let Some(digits) = digits.literal_long().map(|digits| digits.clamp(-38, 38) as i32) else {
        return Err(call.error(format!("the second argument of {} has to be a constant", call.name)));
    };
    let value = arithmetic::number(value, ansi, span)?;
    let of = match value.ty {
        DataType::Decimal128(precision, scale) => (precision, scale),
        DataType::Float32 => (14, 7),
        ref ty => of_integer(ty).unwrap_or((30, 15)),
    };
    let (precision, scale) = of;
    // Without ANSI what is no decimal becomes null.
    let value = cast(value, &DataType::Decimal128(precision, scale), Mode::of(ansi));
    let to = i32::from(scale).min(digits.max(0)) as i8;
    let least = i32::from(precision) - i32::from(scale) + 1;
    let precision = if digits < 0 { least.max(1 - digits) } else { least + i32::from(to) }.clamp(1, 38) as u8;
    let floor = call.name == "floor";
    let dropped = u32::try_from(i32::from(scale) - digits).unwrap_or(0);
    let typed = Typed::call(call.name, &[value], DataType::Decimal128(precision, to), span, move |args| {
        let cut = |v: i128| {
            let Some(unit) = 10i128.checked_pow(dropped) else { return Some(0) };
            let whole = if floor { v.div_euclid(unit) } else { -(-v).div_euclid(unit) };
            rescale(whole.checked_mul(unit)?, scale, to).filter(|v| fits(*v, precision))
        };
        let values = args.array(0)?.as_primitive::<Decimal128Type>().unary_opt::<_, Decimal128Type>(cut);
        Ok(Arc::new(values.with_precision_and_scale(precision, to)?))
    });
    Ok(typed.named(label))
}

/// The largest or smallest argument; nulls are left out.
fn extreme(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(2, usize::MAX)?;
    let (args, ty) = unify(args, call.ansi(), Purpose::Unify, call.span)?;
    let greatest = call.name == "greatest";
    Ok(Typed::call(call.name, &args, ty, call.span, move |args| {
        let arrays = args.arrays()?;
        let mut orders = Vec::new();
        for a in &arrays {
            for b in &arrays {
                orders.push(make_comparator(a, b, SortOptions::default())?);
            }
        }
        let columns = arrays.len();
        let best = |row: usize| -> (usize, usize) {
            let mut best: Option<usize> = None;
            for (index, array) in arrays.iter().enumerate().filter(|(_, array)| array.is_valid(row)) {
                let _ = array;
                let better = match best.and_then(|best| orders.get(index * columns + best)) {
                    Some(order) if greatest => order(row, row).is_gt(),
                    Some(order) => order(row, row).is_lt(),
                    None => true,
                };
                if better {
                    best = Some(index);
                }
            }
            (best.unwrap_or(0), row)
        };
        let indices: Vec<_> = (0..args.rows).map(best).collect();
        let parts: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&parts, &indices)?)
    }))
}

/// The remainder that has the sign of the divisor's size: never below zero.
fn pmod(mut call: Invocation<'_>) -> Planned<Typed> {
    let [left, right] = call.exactly()?;
    let (ansi, span) = (call.ansi(), call.span);
    let rest = arithmetic::plan(Binary::Modulo, left, right.clone(), ansi, span)?;
    let ty = rest.ty.clone();
    // ((a % n) + n) % n for what came out below zero.
    let right = cast(right, &ty, Mode::of(ansi));
    let result = ty.clone();
    let typed = Typed::call("pmod", &[rest, right], ty, span, move |args| {
        let (rest, by) = (args.array(0)?, args.array(1)?);
        macro_rules! positive {
            ($type:ty, $zero:expr) => {{
                let rows = rest.as_primitive::<$type>().iter().zip(by.as_primitive::<$type>());
                let fix = |(rest, by): (Option<_>, Option<_>)| match (rest?, by?) {
                    (rest, by) if rest < $zero => Some((rest + by) % by),
                    (rest, _) => Some(rest),
                };
                Arc::new(rows.map(fix).collect::<arrow::array::PrimitiveArray<$type>>().with_data_type(result.clone()))
                    as ArrayRef
            }};
        }
        Ok(match result {
            DataType::Int32 => positive!(Int32Type, 0),
            DataType::Int64 => positive!(Int64Type, 0),
            DataType::Float64 => positive!(Float64Type, 0.0),
            DataType::Float32 => positive!(Float32Type, 0.0),
            DataType::Decimal128(_, _) => positive!(Decimal128Type, 0),
            _ => {
                let (rest, by) = (
                    cast_array(&rest, &DataType::Int32, Mode::Legacy)?,
                    cast_array(&by, &DataType::Int32, Mode::Legacy)?,
                );
                let rows = rest.as_primitive::<Int32Type>().iter().zip(by.as_primitive::<Int32Type>());
                let fix = |(rest, by): (Option<i32>, Option<i32>)| match (rest?, by?) {
                    (rest, by) if rest < 0 => Some((rest + by) % by),
                    (rest, _) => Some(rest),
                };
                let fixed: ArrayRef = Arc::new(rows.map(fix).collect::<arrow::array::Int32Array>());
                cast_array(&fixed, &result, Mode::Legacy)?
            }
        })
    });
    Ok(typed)
}

/// try_add and its kin: row by row what fails under ANSI is null.
fn attempt(mut call: Invocation<'_>) -> Planned<Typed> {
    let [left, right] = call.exactly()?;
    let op = match call.name {
        "try_add" => Binary::Add,
        "try_subtract" => Binary::Subtract,
        "try_multiply" => Binary::Multiply,
        "try_divide" => Binary::Divide,
        _ => Binary::Modulo,
    };
    let typed = arithmetic::plan(op, left, right, true, call.span)?;
    Ok(typed.rescued())
}

fn hex(mut call: Invocation<'_>) -> Planned<Typed> {
    let [value] = call.exactly()?;
    let value = match value.ty {
        DataType::Utf8 | DataType::Binary => value,
        _ => argument(value, &DataType::Int64, call.ansi(), "hex")?,
    };
    Ok(Typed::call("hex", &[value], DataType::Utf8, call.span, |args| {
        let array = args.array(0)?;
        let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        Ok(Arc::new(match array.data_type() {
            DataType::Utf8 => {
                array.as_string::<i32>().iter().map(|v| v.map(|v| bytes(v.as_bytes()))).collect::<StringArray>()
            }
            DataType::Binary => array.as_binary::<i32>().iter().map(|v| v.map(bytes)).collect::<StringArray>(),
            DataType::Int64 => {
                array.as_primitive::<Int64Type>().iter().map(|v| v.map(|v| format!("{v:X}"))).collect::<StringArray>()
            }
            other => return Err(overflow("hex", other, &DataType::Int64)),
        }))
    }))
}
