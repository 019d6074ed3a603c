//! The syntax tree of an expression, and errors with their place in its text.

use datafusion_common::ScalarValue;

/// A range of bytes of the expression's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(crate) fn to(self, other: Span) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// Why an expression cannot be compiled, where, and what to do.
#[derive(Debug, Clone)]
pub(crate) struct PlanError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl PlanError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error for the user: `text` is the whole expression.
    pub(crate) fn locate(self, text: &str) -> levada_connector_api::Error {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = if line == 1 { format!("column {column}") } else { format!("line {line}, column {column}") };
        let shown = around(text, before.len());
        let error = levada_connector_api::Error::config(format!("expression \"{shown}\", {place}: {}", self.message));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// A long text as what stands around a place in it, in bytes.
pub(crate) fn around(text: &str, at: usize) -> std::borrow::Cow<'_, str> {
    const LONG: usize = 400;
    const SHOWN: usize = 60;
    if text.len() <= LONG {
        return text.into();
    }
    let start = text.floor_char_boundary(at.saturating_sub(SHOWN));
    let end = text.ceil_char_boundary(at.saturating_add(SHOWN).min(text.len()));
    let part = text.get(start..end).unwrap_or_default();
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
    format!("{before}{part}{after}").into()
}

pub(crate) type Planned<T> = std::result::Result<T, PlanError>;

/// An expression.
#[derive(Debug, Clone)]
pub(crate) struct Ast {
    pub(crate) node: Node,
    pub(crate) span: Span,
    /// How many nodes stand above one another.
    pub(crate) height: usize,
}

/// Two expressions are equal when they say the same, wherever they stand.
impl PartialEq for Ast {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Ast {
    pub(crate) fn new(node: Node, span: Span) -> Self {
        let height = 1 + node.children().map(|child| child.height).max().unwrap_or(0);
        Self { node, span, height }
    }
}

/// How a value of `ORDER BY` sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) descending: bool,
    pub(crate) nulls_first: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Literal(ScalarValue),
    /// A name; of `a.b` the `a`.
    Name(String),
    /// `a.b`.
    Field(Box<Ast>, String),
    /// `a[b]`.
    Index(Box<Ast>, Box<Ast>),
    /// `*` or `a.*`.
    Star(Option<Box<Ast>>),
    Call {
        name: String,
        args: Vec<Ast>,
    },
    Unary(Unary, Box<Ast>),
    Binary(Binary, Box<Ast>, Box<Ast>),
    Cast {
        value: Box<Ast>,
        to: String,
        to_span: Span,
        attempt: bool,
    },
    Case {
        operand: Option<Box<Ast>>,
        branches: Vec<(Ast, Ast)>,
        otherwise: Option<Box<Ast>>,
    },
    Between {
        value: Box<Ast>,
        low: Box<Ast>,
        high: Box<Ast>,
    },
    In {
        value: Box<Ast>,
        list: Vec<Ast>,
    },
    Like {
        value: Box<Ast>,
        pattern: Box<Ast>,
        escape: Option<char>,
        fold_case: bool,
    },
    IsNull(Box<Ast>),
    /// `IS TRUE` or `IS FALSE`.
    IsTruth(Box<Ast>, bool),
    /// A call with `DISTINCT`, `WITHIN GROUP (ORDER BY …)` or `FILTER (WHERE …)`: for aggregates only.
    Modified {
        call: Box<Ast>,
        distinct: bool,
        order: Vec<(Ast, Sort)>,
        filter: Option<Box<Ast>>,
    },
    /// An alias inside an expression: `struct(a AS x)`.
    Named(Box<Ast>, String),
    /// `* EXCEPT (a, b)`, or the same of a struct's fields.
    Except(Box<Ast>, Vec<String>),
    /// `x -> body`, an argument of some functions.
    Lambda {
        params: Vec<String>,
        body: Box<Ast>,
    },
}

impl Node {
    pub(crate) fn children(&self) -> Box<dyn Iterator<Item = &Ast> + '_> {
        match self {
            Self::Literal(_) | Self::Name(_) | Self::Star(None) => Box::new(std::iter::empty()),
            Self::Field(value, _)
            | Self::Star(Some(value))
            | Self::Unary(_, value)
            | Self::Cast { value, .. }
            | Self::IsNull(value)
            | Self::IsTruth(value, _)
            | Self::Except(value, _)
            | Self::Lambda { body: value, .. }
            | Self::Named(value, _) => Box::new(std::iter::once(&**value)),
            Self::Index(left, right)
            | Self::Binary(_, left, right)
            | Self::Like { value: left, pattern: right, .. } => Box::new([&**left, &**right].into_iter()),
            Self::Call { args, .. } => Box::new(args.iter()),
            Self::Between { value, low, high } => Box::new([&**value, &**low, &**high].into_iter()),
            Self::In { value, list } => Box::new(std::iter::once(&**value).chain(list)),
            Self::Modified { call, order, filter, .. } => {
                let order = order.iter().map(|(ast, _)| ast);
                Box::new(std::iter::once(&**call).chain(order).chain(filter.iter().map(|ast| &**ast)))
            }
            Self::Case { operand, branches, otherwise } => {
                let ends = operand.iter().chain(otherwise).map(|ast| &**ast);
                Box::new(ends.chain(branches.iter().flat_map(|(when, then)| [when, then])))
            }
        }
    }
}

impl Node {
    /// The same node over other children.
    pub(crate) fn map(self, each: &mut impl FnMut(Ast) -> Planned<Ast>) -> Planned<Self> {
        let mut one = |ast: Box<Ast>| each(*ast).map(Box::new);
        Ok(match self {
            Self::Literal(_) | Self::Name(_) | Self::Star(None) => self,
            Self::Field(value, name) => Self::Field(one(value)?, name),
            Self::Star(Some(value)) => Self::Star(Some(one(value)?)),
            Self::Unary(op, value) => Self::Unary(op, one(value)?),
            Self::Cast { value, to, to_span, attempt } => Self::Cast { value: one(value)?, to, to_span, attempt },
            Self::IsNull(value) => Self::IsNull(one(value)?),
            Self::IsTruth(value, truth) => Self::IsTruth(one(value)?, truth),
            Self::Named(value, name) => Self::Named(one(value)?, name),
            Self::Except(value, names) => Self::Except(one(value)?, names),
            Self::Lambda { params, body } => Self::Lambda { params, body: one(body)? },
            Self::Index(left, right) => Self::Index(one(left)?, one(right)?),
            Self::Binary(op, left, right) => Self::Binary(op, one(left)?, one(right)?),
            Self::Like { value, pattern, escape, fold_case } => {
                Self::Like { value: one(value)?, pattern: one(pattern)?, escape, fold_case }
            }
            Self::Between { value, low, high } => {
                Self::Between { value: one(value)?, low: one(low)?, high: one(high)? }
            }
            Self::Modified { call, distinct, order, filter } => {
                let (call, filter) = (one(call)?, filter.map(&mut one).transpose()?);
                let by = |(ast, sort)| Ok((each(ast)?, sort));
                Self::Modified { call, distinct, order: order.into_iter().map(by).collect::<Planned<_>>()?, filter }
            }
            Self::Call { name, args } => Self::Call { name, args: args.into_iter().map(each).collect::<Planned<_>>()? },
            Self::In { value, list } => {
                let value = one(value)?;
                Self::In { value, list: list.into_iter().map(each).collect::<Planned<_>>()? }
            }
            Self::Case { operand, branches, otherwise } => {
                let operand = operand.map(&mut one).transpose()?;
                let otherwise = otherwise.map(&mut one).transpose()?;
                let branch = |(when, then): (Ast, Ast)| Ok((each(when)?, each(then)?));
                Self::Case { operand, branches: branches.into_iter().map(branch).collect::<Planned<_>>()?, otherwise }
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Minus,
    Plus,
    BitNot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    NullSafeEq,
    BitOr,
    BitXor,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    ShiftRightUnsigned,
    Add,
    Subtract,
    Concat,
    Multiply,
    Divide,
    Modulo,
    IntegerDivide,
}

impl Binary {
    /// How Spark writes the operator in names.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
            Self::NullSafeEq => "<=>",
            Self::BitOr => "|",
            Self::BitXor => "^",
            Self::BitAnd => "&",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
            Self::ShiftRightUnsigned => ">>>",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Concat => "||",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::IntegerDivide => "div",
        }
    }
}

/// An item of a select list.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) expr: Ast,
    /// The names after AS: several only for a generator.
    pub(crate) aliases: Vec<String>,
}
