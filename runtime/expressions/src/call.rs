//! The physical node of all functions and operators that are ours: arguments, a result type and a kernel.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// The evaluated arguments of a call.
pub(crate) struct Args<'a> {
    values: &'a [ColumnarValue],
    /// How many rows the result has.
    pub(crate) rows: usize,
}

impl Args<'_> {
    pub(crate) fn value(&self, index: usize) -> Result<&ColumnarValue> {
        match self.values.get(index) {
            Some(value) => Ok(value),
            None => exec_err!("argument {index} is missing"),
        }
    }

    /// The argument as an array of all rows.
    pub(crate) fn array(&self, index: usize) -> Result<ArrayRef> {
        self.value(index)?.to_array(self.rows)
    }

    /// The argument as an array, or as one value that stands for all rows.
    pub(crate) fn datum(&self, index: usize) -> Result<Arc<dyn Datum>> {
        Ok(match self.value(index)? {
            ColumnarValue::Array(array) => Arc::new(Arc::clone(array)),
            ColumnarValue::Scalar(scalar) => Arc::new(scalar.to_scalar()?),
        })
    }

    /// All arguments as arrays.
    pub(crate) fn arrays(&self) -> Result<Vec<ArrayRef>> {
        self.values.iter().map(|value| value.to_array(self.rows)).collect()
    }
}

/// Computes a column. Called with one row when all arguments are constant.
pub(crate) type Kernel = dyn Fn(&Args<'_>) -> Result<ArrayRef> + Send + Sync;

/// A call of a kernel.
pub(crate) struct Call {
    name: String,
    args: Vec<Arc<dyn PhysicalExpr>>,
    ty: DataType,
    kernel: Arc<Kernel>,
}

impl Call {
    pub(crate) fn new(
        name: impl Into<String>,
        args: Vec<Arc<dyn PhysicalExpr>>,
        ty: DataType,
        kernel: Arc<Kernel>,
    ) -> Self {
        Self { name: name.into(), args, ty, kernel }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, arg) in self.args.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{arg}")?;
        }
        f.write_str(")")
    }
}

// Kernels are closures: two calls are equal when they share one.
impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.args == other.args && self.ty == other.ty
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.args.hash(state);
        self.ty.hash(state);
    }
}

impl PhysicalExpr for Call {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.ty.clone())
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.args.iter().map(|arg| arg.evaluate(batch)).collect::<Result<Vec<_>>>()?;
        let constant = !values.is_empty() && values.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        if constant && batch.num_rows() > 0 {
            let result = (self.kernel)(&Args { values: &values, rows: 1 })?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        (self.kernel)(&Args { values: &values, rows: batch.num_rows() }).map(ColumnarValue::Array)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.args.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self::new(self.name.clone(), children, self.ty.clone(), Arc::clone(&self.kernel))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `a AND b` or `a OR b` that looks at `b` only in the rows that `a` leaves open: `b` may fail in the others.
#[derive(Debug, Eq)]
pub(crate) struct Lazy {
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
    and: bool,
}

impl Lazy {
    pub(crate) fn new(left: Arc<dyn PhysicalExpr>, right: Arc<dyn PhysicalExpr>, and: bool) -> Self {
        Self { left, right, and }
    }
}

// Deriving it would move out of the trait objects.
impl PartialEq for Lazy {
    fn eq(&self, other: &Self) -> bool {
        self.left.eq(&other.left) && self.right.eq(&other.right) && self.and == other.and
    }
}

impl Hash for Lazy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.right.hash(state);
        self.and.hash(state);
    }
}

impl fmt::Display for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, if self.and { "AND" } else { "OR" }, self.right)
    }
}

impl PhysicalExpr for Lazy {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = boolean(&self.left.evaluate(batch)?, rows)?;
        // AND is settled where the left side is false, OR where it is true.
        let open: BooleanArray = left.iter().map(|value| Some(value != Some(!self.and))).collect();
        let right = boolean(&self.right.evaluate_selection(batch, &open)?, rows)?;
        let settled = |(left, right): (Option<bool>, Option<bool>)| match (left, right) {
            (Some(l), _) if l != self.and => Some(l),
            (_, Some(r)) if r != self.and => Some(r),
            (Some(_), Some(_)) => Some(self.and),
            _ => None,
        };
        let result: BooleanArray = left.iter().zip(right.iter()).map(settled).collect();
        Ok(ColumnarValue::Array(Arc::new(result)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 2]>::try_from(children) {
            Ok([left, right]) => Ok(Arc::new(Self::new(left, right, self.and))),
            Err(_) => exec_err!("two operands are expected"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An expression that is null in the rows where it fails.
#[derive(Debug, Eq)]
pub(crate) struct Rescue {
    inner: Arc<dyn PhysicalExpr>,
    ty: DataType,
}

impl Rescue {
    pub(crate) fn new(inner: Arc<dyn PhysicalExpr>, ty: DataType) -> Self {
        Self { inner, ty }
    }

    /// Halves the batch until the rows that fail stand alone.
    fn parts(&self, batch: &RecordBatch, out: &mut Vec<ArrayRef>) -> Result<()> {
        match self.inner.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())) {
            Ok(array) => out.push(array),
            Err(_) if batch.num_rows() <= 1 => out.push(new_null_array(&self.ty, batch.num_rows())),
            Err(_) => {
                let middle = batch.num_rows() / 2;
                self.parts(&batch.slice(0, middle), out)?;
                self.parts(&batch.slice(middle, batch.num_rows() - middle), out)?;
            }
        }
        Ok(())
    }
}

// Deriving it would move out of the trait object.
impl PartialEq for Rescue {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && self.ty == other.ty
    }
}

impl Hash for Rescue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.ty.hash(state);
    }
}

impl fmt::Display for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "try({})", self.inner)
    }
}

impl PhysicalExpr for Rescue {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.ty.clone())
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut parts = Vec::new();
        self.parts(batch, &mut parts)?;
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([inner]) => Ok(Arc::new(Self::new(inner, self.ty.clone()))),
            Err(_) => exec_err!("one operand is expected"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A column of truth values.
pub(crate) fn boolean(value: &ColumnarValue, rows: usize) -> Result<BooleanArray> {
    let array = value.to_array(rows)?;
    match array.as_any().downcast_ref::<BooleanArray>() {
        Some(array) => Ok(array.clone()),
        None => exec_err!("a boolean is expected, not {}", array.data_type()),
    }
}
