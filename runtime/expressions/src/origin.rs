//! What a column was computed by, told to those who would compute it elsewhere.

/// Stands before an expression that was understood without ANSI.
const LEGACY: char = '\u{1}';

/// Whether it is a column and nothing more.
fn is_column(expression: &str) -> bool {
    let inner = expression.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    inner.is_some_and(|inner| !inner.replace("``", "").contains('`'))
}

/// An expression that was understood with or without ANSI, so that [`read_origin`] tells whether another may use it.
pub fn write_origin(expression: String, ansi: bool) -> String {
    if ansi || is_column(&expression) { expression } else { format!("{LEGACY}{expression}") }
}

/// The expression, if it means the same to one who understands it with or without ANSI.
pub fn read_origin(written: String, ansi: bool) -> Option<String> {
    match written.strip_prefix(LEGACY) {
        Some(expression) => (!ansi).then(|| expression.to_owned()),
        None => (ansi || is_column(&written)).then_some(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_for_those_who_understand_it_alike() {
        let read = |expression: &str, by: bool, ansi: bool| read_origin(write_origin(expression.to_owned(), by), ansi);
        for (by, ansi) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(read("`a``b`", by, ansi).as_deref(), Some("`a``b`"), "a column is the same to all");
            assert_eq!(read("`a` + `b`", by, ansi).is_some(), by == ansi);
        }
        assert_eq!(read("`a` + `b`", false, false).as_deref(), Some("`a` + `b`"));
    }
}
