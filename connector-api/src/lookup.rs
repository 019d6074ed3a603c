//! Finding a column by the name that a user wrote.

use arrow::datatypes::Schema;

use crate::config::nearest;
use crate::{Error, Result};

/// The index of the column called `name`: exactly, otherwise without regard to case, as Spark does.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config): there is no such column, with the nearest one; or there are several that differ
/// in case alone. The message does not say which option named it: add that by [`Error::context`].
pub fn find_column(schema: &Schema, name: &str) -> Result<usize> {
    let fields = schema.fields();
    if let Some(exact) = fields.iter().position(|field| field.name() == name) {
        return Ok(exact);
    }
    let wanted = name.to_lowercase();
    let mut folded = fields.iter().enumerate().filter(|(_, field)| field.name().to_lowercase() == wanted);
    match (folded.next(), folded.next()) {
        (Some((at, _)), None) => Ok(at),
        (Some((_, one)), Some((_, other))) => {
            let error = Error::config(format!("the column '{name}' may be '{}' or '{}'", one.name(), other.name()));
            Err(error.hint("write it in the same case"))
        }
        (None, _) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            let error = Error::config(format!("there is no column '{name}'; there are {}", names.join(", ")));
            Err(match nearest(name, names.iter().copied()) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint("name one of them"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn the_exact_name_comes_first_and_two_that_differ_in_case_are_not_guessed_between() {
        let schema = |names: &[&str]| {
            Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int32, true)).collect::<Vec<_>>())
        };
        let known = schema(&["Day", "day", "Größe"]);
        assert_eq!(find_column(&known, "day").unwrap(), 1);
        assert!(find_column(&known, "GRÖSSE").is_err());
        assert_eq!(find_column(&known, "grÖße").unwrap(), 2);
        let error = find_column(&known, "DAY").unwrap_err().to_string();
        assert!(error.contains("may be 'Day' or 'day'"), "{error}");
        let error = find_column(&known, "grosse").unwrap_err().to_string();
        assert!(error.contains("there is no column 'grosse'; there are Day, day, Größe"), "{error}");
        let error = find_column(&schema(&["amount"]), "amuont").unwrap_err().to_string();
        assert!(error.contains("did you mean 'amount'?"), "{error}");
    }
}
