//! `SELECT … FROM … WHERE … GROUP BY … HAVING …`.

use super::super::ast::{Ast, Node, PlanError, Planned};
use super::super::lexer::{Token, tokens};
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
    /// HAVING.
    pub having: Option<String>,
    /// Whether rows are grouped: there is a GROUP BY, or an aggregate among the items.
    pub grouped: bool,
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
    ("order", "rows of a stream have no last one, so they cannot be sorted", "let the sink's reader sort"),
    ("sort", "rows of a stream have no last one, so they cannot be sorted", "let the sink's reader sort"),
    ("limit", "a stream has no end that rows could be counted to", "leave it out"),
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
    // A query has one table: before a column its name means nothing, and what is the same column is written alike.
    let (statement, tables) = parse(text)?;
    match unqualified(text, &tables)? {
        Some(text) => Ok(parse(&text)?.0),
        None => Ok(statement),
    }
}

/// The query with blanks for the names of tables before columns; `None` if there are none.
fn unqualified(text: &str, tables: &[String]) -> Planned<Option<String>> {
    let tokens = tokens(text)?;
    let is_dot = |at: Option<usize>| {
        let token = at.and_then(|at| tokens.get(at)).map(|spanned| &spanned.token);
        matches!(token, Some(Token::Symbol(symbol)) if *symbol == ".")
    };
    let mut bare: Option<String> = None;
    for (at, spanned) in tokens.iter().enumerate() {
        let Token::Word { text: word, .. } = &spanned.token else { continue };
        let is_table = tables.iter().any(|table| table.eq_ignore_ascii_case(word));
        if !is_table || !is_dot(Some(at + 1)) || is_dot(at.checked_sub(1)) {
            continue;
        }
        let end = tokens.get(at + 1).map_or(spanned.span.end, |dot| dot.span.end);
        let range = spanned.span.start..end;
        bare.get_or_insert_with(|| text.to_owned()).replace_range(range.clone(), &" ".repeat(range.len()));
    }
    Ok(bare)
}

impl Parser<'_> {
    fn query(&mut self) -> Planned<Statement> {
        if self.is_word_at(self.at, "with") {
            return Err(PlanError::new(self.span(), "WITH is not supported").hint("write FROM (SELECT …)"));
        }
        self.expect_word("select")?;
        if self.is_word_at(self.at, "distinct") {
            let message = "[STREAMING_DISTINCT] SELECT DISTINCT would have to keep all rows for ever";
            return Err(PlanError::new(self.span(), message).hint("use Deduplicate, with a watermark"));
        }
        let mut items: Vec<(String, Ast, Vec<String>)> = Vec::new();
        loop {
            let start = self.span().start;
            let ast = self.expr()?;
            let end = self.previous().end;
            let aliases = self.aliases()?;
            let all = self.previous().end;
            self.no_over()?;
            let _ = end;
            items.push((self.source(start, all), ast, aliases));
            if !self.symbol(",") {
                break;
            }
        }
        self.expect_word("from")?;
        let from = if self.symbol("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                let message = "queries are nested too deeply";
                return Err(PlanError::new(self.span(), message).hint("make some of them transforms of their own"));
            }
            let inner = self.query()?;
            self.depth -= 1;
            self.expect(")")?;
            From::Query(Box::new(inner))
        } else {
            let span = self.span();
            let name = self.name("input")?;
            if !name.eq_ignore_ascii_case("input") {
                let message = format!("[TABLE_OR_VIEW_NOT_FOUND] there is no table '{name}'");
                return Err(PlanError::new(span, message).hint("FROM input: the rows that come in"));
            }
            self.tables.push(name);
            From::Input
        };
        self.refuse()?;
        let names = self.aliases()?;
        self.tables.extend(names);
        self.refuse()?;
        let filter = match self.word("where") {
            true => Some(self.text_of_expr()?.0),
            false => None,
        };
        self.refuse()?;
        let mut group_by = Vec::new();
        let mut window = None;
        let mut grouped = items.iter().any(|(_, ast, _)| has_aggregate(ast));
        if self.word("group") {
            self.expect_word("by")?;
            grouped = true;
            loop {
                let span = self.span();
                let (text, ast) = self.text_of_expr()?;
                match &ast.node {
                    Node::Call { name, args } if WINDOWS.contains(&name.as_str()) => {
                        if window.is_some() {
                            let message = "[MULTI_TIME_WINDOW_EXPRESSIONS_NOT_SUPPORTED] a query has one window";
                            return Err(PlanError::new(span, message).hint("group by the other in the next query"));
                        }
                        let args = args.iter().map(|arg| self.source(arg.span.start, arg.span.end)).collect();
                        window = Some(WindowCall { name: name.clone(), args, text });
                    }
                    Node::Call { name, .. } if matches!(name.as_str(), "rollup" | "cube" | "grouping") => {
                        let message = format!("{} cannot be streamed", name.to_uppercase());
                        return Err(PlanError::new(span, message).hint("group by one list of keys"));
                    }
                    node => group_by.push(group_key(node, text, &items)),
                }
                if !self.symbol(",") {
                    break;
                }
            }
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
        let alias = |(text, _, aliases): &(String, Ast, Vec<String>)| match aliases.as_slice() {
            [alias] => Some((alias.clone(), text.clone())),
            _ => None,
        };
        let aliases = items.iter().filter_map(alias).collect();
        let items = items.into_iter().map(|(text, _, _)| text).collect();
        Ok(Statement { items, from, filter, group_by, aliases, window, having, grouped })
    }

    fn source(&self, start: usize, end: usize) -> String {
        self.text.get(start..end).unwrap_or_default().to_owned()
    }

    fn text_of_expr(&mut self) -> Planned<(String, Ast)> {
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
        const CLAUSES: &[&str] = &["from", "where", "group", "having", "over", "on", "using"];
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

/// A number stands for the item in that place, an alias for what it names.
fn group_key(node: &Node, text: String, items: &[(String, Ast, Vec<String>)]) -> String {
    let place = match node {
        Node::Literal(datafusion_common::ScalarValue::Int32(Some(place))) => usize::try_from(*place).ok(),
        _ => None,
    };
    let item = place.and_then(|place| items.get(place.checked_sub(1)?));
    item.map_or(text, |(item, _, _)| item.clone())
}

fn has_aggregate(ast: &Ast) -> bool {
    match &ast.node {
        Node::Call { name, .. } if is_aggregate(name) => true,
        node => node.children().any(has_aggregate),
    }
}

#[cfg(test)]
mod tests {
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
            ("SELECT * FROM input ORDER BY a", "sorted"),
            ("SELECT * FROM input LIMIT 5", "no end"),
            ("SELECT DISTINCT a FROM input", "for ever"),
            ("SELECT * FROM input JOIN other ON a = b", "join"),
            ("SELECT * FROM input, other", "one input"),
            ("SELECT sum(a) OVER (PARTITION BY b) FROM input", "no last one"),
            ("SELECT * FROM cars", "no table 'cars'"),
            ("SELECT a FROM input GROUP BY cube(a)", "CUBE"),
        ] {
            let error = statement(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }
}
