//! `SELECT … FROM … WHERE … GROUP BY … HAVING …`.

use std::ops::Range;

use super::super::ast::{Ast, Node, PlanError, Planned, Span};
use super::super::lexer::{Token, tokens};
use super::order::OrderBy;
use super::sets::{GroupBy, GroupingSets, Key, resolved};
use super::{MAX_DEPTH, Parser};
use crate::aggregate::is_aggregate;

/// What a query reads.
#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// The rows that come in.
    Input,
    /// Another query's rows.
    Query(Box<Statement>),
}

/// A window function in GROUP BY: its name, its arguments and all of it, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowCall {
    /// In lower case.
    pub name: String,
    /// The arguments.
    pub args: Vec<String>,
    /// The call.
    pub text: String,
}

/// A query, taken apart. Expressions are as they were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The select list.
    pub items: Vec<String>,
    /// What it reads.
    pub from: From,
    /// WHERE.
    pub filter: Option<String>,
    /// GROUP BY, but for windows; for a number stands its item.
    pub group_by: Vec<String>,
    /// The items that have names, by name.
    pub aliases: Vec<(String, String)>,
    /// The window in GROUP BY.
    pub window: Option<WindowCall>,
    /// ROLLUP, CUBE or GROUPING SETS: the groupings, of keys in [`group_by`](Self::group_by).
    pub sets: Option<GroupingSets>,
    /// HAVING.
    pub having: Option<String>,
    /// Whether rows are grouped: there is a GROUP BY, or an aggregate among the items.
    pub grouped: bool,
    /// ORDER BY.
    pub order: Vec<OrderBy>,
    /// LIMIT.
    pub limit: Option<usize>,
}

impl Statement {
    /// How many queries are in one another.
    fn depth(&self) -> usize {
        let (mut depth, mut query) = (1, self);
        while let From::Query(inner) = &query.from {
            (depth, query) = (depth + 1, inner);
        }
        depth
    }
}

/// What makes a window in GROUP BY.
const WINDOWS: &[&str] = &["tumble", "hop", "session", "window", "session_window"];

/// What cannot be streamed, why, and what to do.
const REFUSED: &[(&str, &str, &str)] = &[
    ("join", "a join needs more than one input", "there are no joins yet"),
    ("left", "a join needs more than one input", "there are no joins yet"),
    ("right", "a join needs more than one input", "there are no joins yet"),
    ("inner", "a join needs more than one input", "there are no joins yet"),
    ("full", "a join needs more than one input", "there are no joins yet"),
    ("cross", "a join needs more than one input", "there are no joins yet"),
    ("lateral", "LATERAL VIEW is not supported", "put explode(…) AS name into the select list"),
    ("sort", "rows of a stream have no last one, so they cannot be sorted", "let the sink's reader sort"),
    ("offset", "a stream has no end that rows could be counted to", "leave it out"),
    ("union", "a query reads one input", "join streams with a Union before it"),
    ("intersect", "a stream cannot be held against another", "leave it out"),
    ("except", "a stream cannot be held against another", "leave it out"),
    ("qualify", "window functions over rows cannot be streamed", "group by a window of time"),
    ("window", "window functions over rows cannot be streamed", "group by a window of time"),
];

/// Parses a query.
pub(crate) fn statement(text: &str) -> Planned<Statement> {
    let parse = |text: &str| {
        let mut parser = Parser::new(text)?;
        parser.statement = true;
        let statement = parser.query()?;
        parser.symbol(";");
        parser.expect_end()?;
        Ok::<_, PlanError>((statement, parser.tables))
    };
    // A SELECT has one table: before a column its name means nothing, and what is the same column is written alike.
    let (statement, tables) = parse(text)?;
    match unqualified(text, &tables)? {
        Some(text) => Ok(parse(&text)?.0),
        None => Ok(statement),
    }
}

/// The query with blanks for the names of tables before columns; `None` if there are none.
fn unqualified(text: &str, tables: &[(Range<usize>, Vec<String>)]) -> Planned<Option<String>> {
    let tokens = tokens(text)?;
    let is_dot = |at: Option<usize>| {
        let token = at.and_then(|at| tokens.get(at)).map(|spanned| &spanned.token);
        matches!(token, Some(Token::Symbol(symbol)) if *symbol == ".")
    };
    let mut bare: Option<String> = None;
    for (at, spanned) in tokens.iter().enumerate() {
        let Token::Word { text: word, .. } = &spanned.token else { continue };
        let known = tables.iter().find(|(select, _)| select.contains(&at)).map(|(_, names)| names);
        let is_table = known.is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case(word)));
        if !is_table || !is_dot(Some(at + 1)) || is_dot(at.checked_sub(1)) {
            continue;
        }
        let end = tokens.get(at + 1).map_or(spanned.span.end, |dot| dot.span.end);
        let range = spanned.span.start..end;
        bare.get_or_insert_with(|| text.to_owned()).replace_range(range.clone(), &" ".repeat(range.len()));
    }
    Ok(bare)
}

fn too_deep(span: Span) -> PlanError {
    PlanError::new(span, "queries are nested too deeply").hint("make some of them transforms of their own")
}

impl Parser<'_> {
    fn query(&mut self) -> Planned<Statement> {
        let known = self.named.len();
        if self.word("with") {
            self.named_queries()?;
        }
        let statement = self.select();
        // Names hold in the query that they stand before.
        self.named.truncate(known);
        statement
    }

    /// `name AS (query), …`.
    fn named_queries(&mut self) -> Planned<()> {
        loop {
            if self.is_word_at(self.at, "recursive") && !self.is_word_at(self.at + 1, "as") {
                let message = "a query that reads its own rows cannot be streamed";
                return Err(PlanError::new(self.span(), message).hint("leave RECURSIVE out"));
            }
            let name = self.name("a name")?;
            self.word("as");
            self.expect("(")?;
            self.deeper()?;
            let query = self.query()?;
            self.depth -= 1;
            self.expect(")")?;
            self.named.push((name, query));
            if !self.symbol(",") {
                return Ok(());
            }
        }
    }

    fn deeper(&mut self) -> Planned<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(too_deep(self.span())) } else { Ok(()) }
    }

    /// What is read: the rows that come in, a query, or one that was named before; with its name.
    fn from(&mut self) -> Planned<(From, Option<String>)> {
        if self.symbol("(") {
            self.deeper()?;
            let inner = self.query()?;
            self.depth -= 1;
            self.expect(")")?;
            return Ok((From::Query(Box::new(inner)), None));
        }
        let span = self.span();
        let name = self.name("input")?;
        let named = self.named.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let from = match named {
            Some((_, query)) => {
                if query.depth() >= MAX_DEPTH {
                    return Err(too_deep(span));
                }
                From::Query(Box::new(query.clone()))
            }
            None if name.eq_ignore_ascii_case("input") => From::Input,
            None => {
                let message = format!("[TABLE_OR_VIEW_NOT_FOUND] there is no table '{name}'");
                return Err(PlanError::new(span, message).hint("FROM input: the rows that come in"));
            }
        };
        Ok((from, Some(name)))
    }

    fn select(&mut self) -> Planned<Statement> {
        let first = self.at;
        self.expect_word("select")?;
        if self.is_word_at(self.at, "distinct") {
            let message = "[STREAMING_DISTINCT] SELECT DISTINCT would have to keep all rows for ever";
            return Err(PlanError::new(self.span(), message).hint("use Deduplicate, with a watermark"));
        }
        let mut items: Vec<(String, Ast, Vec<String>)> = Vec::new();
        let mut meanings = Vec::new();
        loop {
            let start = self.span().start;
            let ast = self.expr()?;
            let bare = self.source(start, self.previous().end);
            let aliases = self.aliases()?;
            let all = self.previous().end;
            self.no_over()?;
            if let [alias] = aliases.as_slice() {
                meanings.push((alias.clone(), bare));
            }
            items.push((self.source(start, all), ast, aliases));
            if !self.symbol(",") {
                break;
            }
        }
        self.expect_word("from")?;
        let (from, name) = self.from()?;
        self.refuse()?;
        let mut names = self.aliases()?;
        names.extend(name);
        self.refuse()?;
        let filter = match self.word("where") {
            true => Some(self.text_of_expr()?.0),
            false => None,
        };
        self.refuse()?;
        let mut group_by = Vec::new();
        let mut window = None;
        let mut sets = None;
        let mut grouped = items.iter().any(|(_, ast, _)| has_aggregate(ast));
        if self.word("group") {
            self.expect_word("by")?;
            grouped = true;
            let all = self.is_word_at(self.at, "all") && self.ends_at(self.at + 1);
            let listed = if all { self.all_but_aggregates(&items)? } else { self.group_by()? };
            let mut window_at = None;
            for (at, key) in listed.keys.into_iter().enumerate() {
                // ALL gives expressions: a number among them is itself.
                let key = if all { key } else { resolved(key, &items) };
                match &key.ast.node {
                    Node::Call { name, args } if WINDOWS.contains(&name.as_str()) => {
                        if window.is_some() {
                            let message = "[MULTI_TIME_WINDOW_EXPRESSIONS_NOT_SUPPORTED] a query has one window";
                            return Err(
                                PlanError::new(key.ast.span, message).hint("group by the other in the next query")
                            );
                        }
                        if listed.sets.as_ref().is_some_and(|sets| sets.iter().any(|set| !set.contains(&at))) {
                            let message =
                                "the window is not in all groupings: a group without it would never be complete";
                            return Err(PlanError::new(key.ast.span, message)
                                .hint("put it beside them, as in GROUP BY window(…), ROLLUP(a, b)"));
                        }
                        let args = args.iter().map(|arg| self.source(arg.span.start, arg.span.end)).collect();
                        window = Some(WindowCall { name: name.clone(), args, text: key.text });
                        window_at = Some(at);
                    }
                    _ => group_by.push(key.text),
                }
            }
            // The keys without the window.
            let without = |set: Vec<usize>| {
                let others = set.into_iter().filter(|key| Some(*key) != window_at);
                others.map(|key| key - usize::from(window_at.is_some_and(|at| at < key))).collect()
            };
            let renumbered = |sets: Vec<Vec<usize>>| sets.into_iter().map(without).collect();
            sets = listed.sets.map(|sets| GroupingSets { sets: renumbered(sets), window: window_at });
        }
        self.refuse()?;
        let having = match self.word("having") {
            true => {
                grouped = true;
                Some(self.text_of_expr()?.0)
            }
            false => None,
        };
        self.refuse()?;
        let mut order = Vec::new();
        if self.word("order") {
            self.expect_word("by")?;
            order = self.order_by(&items, &meanings)?;
        }
        self.refuse()?;
        let limit = if self.word("limit") { self.limit()? } else { None };
        self.refuse()?;
        self.tables.push((first..self.at, names));
        let alias = |(text, _, aliases): &(String, Ast, Vec<String>)| match aliases.as_slice() {
            [alias] => Some((alias.clone(), text.clone())),
            _ => None,
        };
        let aliases = items.iter().filter_map(alias).collect();
        let items = items.into_iter().map(|(text, _, _)| text).collect();
        Ok(Statement { items, from, filter, group_by, aliases, window, sets, having, grouped, order, limit })
    }

    /// GROUP BY ALL: the items without an aggregate.
    fn all_but_aggregates(&mut self, items: &[(String, Ast, Vec<String>)]) -> Planned<GroupBy> {
        let span = self.span();
        self.advance();
        let mut keys = Vec::new();
        for (text, ast, _) in items.iter().filter(|(_, ast, _)| !has_aggregate(ast)) {
            if let Node::Star(_) = ast.node {
                let message = "[UNRESOLVED_ALL_IN_GROUP_BY] GROUP BY ALL goes without *";
                return Err(PlanError::new(span, message).hint("name the columns"));
            }
            let is_window = matches!(&ast.node, Node::Call { name, .. } if WINDOWS.contains(&name.as_str()));
            // Of a window only the call, without a name for it.
            let text = if is_window { self.source(ast.span.start, ast.span.end) } else { text.clone() };
            keys.push(Key { text, ast: ast.clone() });
        }
        Ok(GroupBy { keys, sets: None })
    }

    /// Whether GROUP BY ends before the token at `at`.
    fn ends_at(&self, at: usize) -> bool {
        let symbol = |symbol: &str| self.is_symbol_at(at, symbol);
        *self.token_at(at) == Token::End
            || symbol(")")
            || symbol(";")
            || ["having", "order", "limit"].iter().any(|word| self.is_word_at(at, word))
    }

    fn source(&self, start: usize, end: usize) -> String {
        self.text.get(start..end).unwrap_or_default().to_owned()
    }

    pub(super) fn text_of_expr(&mut self) -> Planned<(String, Ast)> {
        let start = self.span().start;
        let ast = self.expr()?;
        self.no_over()?;
        Ok((self.source(start, self.previous().end), ast))
    }

    pub(super) fn no_over(&self) -> Planned<()> {
        if self.is_word_at(self.at, "over") && self.is_symbol_at(self.at + 1, "(") {
            let message = "window functions over rows cannot be streamed: rows have no last one";
            return Err(PlanError::new(self.span(), message).hint("group by a window of time"));
        }
        Ok(())
    }

    /// Whether a word that ends a part of a query stands here.
    pub(super) fn is_clause(&self) -> bool {
        const CLAUSES: &[&str] = &["from", "where", "group", "having", "order", "limit", "over", "on", "using"];
        let Token::Word { text, quoted: false } = self.token() else { return false };
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        CLAUSES.iter().any(|word| is(word)) || REFUSED.iter().any(|(word, _, _)| is(word))
    }

    fn refuse(&self) -> Planned<()> {
        if self.is_symbol_at(self.at, ",") {
            let message = "a query reads one input";
            return Err(PlanError::new(self.span(), message).hint("join streams with a Union before it"));
        }
        match REFUSED.iter().find(|(word, _, _)| self.is_word_at(self.at, word)) {
            Some((_, why, hint)) => Err(PlanError::new(self.span(), *why).hint(*hint)),
            None => Ok(()),
        }
    }
}

pub(super) fn has_aggregate(ast: &Ast) -> bool {
    match &ast.node {
        Node::Call { name, .. } if is_aggregate(name) => true,
        node => node.children().any(has_aggregate),
    }
}

#[cfg(test)]
mod tests {
    use super::super::OrderKey;
    use super::*;

    #[test]
    fn a_query_is_taken_apart() {
        let text = "SELECT window, upper(word) AS w, count(*) n FROM (SELECT a FROM input WHERE a > 1) t \
                    WHERE word <> 'from' GROUP BY tumble(at, INTERVAL '20 seconds'), w HAVING count(*) > 1;";
        let query = statement(text).unwrap();
        assert_eq!(query.items, ["window", "upper(word) AS w", "count(*) n"]);
        assert_eq!(query.filter.as_deref(), Some("word <> 'from'"));
        assert_eq!(query.group_by, ["w"]);
        assert_eq!(query.aliases[0], ("w".to_owned(), "upper(word) AS w".to_owned()));
        assert_eq!(query.having.as_deref(), Some("count(*) > 1"));
        let window = query.window.unwrap();
        assert_eq!((window.name.as_str(), window.args.len()), ("tumble", 2));
        assert!(matches!(query.from, From::Query(inner) if inner.filter.as_deref() == Some("a > 1")));
    }

    #[test]
    fn what_cannot_be_streamed_is_refused_with_the_reason() {
        for (text, part) in [
            ("SELECT * FROM input SORT BY a", "sorted"),
            ("SELECT * FROM input LIMIT 5 OFFSET 2", "no end"),
            ("SELECT a FROM input LIMIT a", "LIMIT takes a number"),
            ("SELECT a FROM input ORDER BY 2", "no item 2"),
            ("SELECT a, * FROM input ORDER BY 0", "no item 0"),
            ("SELECT DISTINCT a FROM input", "for ever"),
            ("SELECT * FROM input JOIN other ON a = b", "join"),
            ("SELECT * FROM input, other", "one input"),
            ("SELECT sum(a) OVER (PARTITION BY b) FROM input", "no last one"),
            ("SELECT * FROM cars", "no table 'cars'"),
            ("WITH t AS (SELECT a FROM input) SELECT a FROM (SELECT * FROM u)", "no table 'u'"),
            ("SELECT a FROM (WITH t AS (SELECT a FROM input) SELECT a FROM t) JOIN t", "join"),
            ("WITH RECURSIVE t AS (SELECT a FROM t) SELECT a FROM t", "its own rows"),
            ("SELECT *, count(*) FROM input GROUP BY ALL", "without *"),
            ("SELECT a FROM input GROUP BY ROLLUP(a, window(ts, '1 minute'))", "not in all groupings"),
            ("SELECT a FROM input GROUP BY CUBE(a, b, c, d, e, f, g, h, i, j, k, l, m)", "too many"),
            ("SELECT a FROM input GROUP BY a GROUPING SETS ((a, b))", "not in GROUP BY"),
        ] {
            let error = statement(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn named_queries_and_all_keys() {
        let text = "WITH t AS (SELECT a, v FROM input), u AS (SELECT a, v FROM t WHERE v > 1) \
                    SELECT u.a AS k, count(*) AS n, v + 1, window(ts, '1 minute') AS w FROM u GROUP BY ALL HAVING n > 1";
        let query = statement(text).unwrap();
        assert_eq!(query.group_by.iter().map(|key| key.trim()).collect::<Vec<_>>(), ["a AS k", "v + 1"]);
        assert_eq!(query.window.map(|window| window.text).as_deref(), Some("window(ts, '1 minute')"));
        let From::Query(inner) = query.from else { panic!("{:?}", query.from) };
        assert_eq!(inner.filter.as_deref(), Some("v > 1"));
        assert!(matches!(inner.from, From::Query(inner) if inner.from == From::Input));
        let scopes = "WITH s AS (SELECT s.x AS x, input.y FROM input) SELECT s.x FROM (SELECT s.x, t.z FROM s) t";
        let query = statement(scopes).unwrap();
        assert_eq!(query.items, ["s.x"], "no table of this SELECT");
        let From::Query(inner) = query.from else { panic!("{:?}", query.from) };
        assert_eq!(inner.items, ["x", "t.z"]);
        assert!(matches!(inner.from, From::Query(inner) if inner.items == ["s.x AS x", "y"]));
        let number = statement("SELECT a, 2 AS kind, 1, count(*) FROM input GROUP BY ALL").unwrap();
        assert_eq!(number.group_by, ["a", "2 AS kind", "1"]);
        let all = statement("SELECT `all`, count(*) FROM input GROUP BY all, b").unwrap();
        assert_eq!(all.group_by, ["all", "b"]);
    }

    #[test]
    fn orders_and_limits() {
        let text = "SELECT k AS a, count(*) n FROM input t GROUP BY k ORDER BY N DESC, 1 NULLS LAST, sum(v) LIMIT 3";
        let query = statement(text).unwrap();
        let keys: Vec<_> = query.order.iter().map(|by| (by.key.clone(), by.descending, by.nulls_first)).collect();
        assert_eq!(
            keys,
            [
                (OrderKey::Item("N".to_owned()), true, false),
                (OrderKey::Place(0), false, false),
                (OrderKey::Expression("sum(v)".to_owned()), false, true),
            ]
        );
        let star = statement("SELECT *, a FROM input ORDER BY 7").unwrap();
        assert_eq!(star.order[0].key, OrderKey::Place(6));
        assert_eq!((query.limit, statement("SELECT a FROM input LIMIT ALL").unwrap().limit), (Some(3), None));
    }

    #[test]
    fn groupings() {
        for (by, keys, sets, window) in [
            ("ROLLUP(a, b)", 2, vec![vec![0, 1], vec![0], vec![]], None),
            ("CUBE(a, b)", 2, vec![vec![0, 1], vec![0], vec![1], vec![]], None),
            ("a, ROLLUP(b), CUBE(c)", 3, vec![vec![0, 1, 2], vec![0, 1], vec![0, 2], vec![0]], None),
            ("ROLLUP((a, b), c)", 3, vec![vec![0, 1, 2], vec![0, 1], vec![]], None),
            ("ROLLUP((a + 1) * 2, b)", 2, vec![vec![0, 1], vec![0], vec![]], None),
            ("GROUPING SETS ((b, a), (b), ROLLUP(a), ())", 2, vec![vec![0, 1], vec![0], vec![1], vec![], vec![]], None),
            ("a, b WITH ROLLUP", 2, vec![vec![0, 1], vec![0], vec![]], None),
            ("a, b GROUPING SETS ((b), (a, b))", 2, vec![vec![1], vec![0, 1]], None),
            ("CUBE(a), window(ts, '1 minute')", 1, vec![vec![0], vec![]], Some(1)),
        ] {
            let query = statement(&format!("SELECT count(*) FROM input GROUP BY {by} HAVING true")).unwrap();
            let found = query.sets.unwrap();
            assert_eq!((query.group_by.len(), found.sets, found.window), (keys, sets, window), "{by}");
        }
        let sets = GroupingSets { sets: vec![vec![1]], window: Some(1) };
        assert_eq!((sets.id(&[1], 2), sets.id(&[], 2), sets.bit(0, 2)), (0b100, 0b101, 2));
    }
}
