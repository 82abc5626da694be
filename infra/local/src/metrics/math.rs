//! Metric math: what alarms and queries compute of several metrics.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>
//!
//! Answered are numbers, ids, `+ - * /`, comparisons, `&&`, `||`, `FILL(series, number)` and `IF(condition, then, else)`. An operation on
//! two series has a point where both have one, and a division by zero has none.

use std::collections::BTreeMap;

/// The longest expression; the page above.
const CHARS_MAX: usize = 1_024;

/// The deepest nesting: a bound on the parser, not one of CloudWatch's.
const DEPTH_MAX: usize = 32;

/// The points of a series, by the beginning of their period in seconds since the epoch.
pub(crate) type Series = BTreeMap<u64, f64>;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    Number(f64),
    /// Of the query with this id.
    Id(String),
    Operation(Operator, Box<Expression>, Box<Expression>),
    Fill(Box<Expression>, f64),
    If(Box<Expression>, Box<Expression>, Box<Expression>),
}

/// An operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// By how they bind, the loosest first; longer ones before those that they begin with.
const OPERATORS: [(&str, Operator, u8); 12] = [
    ("||", Operator::Or, 1),
    ("&&", Operator::And, 2),
    ("<=", Operator::LessOrEqual, 3),
    (">=", Operator::GreaterOrEqual, 3),
    ("==", Operator::Equal, 3),
    ("!=", Operator::NotEqual, 3),
    ("<", Operator::Less, 3),
    (">", Operator::Greater, 3),
    ("+", Operator::Add, 4),
    ("-", Operator::Subtract, 4),
    ("*", Operator::Multiply, 5),
    ("/", Operator::Divide, 5),
];

impl Operator {
    /// `None` where there is no result.
    fn apply(self, left: f64, right: f64) -> Option<f64> {
        let truth = |holds: bool| f64::from(u8::from(holds));
        Some(match self {
            Self::Or => truth(left != 0.0 || right != 0.0),
            Self::And => truth(left != 0.0 && right != 0.0),
            Self::Less => truth(left < right),
            Self::LessOrEqual => truth(left <= right),
            Self::Greater => truth(left > right),
            Self::GreaterOrEqual => truth(left >= right),
            Self::Equal => truth(left == right),
            Self::NotEqual => truth(left != right),
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => return (right != 0.0).then(|| left / right),
        })
    }
}

/// What an expression is.
enum Value {
    Number(f64),
    Series(Series),
}

impl Value {
    fn at(&self, time: u64) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Series(series) => series.get(&time).copied(),
        }
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(crate) fn parse(text: &str) -> Result<Expression, String> {
        if text.len() > CHARS_MAX {
            return Err(format!("an expression has at most {CHARS_MAX} characters"));
        }
        let mut reader = Reader { rest: text };
        let expression = reader.operations(0, 0)?;
        match reader.peek() {
            "" => Ok(expression),
            rest => Err(format!("`{rest}` is not understood")),
        }
    }

    /// Every id in it.
    pub(crate) fn ids(&self) -> Vec<&str> {
        match self {
            Self::Number(_) => Vec::new(),
            Self::Id(id) => vec![id],
            Self::Fill(of, _) => of.ids(),
            Self::Operation(_, left, right) => [left, right].into_iter().flat_map(|one| one.ids()).collect(),
            Self::If(condition, then, or) => [condition, then, or].into_iter().flat_map(|one| one.ids()).collect(),
        }
    }

    /// Its points at `times`, of the series with these ids. A series that is not there has no points, and a number has one at each time.
    pub(crate) fn points(&self, series: &BTreeMap<String, Series>, times: &[u64]) -> Series {
        let value = self.value(series, times);
        times.iter().filter_map(|time| Some((*time, value.at(*time)?))).collect()
    }

    fn value(&self, series: &BTreeMap<String, Series>, times: &[u64]) -> Value {
        let each = |point: &dyn Fn(u64) -> Option<f64>| {
            Value::Series(times.iter().filter_map(|time| Some((*time, point(*time)?))).collect())
        };
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Id(id) => Value::Series(series.get(id).cloned().unwrap_or_default()),
            Self::Operation(operator, left, right) => {
                let (left, right) = (left.value(series, times), right.value(series, times));
                each(&|time| operator.apply(left.at(time)?, right.at(time)?))
            }
            Self::Fill(of, with) => {
                let of = of.value(series, times);
                each(&|time| Some(of.at(time).unwrap_or(*with)))
            }
            Self::If(condition, then, or) => {
                let condition = condition.value(series, times);
                let (then, or) = (then.value(series, times), or.value(series, times));
                each(&|time| if condition.at(time)? == 0.0 { or.at(time) } else { then.at(time) })
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take(&mut self, wanted: &str) -> Result<(), String> {
        match self.peek().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(format!("`{wanted}` is expected before `{}`", self.rest)),
        }
    }

    /// What is between operators that bind more tightly than `loosest`.
    fn operations(&mut self, loosest: u8, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err(format!("an expression is nested at most {DEPTH_MAX} times"));
        }
        let mut left = self.operand(depth)?;
        loop {
            let rest = self.peek();
            let found = OPERATORS.iter().find(|(sign, ..)| rest.starts_with(sign));
            let Some((sign, operator, binds)) = found.filter(|(.., binds)| *binds > loosest) else { return Ok(left) };
            self.take(sign)?;
            let right = self.operations(*binds, depth + 1)?;
            left = Expression::Operation(*operator, Box::new(left), Box::new(right));
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, String> {
        let rest = self.peek();
        if rest.starts_with('(') {
            self.take("(")?;
            let inner = self.operations(0, depth + 1)?;
            self.take(")")?;
            return Ok(inner);
        }
        if rest.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            return self.number().map(Expression::Number);
        }
        let word = self.word(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        match word {
            "FILL" => {
                self.take("(")?;
                let of = self.operations(0, depth + 1)?;
                self.take(",")?;
                let with = self.number()?;
                self.take(")")?;
                Ok(Expression::Fill(Box::new(of), with))
            }
            "IF" => {
                self.take("(")?;
                let condition = self.operations(0, depth + 1)?;
                self.take(",")?;
                let then = self.operations(0, depth + 1)?;
                self.take(",")?;
                let or = self.operations(0, depth + 1)?;
                self.take(")")?;
                Ok(Expression::If(Box::new(condition), Box::new(then), Box::new(or)))
            }
            id if id.starts_with(|first: char| first.is_ascii_lowercase()) => Ok(Expression::Id(id.to_owned())),
            other => Err(format!("`{other}{}` is not understood", self.rest)),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let negative = self.peek().starts_with('-');
        if negative {
            self.take("-")?;
        }
        self.peek();
        let digits = self.word(|letter| letter.is_ascii_digit() || letter == '.');
        let number: f64 = digits.parse().map_err(|_| format!("`{digits}{}` is no number", self.rest))?;
        Ok(if negative { -number } else { number })
    }

    fn word(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !of(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [u64; 3] = [0, 60, 120];

    fn points(text: &str) -> Vec<(u64, f64)> {
        let series = BTreeMap::from([
            ("m1".to_owned(), Series::from([(0, 6.0), (60, 4.0)])),
            ("m2".to_owned(), Series::from([(60, 2.0), (120, 0.0)])),
        ]);
        let expression = Expression::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        expression.points(&series, &TIMES).into_iter().collect()
    }

    #[test]
    fn a_sum_has_a_point_only_where_both_have_one_unless_they_are_filled() {
        assert_eq!(points("m1 + m2"), [(60, 6.0)]);
        assert_eq!(points("FILL(m1, 0) + FILL(m2, 0)"), [(0, 6.0), (60, 6.0), (120, 0.0)]);
        assert_eq!(points("FILL(nothing, 0)"), [(0, 0.0), (60, 0.0), (120, 0.0)]);
        assert_eq!(points("m1 / m2"), [(60, 2.0)], "there is no quotient by zero");
        assert_eq!(points("FILL(m1, 0) / m2"), [(60, 2.0)]);
    }

    #[test]
    fn a_condition_chooses_by_point() {
        assert_eq!(points("IF(m2 >= 1, m1 / m2, 0)"), [(60, 2.0), (120, 0.0)]);
        assert_eq!(points("IF(FILL(m2, 0) > 0 || m1 == 6, 1, -1)"), [(0, 1.0), (60, 1.0)]);
    }

    #[test]
    fn operators_bind_as_they_do_on_paper() {
        assert_eq!(points("m1 - 1 - 1 * 2 / (1 + 1)"), [(0, 4.0), (60, 2.0)]);
        assert_eq!(points("1 + 1 <= 2 && m2 < 1"), [(60, 0.0), (120, 1.0)]);
        assert_eq!(Expression::parse("m1 + FILL(m2, 0)").expect("an expression").ids(), ["m1", "m2"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["", "m1 +", "M1", "SUM(METRICS())", "FILL(m1, m2)", "FILL(m1, REPEAT)", "IF(m1, 1)", "m1 m2", "1.2.3"]
        {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        assert!(Expression::parse(&"(".repeat(CHARS_MAX)).is_err());
        assert!(Expression::parse(&"m1+".repeat(CHARS_MAX)).is_err());
    }
}
