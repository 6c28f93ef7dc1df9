//! Criteria over surprisals of texts and of their regions, such as `bad[verb] > good[verb]`.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// A condition on surprisals in bits: `COLUMN` is that of a whole text, `COLUMN[REGION]` that of a region, by its name or its number from 1.
///
/// Numbers are added and subtracted with `+` and `-` and compared with `<` and `>`; conditions are joined with `&` and `|`, where `&` binds more tightly,
/// and negated with `!`. Parentheses group either.
///
/// ```
/// use stepfn::Formula;
///
/// let formula: Formula = "(bad[verb] > good[verb]) & (bad[2] - good[2] > 1.5)".parse()?;
/// assert_eq!(formula.to_string(), "(bad[verb] > good[verb]) & (bad[2] - good[2] > 1.5)");
/// assert!("good + bad".parse::<Formula>().is_err());
/// # Ok::<(), stepfn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    text: String,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Greater(Term, Term),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    Surprisal { column: String, region: Option<String> },
    Sum(Box<Term>, Box<Term>),
    Negative(Box<Term>),
}

enum Either {
    Condition(Condition),
    Term(Term),
}

impl Formula {
    /// Whether it holds, where `surprisal` says the bits of a column and a region of it.
    ///
    /// # Errors
    /// Those of `surprisal`.
    pub(super) fn holds(&self, surprisal: &dyn Fn(&str, Option<&str>) -> Result<f64>) -> Result<bool> {
        self.condition.holds(surprisal)
    }

    /// The columns that it reads, each with whether it reads a region of it.
    pub(super) fn columns(&self) -> Vec<(&str, bool)> {
        let mut found = Vec::new();
        self.condition.collect(&mut found);
        found
    }
}

impl Condition {
    fn holds(&self, surprisal: &dyn Fn(&str, Option<&str>) -> Result<f64>) -> Result<bool> {
        Ok(match self {
            Self::Greater(one, other) => one.value(surprisal)? > other.value(surprisal)?,
            Self::Both(one, other) => one.holds(surprisal)? & other.holds(surprisal)?,
            Self::Either(one, other) => one.holds(surprisal)? | other.holds(surprisal)?,
            Self::Not(one) => !one.holds(surprisal)?,
        })
    }

    fn collect<'f>(&'f self, found: &mut Vec<(&'f str, bool)>) {
        match self {
            Self::Greater(one, other) => [one, other].into_iter().for_each(|term| term.collect(found)),
            Self::Both(one, other) | Self::Either(one, other) => {
                [one, other].into_iter().for_each(|condition| condition.collect(found));
            }
            Self::Not(one) => one.collect(found),
        }
    }
}

impl Term {
    fn value(&self, surprisal: &dyn Fn(&str, Option<&str>) -> Result<f64>) -> Result<f64> {
        Ok(match self {
            Self::Number(number) => *number,
            Self::Surprisal { column, region } => surprisal(column, region.as_deref())?,
            Self::Sum(one, other) => one.value(surprisal)? + other.value(surprisal)?,
            Self::Negative(one) => -one.value(surprisal)?,
        })
    }

    fn collect<'f>(&'f self, found: &mut Vec<(&'f str, bool)>) {
        match self {
            Self::Number(_) => {}
            Self::Surprisal { column, region } => found.push((column, region.is_some())),
            Self::Sum(one, other) => [one, other].into_iter().for_each(|term| term.collect(found)),
            Self::Negative(one) => one.collect(found),
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::str::FromStr for Formula {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let found = parser.either()?;
        if parser.peek().is_some() {
            return Err(parser.wrong("an operator"));
        }
        match found {
            Either::Condition(condition) => Ok(Self { text: text.trim().to_owned(), condition }),
            Either::Term(_) => Err(parser.wrong("a comparison with < or >")),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Parentheses and signs that are open.
    depth: usize,
}

impl<'t> Parser<'t> {
    fn wrong(&self, expected: &str) -> Error {
        let found = match self.text[self.at..].chars().next() {
            Some(found) => format!("`{found}`"),
            None => "its end".to_owned(),
        };
        let what = format!(
            "the formula `{}` has {found} at character {}, not {expected}",
            self.text,
            self.text[..self.at].chars().count() + 1
        );
        Error::new(ErrorKind::Option, what, "write conditions on columns and their regions, such as 'bad[2] > good[2]'")
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn takes(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += if found { expected.len_utf8() } else { 0 };
        found
    }

    fn condition(&self, found: Either) -> Result<Condition> {
        match found {
            Either::Condition(condition) => Ok(condition),
            Either::Term(_) => Err(self.wrong("a comparison with < or >")),
        }
    }

    fn term(&self, found: Either) -> Result<Term> {
        match found {
            Either::Term(term) => Ok(term),
            Either::Condition(_) => Err(self.wrong("a number after a number: conditions are joined with & and |")),
        }
    }

    fn either(&mut self) -> Result<Either> {
        let mut found = self.both()?;
        while self.takes('|') {
            let other = self.both()?;
            let pair = (self.condition(found)?, self.condition(other)?);
            found = Either::Condition(Condition::Either(Box::new(pair.0), Box::new(pair.1)));
        }
        Ok(found)
    }

    fn both(&mut self) -> Result<Either> {
        let mut found = self.comparison()?;
        while self.takes('&') {
            let other = self.comparison()?;
            let pair = (self.condition(found)?, self.condition(other)?);
            found = Either::Condition(Condition::Both(Box::new(pair.0), Box::new(pair.1)));
        }
        Ok(found)
    }

    fn comparison(&mut self) -> Result<Either> {
        let found = self.sum()?;
        let is_greater = self.takes('>');
        if !is_greater && !self.takes('<') {
            return Ok(found);
        }
        let other = self.sum()?;
        let (one, other) = (self.term(found)?, self.term(other)?);
        Ok(Either::Condition(if is_greater { Condition::Greater(one, other) } else { Condition::Greater(other, one) }))
    }

    fn sum(&mut self) -> Result<Either> {
        let mut found = self.operand()?;
        loop {
            let is_sum = self.takes('+');
            if !is_sum && !self.takes('-') {
                return Ok(found);
            }
            let other = self.operand()?;
            let (one, other) = (self.term(found)?, self.term(other)?);
            let other = if is_sum { other } else { Term::Negative(Box::new(other)) };
            found = Either::Term(Term::Sum(Box::new(one), Box::new(other)));
        }
    }

    fn operand(&mut self) -> Result<Either> {
        /// More would be no formula of a person's.
        const DEEPEST: usize = 64;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(&format!("fewer than {DEEPEST} parentheses in each other")));
        }
        let found = self.innermost();
        self.depth -= 1;
        found
    }

    fn innermost(&mut self) -> Result<Either> {
        if self.takes('(') {
            let found = self.either()?;
            return if self.takes(')') { Ok(found) } else { Err(self.wrong("a closing parenthesis")) };
        }
        if self.takes('-') {
            let operand = self.operand()?;
            return Ok(Either::Term(Term::Negative(Box::new(self.term(operand)?))));
        }
        if self.takes('!') {
            let operand = self.operand()?;
            return Ok(Either::Condition(Condition::Not(Box::new(self.condition(operand)?))));
        }
        match self.peek() {
            Some(first) if first.is_ascii_digit() => {
                let number = self.word(|c| c.is_ascii_digit() || c == '.');
                number.parse().map(|number| Either::Term(Term::Number(number))).map_err(|_| self.wrong("a number"))
            }
            Some(first) if first.is_alphabetic() || first == '_' => {
                let column = self.word(|c| c.is_alphanumeric() || c == '_').to_owned();
                let region = match self.takes('[') {
                    false => None,
                    true => {
                        let region = self.word(|c| c != ']').trim().to_owned();
                        if region.is_empty() || !self.takes(']') {
                            return Err(self.wrong("the name or the number of a region, and ]"));
                        }
                        Some(region)
                    }
                };
                Ok(Either::Term(Term::Surprisal { column, region }))
            }
            _ => Err(self.wrong("a column, a number or a parenthesis")),
        }
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn holds(formula: &str) -> bool {
        let surprisal = |column: &str, region: Option<&str>| {
            Ok(match (column, region) {
                ("good", None) => 20.0,
                ("good", Some("2")) => 3.0,
                ("bad", Some("2")) => 5.0,
                ("bad", Some("the verb")) => 7.0,
                ("bad", None) => 21.0,
                _ => return Err(Error::new(ErrorKind::Text, "there is no such region", "give another")),
            })
        };
        formula.parse::<Formula>().unwrap().holds(&surprisal).unwrap()
    }

    #[test]
    fn formulas_compare_surprisals() {
        for formula in [
            "bad > good",
            "good[2] < bad[2]",
            "bad[the verb] - bad[2] > 1.5",
            "(bad[2] > good[2]) & (bad > good)",
            "bad < good | bad[2] > good[2]",
            "bad > good | bad > good & bad < good",
            "!(bad < good)",
            "(bad[2] - (good[2] + 1)) > -2",
            "good - 10 - 5 < 6",
        ] {
            assert!(holds(formula), "{formula}");
            assert!(!holds(&format!("!({formula})")), "{formula}");
        }
        assert!(!holds("(bad > good | bad > good) & bad < good"));
        assert!(!holds("good < good"), "what is equal is not less");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (formula, says) in [
            ("", "has its end at character 1, not a column"),
            ("good", "not a comparison with < or >"),
            ("good > bad bad", "has `b` at character 12, not an operator"),
            ("(good > bad", "not a closing parenthesis"),
            ("good[] > bad", "the name or the number of a region"),
            ("good > bad > 1", "not an operator"),
            ("good & bad", "not a comparison"),
            ("(good > bad) + 1 > 2", "conditions are joined"),
            ("good > 1.2.3", "not a number"),
        ] {
            let error = formula.parse::<Formula>().unwrap_err();
            assert!(error.what().contains(says), "{formula}: {error}");
        }
        assert!("(".repeat(100_000).parse::<Formula>().is_err());
    }

    #[test]
    fn the_columns_of_a_formula_are_known() {
        let formula: Formula = "(a[1] + b > 2) | !(c > a)".parse().unwrap();
        assert_eq!(formula.columns(), [("a", true), ("b", false), ("c", false), ("a", false)]);
    }
}
