//! Names to columns and fields.

use arrow::datatypes::Fields;
use levada_connector_api::config::nearest;

use super::ast::{PlanError, Planned, Span};

/// The index of the one called `name`: exactly, otherwise without regard to case.
///
/// `what` is `column` or `field`; `place` completes the message.
pub(crate) fn find(fields: &Fields, name: &str, what: &str, place: &str, span: Span) -> Planned<usize> {
    let exact: Vec<_> = positions(fields, |field| field == name);
    let folded = if exact.is_empty() {
        let wanted = name.to_lowercase();
        positions(fields, |field| field.to_lowercase() == wanted)
    } else {
        exact
    };
    match folded.as_slice() {
        [one] => Ok(*one),
        [] => Err(unknown(fields, name, what, place, span)),
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|at| fields.get(*at)).map(|field| field.name().as_str()).collect();
            let message =
                format!("[AMBIGUOUS_REFERENCE] the {what} '{name}' is ambiguous{place}: {}", names.join(", "));
            Err(PlanError::new(span, message).hint("rename one of them first"))
        }
    }
}

fn positions(fields: &Fields, test: impl Fn(&str) -> bool) -> Vec<usize> {
    fields.iter().enumerate().filter(|(_, field)| test(field.name())).map(|(at, _)| at).collect()
}

fn unknown(fields: &Fields, name: &str, what: &str, place: &str, span: Span) -> PlanError {
    let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
    let known = if names.is_empty() {
        format!("there are no {what}s")
    } else {
        format!("the {what}s are: {}", names.join(", "))
    };
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean '{near}'? {known}"),
        None => known,
    };
    PlanError::new(span, format!("[UNRESOLVED_COLUMN] unknown {what} '{name}'{place}")).hint(hint)
}
