//! Spark's functions.
//!
//! Each module plans the calls of its own functions: it checks and casts the arguments as Spark does and answers with a
//! typed expression. A name that no module knows is an error: there is no fallback to functions with other semantics.

pub(crate) mod arithmetic;
mod binary;
mod build;
pub(crate) mod cast;
mod charset;
mod collection;
pub(crate) mod compare;
mod conditional;
mod csv;
pub(crate) mod decimal;
pub(crate) mod digest;
pub(crate) mod field;
mod fold;
mod interval;
mod json;
mod json_path;
mod json_write;
pub(crate) mod lambda;
mod math;
mod math_more;
mod numbers;
mod regex;
mod room;
mod sets;
mod text;
mod text_more;
mod text_odd;
mod text_parts;
mod time;
mod time_more;
mod time_text;
pub(crate) mod types;
pub(crate) mod units;
mod url;
mod windows;

use levada_connector_api::config::nearest;

use crate::aggregate::{aggregate_names, is_aggregate};
use crate::ast::{PlanError, Planned, Span};
use crate::planner::Planner;
use crate::typed::{Typed, call_name};

/// A call under way: its name and arguments.
pub(crate) struct Invocation<'a> {
    pub(crate) planner: &'a Planner<'a>,
    pub(crate) name: &'a str,
    pub(crate) args: Vec<Typed>,
    pub(crate) span: Span,
}

/// A module of functions.
struct Family {
    names: &'static [&'static str],
    plan: fn(Invocation<'_>) -> Planned<Typed>,
}

const FAMILIES: &[Family] = &[
    Family { names: conditional::NAMES, plan: conditional::plan },
    Family { names: collection::NAMES, plan: collection::plan },
    Family { names: sets::NAMES, plan: sets::plan },
    Family { names: build::NAMES, plan: build::plan },
    Family { names: text::NAMES, plan: text::plan },
    Family { names: regex::NAMES, plan: regex::plan },
    Family { names: math::NAMES, plan: math::plan },
    Family { names: math_more::NAMES, plan: math_more::plan },
    Family { names: time::NAMES, plan: time::plan },
    Family { names: time_text::NAMES, plan: time_text::plan },
    Family { names: json::NAMES, plan: json::plan },
    Family { names: binary::NAMES, plan: binary::plan },
    Family { names: lambda::NAMES, plan: lambda::plan },
    Family { names: digest::NAMES, plan: digest::plan },
    Family { names: text_more::NAMES, plan: text_more::plan },
    Family { names: text_odd::NAMES, plan: text_odd::plan },
    Family { names: time_more::NAMES, plan: time_more::plan },
    Family { names: csv::NAMES, plan: csv::plan },
    Family { names: numbers::NAMES, plan: numbers::plan },
    Family { names: units::NAMES, plan: units::plan },
    Family { names: url::NAMES, plan: url::plan },
    Family { names: windows::NAMES, plan: windows::plan },
];

/// The names of all functions.
pub fn names() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.names.iter().copied()).collect()
}

/// Whether there is a function of this name, which is in lower case.
pub(crate) fn check_name(name: &str, span: Span) -> Planned<()> {
    match FAMILIES.iter().any(|family| family.names.contains(&name)) {
        true => Ok(()),
        false => Err(unknown(name, span)),
    }
}

/// Plans a call. `name` is in lower case.
pub(crate) fn plan(planner: &Planner<'_>, name: &str, args: Vec<Typed>, span: Span) -> Planned<Typed> {
    let Some(family) = FAMILIES.iter().find(|family| family.names.contains(&name)) else {
        return Err(unknown(name, span));
    };
    let label = label(name, &args);
    let typed = (family.plan)(Invocation { planner, name, args, span })?;
    let name = if typed.titled { typed.name } else { label };
    Ok(Typed { name, span, titled: false, ..typed })
}

/// The name of a call: an operator's for those functions that are operators.
fn label(name: &str, args: &[Typed]) -> String {
    match (name, args) {
        ("if", [condition, then, otherwise]) => {
            format!("(IF({}, {}, {}))", condition.name, then.name, otherwise.name)
        }
        ("isnull", [value]) => format!("({} IS NULL)", value.name),
        ("isnotnull", [value]) => format!("({} IS NOT NULL)", value.name),
        (
            "rlike" | "regexp" | "regexp_like" | "sqrt" | "exp" | "expm1" | "log" | "log10" | "log2" | "log1p"
            | "power" | "signum" | "cbrt" | "sin" | "cos" | "tan" | "cot" | "sec" | "csc" | "asin" | "acos" | "atan"
            | "sinh" | "cosh" | "tanh" | "atan2" | "hypot" | "degrees" | "radians" | "pi" | "e",
            args,
        ) => call_name(&name.to_uppercase(), args),
        _ => call_name(name, args),
    }
}

fn unknown(name: &str, span: Span) -> PlanError {
    let error = PlanError::new(span, format!("[UNRESOLVED_ROUTINE] unknown function '{name}'"));
    if is_aggregate(name) || matches!(name, "window" | "session_window") {
        return error
            .hint("it works on groups of rows: use the transform WindowedAggregate, or a Sql query with GROUP BY");
    }
    if matches!(name, "row_number" | "rank" | "dense_rank" | "lag" | "lead" | "ntile" | "percent_rank") {
        return error.hint("functions over windows of rows do not exist here; WindowedAggregate groups rows by time");
    }
    if matches!(name, "explode" | "explode_outer" | "posexplode" | "posexplode_outer") {
        return PlanError::new(span, format!("{name} stands at the top of a select list only"))
            .hint("give it an item of its own and use the result in the next transform");
    }
    match nearest(name, names().into_iter().chain(aggregate_names())) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("'levada plugin describe functions' lists them"),
    }
}

/// The function that a bare word calls when no column has its name.
pub(crate) fn without_parentheses(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    ["current_timestamp", "current_date"].into_iter().find(|function| *function == lower)
}

impl Invocation<'_> {
    pub(crate) fn ansi(&self) -> bool {
        self.planner.ansi
    }

    /// An error about the call.
    pub(crate) fn error(&self, message: impl Into<String>) -> PlanError {
        PlanError::new(self.span, message)
    }

    /// Exactly `N` arguments.
    pub(crate) fn exactly<const N: usize>(&mut self) -> Planned<[Typed; N]> {
        let given = self.args.len();
        <[Typed; N]>::try_from(std::mem::take(&mut self.args)).map_err(|_| self.wrong_number(&N.to_string(), given))
    }

    /// At least `low` and at most `high` arguments.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> Planned<Vec<Typed>> {
        let given = self.args.len();
        if (low..=high).contains(&given) {
            return Ok(std::mem::take(&mut self.args));
        }
        let wanted = if high == usize::MAX { format!("{low} or more") } else { format!("{low} to {high}") };
        Err(self.wrong_number(&wanted, given))
    }

    fn wrong_number(&self, wanted: &str, given: usize) -> PlanError {
        let plural = if wanted == "1" { "" } else { "s" };
        self.error(format!("[WRONG_NUM_ARGS] {} takes {wanted} argument{plural}, not {given}", self.name))
    }
}
