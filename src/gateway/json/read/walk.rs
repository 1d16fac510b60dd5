//! Goes through a value without reading it, however deep it nests: to skip it, to look for
//! something in it, to find out where one is.

use std::borrow::Cow;

use super::{fault::Read, lexer::Lexer};

/// The way through one value.
#[derive(Debug, Default)]
pub(super) struct Walk<'t> {
    open: Vec<Level<'t>>,
}

/// An object or a list that is open.
#[derive(Debug)]
pub(super) struct Level<'t> {
    /// Where it begins.
    pub start: usize,
    pub now: Now<'t>,
    is_object: bool,
    /// How many members or items were reached.
    count: usize,
}

/// Where one is in an object or a list.
#[derive(Debug)]
pub(super) enum Now<'t> {
    /// Not at a value.
    Between,
    Member(Cow<'t, str>),
    Item(usize),
}

impl<'t> Walk<'t> {
    /// From a value on to the next: that is the first one in it if it is an object or a
    /// list. False at the end of the value that the first step was made from.
    pub(super) fn step(&mut self, lexer: &mut Lexer<'t>) -> Read<bool> {
        if let Some(start @ (b'{' | b'[')) = lexer.peek() {
            let is_object = start == b'{';
            let start = lexer.at();
            lexer.open()?;
            self.open.push(Level { start, now: Now::Between, is_object, count: 0 });
        } else {
            lexer.scalar()?;
        }
        while let Some(level) = self.open.last_mut() {
            level.now = Now::Between;
            let mut first = level.count == 0;
            if level.is_object {
                if let Some(key) = lexer.member(&mut first)? {
                    level.now = Now::Member(key.name);
                }
            } else if lexer.item(&mut first)? {
                level.now = Now::Item(level.count);
            }
            if !matches!(level.now, Now::Between) {
                level.count += 1;
                return Ok(true);
            }
            self.open.pop();
        }
        Ok(false)
    }

    /// The object or list that the value is in.
    pub(super) fn innermost(&self) -> Option<&Level<'t>> {
        self.open.last()
    }

    /// Where one is in each object and list, from the outermost on.
    pub(super) fn path(&self) -> impl Iterator<Item = &Now<'t>> {
        self.open.iter().map(|level| &level.now)
    }
}
