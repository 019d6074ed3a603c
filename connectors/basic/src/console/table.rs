//! Spark's `showString`: rows of cells as a table.

/// No column is narrower.
const MIN_WIDTH: usize = 3;

/// The characters that take two columns, as in Spark's `Utils.stringHalfWidth`.
const FULL_WIDTH: [(char, char); 7] = [
    ('\u{1100}', '\u{115F}'),
    ('\u{2E80}', '\u{A4CF}'),
    ('\u{AC00}', '\u{D7A3}'),
    ('\u{F900}', '\u{FAFF}'),
    ('\u{FE30}', '\u{FE6F}'),
    ('\u{FF00}', '\u{FF60}'),
    ('\u{FFE0}', '\u{FFE6}'),
];

/// A cell as it is shown: control characters escaped, cut to `truncate` characters unless that is 0.
///
/// Characters are counted as Java does, in units of UTF-16; a pair of them is never cut in two.
pub(super) fn shown(text: &str, truncate: usize) -> String {
    // A cell may be a whole document: what cannot be seen is not copied. Escapes only ever make it longer.
    let seen = if truncate > 0 {
        text.char_indices().nth(truncate.saturating_add(1)).map_or(text.len(), |(end, _)| end)
    } else {
        text.len()
    };
    let mut cell = String::with_capacity(seen);
    for c in text.get(..seen).unwrap_or(text).chars() {
        match c {
            '\n' => cell.push_str("\\n"),
            '\r' => cell.push_str("\\r"),
            '\t' => cell.push_str("\\t"),
            '\u{0C}' => cell.push_str("\\f"),
            '\u{08}' => cell.push_str("\\b"),
            '\u{0B}' => cell.push_str("\\v"),
            '\u{07}' => cell.push_str("\\a"),
            other => cell.push(other),
        }
    }
    if truncate == 0 || units(&cell) <= truncate {
        return cell;
    }
    // Spark shows no dots where there is no room for a character beside them.
    let (keep, dots) = if truncate < 4 { (truncate, "") } else { (truncate - 3, "...") };
    let mut used = 0;
    let end = cell.char_indices().find_map(|(at, c)| {
        used += c.len_utf16();
        (used > keep).then_some(at)
    });
    cell.truncate(end.unwrap_or(cell.len()));
    cell.push_str(dots);
    cell
}

/// The table of `rows` under `header`. Cells stand to the right, or to the left when nothing is truncated.
pub(super) fn render(out: &mut String, header: &[String], rows: &[Vec<String>], truncate: usize) {
    let mut widths = vec![MIN_WIDTH; header.len()];
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell));
        }
    }
    rule(out, &widths);
    line(out, header, &widths, truncate);
    rule(out, &widths);
    for row in rows {
        line(out, row, &widths, truncate);
    }
    rule(out, &widths);
}

fn rule(out: &mut String, widths: &[usize]) {
    // A table without columns has an empty rule: `++`.
    out.push('+');
    for (i, width) in widths.iter().enumerate() {
        if i > 0 {
            out.push('+');
        }
        out.extend(std::iter::repeat_n('-', *width));
    }
    out.push_str("+\n");
}

fn line(out: &mut String, row: &[String], widths: &[usize], truncate: usize) {
    out.push('|');
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        if i > 0 {
            out.push('|');
        }
        let padding = std::iter::repeat_n(' ', width.saturating_sub(columns(cell)));
        if truncate > 0 {
            out.extend(padding);
            out.push_str(cell);
        } else {
            out.push_str(cell);
            out.extend(padding);
        }
    }
    out.push_str("|\n");
}

/// How long the text is for Java.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// How many columns the text takes on a terminal, as Spark counts them.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.len_utf16() + usize::from(is_full_width(c))).sum()
}

fn is_full_width(c: char) -> bool {
    // Most text is Latin.
    c >= '\u{1100}' && FULL_WIDTH.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_are_cut_as_spark_cuts_them() {
        assert_eq!(shown("12345678901234567890", 20), "12345678901234567890");
        assert_eq!(shown("123456789012345678901", 20), "12345678901234567...");
        assert_eq!(shown("12345", 3), "123");
        assert_eq!(shown("123456789012345678901", 0), "123456789012345678901");
    }

    #[test]
    fn a_pair_of_surrogates_is_not_cut_in_two() {
        // Each of these counts two; the third would begin at the fifth.
        assert_eq!(shown("😀😀😀😀", 8), "😀😀😀😀");
        assert_eq!(shown("😀😀😀😀", 7), "😀😀...");
        assert_eq!(shown("😀😀😀😀", 6), "😀...");
    }

    #[test]
    fn control_characters_do_not_break_the_table() {
        assert_eq!(shown("a\nb\tc\u{07}", 20), "a\\nb\\tc\\a");
    }

    #[test]
    fn full_width_characters_take_two_columns() {
        assert_eq!(columns("词a"), 3);
        assert_eq!(columns("한국"), 4);
        assert_eq!(columns("é"), 1);
    }
}
