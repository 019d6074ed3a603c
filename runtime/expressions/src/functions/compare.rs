//! Comparisons.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::BinaryExpr;

use crate::ast::{Binary, PlanError, Planned, Span};
use crate::coerce::{Purpose, unify};
use crate::typed::Typed;

/// `left op right`, after both sides were brought to one type.
pub(crate) fn plan(op: Binary, left: Typed, right: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let equality = matches!(op, Binary::Eq | Binary::NotEq | Binary::NullSafeEq);
    let mixed = [&left, &right].iter().any(|side| side.ty == DataType::Boolean)
        && [&left, &right].iter().any(|side| side.ty.is_numeric());
    if mixed && !equality {
        let message = format!(
            "[DATATYPE_MISMATCH] a boolean and a number have no order: {} {} {}",
            left.name,
            op.symbol(),
            right.name
        );
        return Err(PlanError::new(span, message).hint("cast one of them"));
    }
    let (values, ty) = unify(vec![left, right], ansi, Purpose::Compare, span)?;
    let Ok([left, right]) = <[Typed; 2]>::try_from(values) else {
        return Err(PlanError::new(span, "two operands are needed"));
    };
    if has_map(&ty) {
        let message = "[DATATYPE_MISMATCH.INVALID_ORDERING_TYPE] maps cannot be compared";
        return Err(PlanError::new(span, message).hint("compare their keys or values"));
    }
    if ty == DataType::Null {
        let value = (op == Binary::NullSafeEq).then_some(true);
        return Ok(Typed::literal(ScalarValue::Boolean(value), String::new(), span));
    }
    let op = match op {
        Binary::Eq => Operator::Eq,
        Binary::NotEq => Operator::NotEq,
        Binary::Less => Operator::Lt,
        Binary::LessEq => Operator::LtEq,
        Binary::Greater => Operator::Gt,
        Binary::GreaterEq => Operator::GtEq,
        _ => Operator::IsNotDistinctFrom,
    };
    node(op, positive_zero(left), positive_zero(right), span)
}

/// A comparison of values of one type.
pub(crate) fn node(op: Operator, left: Typed, right: Typed, span: Span) -> Planned<Typed> {
    let expr = Arc::new(BinaryExpr::new(Arc::clone(&left.expr), op, Arc::clone(&right.expr)));
    Ok(Typed::node(expr, &[left, right], DataType::Boolean, String::new(), span))
}

fn has_map(ty: &DataType) -> bool {
    match ty {
        DataType::Map(_, _) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// Arrow orders floats by their bits: all NaN must be one, and minus zero equal to zero, as in Spark.
fn positive_zero(value: Typed) -> Typed {
    if !value.ty.is_floating() {
        return value;
    }
    let (name, span, ty) = (value.name.clone(), value.span, value.ty.clone());
    let normal = Typed::call("normalize", &[value], ty, span, |args| {
        let array = args.array(0)?;
        Ok(match array.data_type() {
            DataType::Float32 => {
                let fix = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
                Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(fix)) as ArrayRef
            }
            _ => {
                let fix = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
                Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(fix))
            }
        })
    });
    normal.named(name)
}
