//! What GROUP BY lists: keys, ROLLUP, CUBE and GROUPING SETS.

use super::super::ast::{Ast, Node, PlanError, Planned};
use super::Parser;

/// So many sets are enough; each row is counted once for each.
const MOST_SETS: usize = 4096;

/// So many keys have a place in `grouping_id()`.
const MOST_KEYS: usize = 63;

/// Several groupings of the same rows: ROLLUP, CUBE or GROUPING SETS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupingSets {
    /// The numbers of the keys that each grouping has, in order; other keys are null in it. Sets may be equal.
    pub sets: Vec<Vec<usize>>,
    /// The place of the window among all keys, which the bits of `grouping_id()` stand for.
    pub window: Option<usize>,
}

impl GroupingSets {
    /// The number that `grouping_id()` has in the set: a bit for each of all the `keys`, the first the highest, which
    /// is 1 for those that are not in the set. The window is in each.
    pub fn id(&self, set: &[usize], keys: usize) -> i64 {
        (0..keys).filter(|key| !set.contains(key)).fold(0, |id, key| id | 1_i64 << self.bit(key, keys))
    }

    /// The place of a key's bit in `grouping_id()`, the lowest first.
    pub fn bit(&self, key: usize, keys: usize) -> usize {
        let after = keys.saturating_sub(key + 1);
        after + usize::from(self.window.is_some_and(|window| window > key))
    }
}

/// A key in GROUP BY.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) ast: Ast,
}

/// What GROUP BY says: the keys, each once, and the sets of them if there are several.
pub(super) struct GroupBy {
    pub(super) keys: Vec<Key>,
    pub(super) sets: Option<Vec<Vec<usize>>>,
}

/// Alternatives, each a list of keys.
type Sets = Vec<Vec<Key>>;

impl Parser<'_> {
    /// Parses what stands after GROUP BY.
    pub(super) fn group_by(&mut self) -> Planned<GroupBy> {
        let span = self.span();
        let mut sets: Sets = vec![Vec::new()];
        let mut several = false;
        let mut all: Vec<Key> = Vec::new();
        loop {
            let alternatives = match self.several()? {
                Some(alternatives) => {
                    several = true;
                    alternatives
                }
                None => vec![vec![self.key()?]],
            };
            add(&mut all, &alternatives);
            sets = crossed(&sets, &alternatives);
            if sets.len() > MOST_SETS {
                let message = format!("more than {MOST_SETS} groupings: each row would be counted in each");
                return Err(PlanError::new(span, message).hint("name those that are needed with GROUPING SETS"));
            }
            if !self.symbol(",") {
                break;
            }
        }
        // As Hive writes it: GROUP BY a, b WITH ROLLUP, GROUP BY a, b GROUPING SETS (…).
        let listed = || all.iter().map(|key| vec![key.clone()]).collect::<Sets>();
        if self.is_word_at(self.at, "with") && !several {
            self.advance();
            several = true;
            sets = if self.word("rollup") {
                rollup(&listed())
            } else {
                self.expect_word("cube")?;
                cube(&listed(), span)?
            };
        } else if self.is_word_at(self.at, "grouping") && self.is_word_at(self.at + 1, "sets") && !several {
            several = true;
            sets = self.several()?.unwrap_or_default();
            if let Some(other) = sets.iter().flatten().find(|key| !all.iter().any(|known| known.ast == key.ast)) {
                let message = format!("'{}' stands in GROUPING SETS and not in GROUP BY", other.text);
                return Err(PlanError::new(span, message).hint("add it to GROUP BY"));
            }
        }
        if several && all.len() > MOST_KEYS {
            let message = format!("[GROUPING_SIZE_LIMIT_EXCEEDED] more than {MOST_KEYS} keys in several groupings");
            return Err(PlanError::new(span, message).hint("use fewer"));
        }
        let number = |key: &Key| all.iter().position(|known| known.ast == key.ast);
        let numbers = |set: &Vec<Key>| {
            let mut numbers: Vec<usize> = set.iter().filter_map(number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let sets = several.then(|| sets.iter().map(numbers).collect());
        Ok(GroupBy { keys: all, sets })
    }

    /// ROLLUP, CUBE or GROUPING SETS, if one of them begins here.
    fn several(&mut self) -> Planned<Option<Sets>> {
        let span = self.span();
        if self.is_word_at(self.at, "grouping") && self.is_word_at(self.at + 1, "sets") {
            self.at += 2;
            self.expect("(")?;
            self.depth += 1;
            if self.depth > super::MAX_DEPTH {
                return Err(PlanError::new(span, "grouping sets are nested too deeply").hint("write them out"));
            }
            let mut sets = Sets::new();
            loop {
                match self.several()? {
                    Some(inner) => sets.extend(inner),
                    None => sets.push(self.keys()?),
                }
                if sets.len() > MOST_SETS {
                    return Err(PlanError::new(span, "too many grouping sets").hint("use fewer"));
                }
                if !self.symbol(",") {
                    break;
                }
            }
            self.depth -= 1;
            self.expect(")")?;
            return Ok(Some(sets));
        }
        let is = |word: &str| self.is_word_at(self.at, word) && self.is_symbol_at(self.at + 1, "(");
        let (up, all) = (is("rollup"), is("cube"));
        if !up && !all {
            return Ok(None);
        }
        self.at += 2;
        let mut parts = Sets::new();
        while !self.symbol(")") {
            if !parts.is_empty() {
                self.expect(",")?;
            }
            parts.push(self.keys()?);
        }
        Ok(Some(if up { rollup(&parts) } else { cube(&parts, span)? }))
    }

    /// A key, or several in brackets.
    fn keys(&mut self) -> Planned<Vec<Key>> {
        let start = self.at;
        if self.symbol("(") {
            let mut keys = Vec::new();
            while !self.symbol(")") {
                if !keys.is_empty() && !self.symbol(",") {
                    // An expression that begins with a bracket.
                    self.at = start;
                    return Ok(vec![self.key()?]);
                }
                keys.push(self.key()?);
            }
            if self.is_symbol_at(self.at, ",") || self.is_symbol_at(self.at, ")") {
                return Ok(keys);
            }
            self.at = start;
        }
        Ok(vec![self.key()?])
    }

    fn key(&mut self) -> Planned<Key> {
        let (text, ast) = self.text_of_expr()?;
        Ok(Key { text, ast })
    }
}

/// The key's own expression, when it is in brackets alone or a number that stands for an item.
pub(super) fn resolved(mut key: Key, items: &[(String, Ast, Vec<String>)]) -> Key {
    let place = match &key.ast.node {
        Node::Literal(datafusion_common::ScalarValue::Int32(Some(place))) => usize::try_from(*place).ok(),
        _ => None,
    };
    if let Some((text, ast, _)) = place.and_then(|place| items.get(place.checked_sub(1)?)) {
        (key.text, key.ast) = (text.clone(), ast.clone());
    }
    key
}

fn add(all: &mut Vec<Key>, sets: &Sets) {
    for key in sets.iter().flatten() {
        if !all.iter().any(|known| known.ast == key.ast) {
            all.push(key.clone());
        }
    }
}

/// Each of the one with each of the other.
fn crossed(left: &Sets, right: &Sets) -> Sets {
    let both = |a: &Vec<Key>, b: &Vec<Key>| a.iter().chain(b).cloned().collect::<Vec<_>>();
    left.iter().flat_map(|a| right.iter().map(move |b| both(a, b))).take(MOST_SETS + 1).collect()
}

/// All of them, all but the last, and so on to none.
fn rollup(parts: &Sets) -> Sets {
    (0..=parts.len()).rev().map(|taken| parts.iter().take(taken).flatten().cloned().collect()).collect()
}

/// All choices of them.
fn cube(parts: &Sets, span: crate::ast::Span) -> Planned<Sets> {
    if parts.len() > 12 {
        return Err(PlanError::new(span, format!("CUBE of {} keys has too many groupings", parts.len()))
            .hint("name those that are needed with GROUPING SETS"));
    }
    let last = parts.len();
    let chosen = |choice: &usize| {
        let with = parts.iter().enumerate().filter(|(at, _)| choice >> (last - 1 - at) & 1 == 1);
        with.flat_map(|(_, part)| part.iter().cloned()).collect()
    };
    Ok((0..1_usize << last).rev().collect::<Vec<_>>().iter().map(chosen).collect())
}
