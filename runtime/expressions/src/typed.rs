//! An expression whose type is known.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, Literal};

use super::ast::Span;
use super::call::{Args, Call, Rescue};

/// A compiled expression, its type, and the name that Spark gives it.
#[derive(Clone)]
pub(crate) struct Typed {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) ty: DataType,
    /// The name of the output column when there is no alias.
    pub(crate) name: String,
    pub(crate) span: Span,
    /// The value, if it is a constant.
    pub(crate) literal: Option<ScalarValue>,
    /// Whether evaluation can fail, so that it must not run on rows that do not need it.
    pub(crate) fallible: bool,
    /// Whether the result is not the same in every call, so that it must not be computed ahead.
    pub(crate) volatile: bool,
    /// The name is an alias or that of a field: a struct takes it over.
    pub(crate) aliased: bool,
    /// The name was given on purpose: a function that answers with this does not put its own in place.
    pub(crate) titled: bool,
    /// What was renamed by an alias inside an expression.
    pub(crate) source: Option<String>,
}

impl Typed {
    pub(crate) fn column(name: &str, index: usize, ty: DataType, span: Span) -> Self {
        Self {
            expr: Arc::new(Column::new(name, index)),
            ty,
            name: name.to_owned(),
            span,
            literal: None,
            fallible: false,
            volatile: false,
            aliased: false,
            titled: false,
            source: None,
        }
    }

    pub(crate) fn literal(value: ScalarValue, name: String, span: Span) -> Self {
        Self {
            expr: Arc::new(Literal::new(value.clone())),
            ty: value.data_type(),
            name,
            span,
            literal: Some(value),
            fallible: false,
            volatile: false,
            aliased: false,
            titled: false,
            source: None,
        }
    }

    /// A call of `kernel`, computed ahead when its arguments are constant.
    pub(crate) fn call(
        name: &str,
        args: &[Typed],
        ty: DataType,
        span: Span,
        kernel: impl Fn(&Args<'_>) -> datafusion_common::Result<ArrayRef> + Send + Sync + 'static,
    ) -> Self {
        let exprs = args.iter().map(|arg| Arc::clone(&arg.expr)).collect();
        let call = Call::new(name, exprs, ty.clone(), Arc::new(kernel));
        Self::node(Arc::new(call), args, ty, call_name(name, args), span)
    }

    /// Any physical expression over `args`.
    pub(crate) fn node(expr: Arc<dyn PhysicalExpr>, args: &[Typed], ty: DataType, name: String, span: Span) -> Self {
        let fallible = args.iter().any(|arg| arg.fallible);
        let volatile = args.iter().any(|arg| arg.volatile);
        let typed = Self {
            expr,
            ty,
            name,
            span,
            literal: None,
            fallible,
            volatile,
            aliased: false,
            titled: false,
            source: None,
        };
        if !args.is_empty() && args.iter().all(|arg| arg.literal.is_some()) { typed.fold() } else { typed }
    }

    /// The constant value, when it can be computed: what fails ahead fails again, with its message, on the rows.
    fn fold(self) -> Self {
        if self.volatile {
            return self;
        }
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one);
        let value = batch.map_err(Into::into).and_then(|batch| match self.expr.evaluate(&batch)? {
            ColumnarValue::Scalar(value) => Ok(value),
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
        });
        match value {
            Ok(value) if value.data_type() == self.ty => {
                Self { expr: Arc::new(Literal::new(value.clone())), literal: Some(value), fallible: false, ..self }
            }
            _ => Self { fallible: true, ..self },
        }
    }

    /// The same; evaluation can fail.
    pub(crate) fn fallible(self) -> Self {
        // A constant has been computed and did not fail.
        Self { fallible: self.literal.is_none(), ..self }
    }

    /// The same; where evaluation fails the result is null.
    pub(crate) fn rescued(self) -> Self {
        if !self.fallible {
            return self;
        }
        let expr = Arc::new(Rescue::new(Arc::clone(&self.expr), self.ty.clone()));
        let constant = self.literal.is_some();
        let typed = Self { expr, fallible: false, ..self };
        if constant { typed.fold() } else { typed }
    }

    /// The same under an alias, inside an expression.
    pub(crate) fn aliased(self, name: &str) -> Self {
        Self { source: Some(self.name), aliased: true, name: name.to_owned(), ..self }
    }

    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), titled: true, ..self }
    }

    /// The text of a constant string.
    pub(crate) fn literal_text(&self) -> Option<&str> {
        match &self.literal {
            Some(ScalarValue::Utf8(Some(text))) => Some(text),
            _ => None,
        }
    }

    /// The value of a constant whole number.
    pub(crate) fn literal_long(&self) -> Option<i64> {
        match &self.literal {
            Some(ScalarValue::Int8(Some(value))) => Some((*value).into()),
            Some(ScalarValue::Int16(Some(value))) => Some((*value).into()),
            Some(ScalarValue::Int32(Some(value))) => Some((*value).into()),
            Some(ScalarValue::Int64(Some(value))) => Some(*value),
            _ => None,
        }
    }
}

/// `name(a, b)`, as Spark names a call.
pub(crate) fn call_name(name: &str, args: &[Typed]) -> String {
    let args: Vec<_> = args.iter().map(|arg| arg.name.as_str()).collect();
    format!("{name}({})", args.join(", "))
}
