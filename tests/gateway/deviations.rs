//! The tables of differences in docs/gateway.md. The tests go by them, so that what is not in
//! a table does not differ, and what is in it does.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::vectors::Vector;

/// A row.
#[derive(Debug)]
pub struct Row {
    /// The first cell.
    pub what: String,
    /// The second cell, as far as it stands in backticks: all of these have to fit a
    /// recorded exchange.
    terms: Vec<Term>,
}

#[derive(Debug)]
enum Term {
    /// `status 500`
    Status(u16),
    /// `code 13`
    Code(i64),
    /// `"invalid UTF-8"`: is part of the recorded body.
    Text(String),
    /// Anything else: the exchange's name.
    Name(String),
}

/// The rows of the table under this heading.
pub fn table(heading: &str) -> Vec<Row> {
    let text = document();
    let (_, section) =
        text.split_once(heading).unwrap_or_else(|| panic!("docs/gateway.md has no {heading:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().filter(|line| line.starts_with('|')).skip(2).map(Row::parse).collect()
}

/// docs/gateway.md
pub fn document() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/gateway.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Row {
    fn parse(line: &str) -> Self {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let (Some(what), Some(terms)) = (cells.next(), cells.next()) else {
            panic!("no row of a table: {line}");
        };
        let terms = terms.split('`').skip(1).step_by(2).map(Term::parse).collect();
        Self { what: what.to_owned(), terms }
    }

    /// Whether it speaks of recorded exchanges.
    pub fn is_recorded(&self) -> bool {
        !self.terms.is_empty()
    }

    /// Whether it speaks of this one.
    pub fn fits(&self, vector: &Vector) -> bool {
        let code = || {
            let body: Value = serde_json::from_str(&vector.body).ok()?;
            body.get("code").or_else(|| body.pointer("/error/code"))?.as_i64()
        };
        self.is_recorded()
            && self.terms.iter().all(|term| match term {
                Term::Status(status) => vector.status == *status,
                Term::Code(number) => code() == Some(*number),
                Term::Text(text) => vector.body.contains(text),
                Term::Name(name) => vector.name == *name,
            })
    }
}

impl Term {
    fn parse(text: &str) -> Self {
        let number = |prefix| text.strip_prefix(prefix).and_then(|number: &str| number.parse::<u16>().ok());
        if let Some(status) = number("status ") {
            Self::Status(status)
        } else if let Some(code) = number("code ") {
            Self::Code(code.into())
        } else if let Some(text) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Self::Text(text.to_owned())
        } else {
            Self::Name(text.to_owned())
        }
    }
}

#[test]
fn the_code_in_the_document_is_the_examples() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway_echo.rs");
    let example = fs::read_to_string(example).unwrap();
    let example: Vec<&str> = example.lines().map(str::trim).collect();
    let document = document();
    let code = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = code.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(!lines.is_empty(), "the document shows no code");
    for line in lines {
        assert!(example.contains(&line), "examples/gateway_echo.rs has no line {line:?}");
    }
}
