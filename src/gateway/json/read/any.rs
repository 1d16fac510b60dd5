//! `google.protobuf.Any`: an object whose `@type` names the type of what else is in it.

use std::{borrow::Cow, collections::HashMap};

use super::{
    super::{super::schema::Form, MessageId},
    Reader,
    fault::{Fault, Read, quoted},
    lexer::{Key, Lexer},
    object::Seen,
    walk::{Now, Walk},
};

/// The member that names the type.
const TYPE: &str = "@type";

/// The member that holds a well-known type's own form.
const VALUE: &str = "value";

/// The fields of an `Any`.
const TYPE_URL: u32 = 1;
const CONTENT: u32 = 2;

/// Where the types of objects are that do not begin with theirs. One pass over an object
/// finds those of all in it, so that no text is gone over again for each level.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// The text before has been gone over.
    until: usize,
    /// By where the object begins: the place of the type's name.
    found: HashMap<usize, usize>,
}

/// What the first look into an `Any` finds.
enum Begun<'t> {
    /// `{}`, which is behind us.
    Empty,
    /// No member says the type. We stand where we stood.
    Untyped,
    /// We are behind the type, which came first.
    Behind(TypeUrl<'t>),
    /// We stand where we stood.
    Before(TypeUrl<'t>),
}

struct TypeUrl<'t> {
    at: usize,
    url: Cow<'t, str>,
}

impl<'t> Reader<'t, '_> {
    /// Reads an `Any`.
    pub(super) fn any(&mut self) -> Read<()> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.lexer.mismatch("an object"));
        }
        let start = self.lexer.at();
        let (url, is_behind) = match self.begin_any()? {
            Begun::Empty => return Ok(()),
            Begun::Untyped if self.options.discard_unknown => return self.skip(),
            Begun::Untyped => return Err(self.lexer.fault("the object has no \"@type\"")),
            Begun::Behind(url) => (url, true),
            Begun::Before(url) => (url, false),
        };
        let name = url.url.rsplit('/').next().unwrap_or_default();
        let Some(id) = self.schema.find(name) else {
            return Err(Fault::new(url.at, format!("the type {} is not known here", quoted(&url.url))));
        };
        self.out.bytes(TYPE_URL, url.url.as_bytes());
        let content = self.out.open(CONTENT);
        if !is_behind {
            self.lexer.open()?;
        }
        self.any_members(id, start, is_behind)?;
        self.out.close(content);
        Ok(())
    }

    /// Reads the members of an `Any`, from the first or the second one on.
    fn any_members(&mut self, id: MessageId, start: usize, mut has_type: bool) -> Read<()> {
        let message = self.schema.message(id);
        let mut first = !has_type;
        let mut has_value = false;
        let mut seen = Seen::default();
        while let Some(key) = self.lexer.member(&mut first)? {
            if key.name == TYPE {
                if std::mem::replace(&mut has_type, true) {
                    return Err(twice(&key));
                }
                self.string()?;
            } else if message.form == Form::Object {
                self.member(message, &key, &mut seen)?;
            } else if key.name == VALUE {
                if std::mem::replace(&mut has_value, true) {
                    return Err(twice(&key));
                }
                self.message(id)?;
            } else {
                self.unknown(message, &key)?;
            }
        }
        // Others than Go leave it out where there is nothing to say.
        if has_value || matches!(message.form, Form::Object | Form::Empty) {
            return Ok(());
        }
        Err(Fault::new(start, format!("a {} in an Any needs a \"value\"", message.full_name)))
    }

    /// Finds the type of the `Any` that is next.
    fn begin_any(&mut self) -> Read<Begun<'t>> {
        let before = self.lexer.clone();
        self.lexer.open()?;
        match self.lexer.member(&mut true)? {
            None => return Ok(Begun::Empty),
            Some(key) if key.name == TYPE => return self.type_url().map(Begun::Behind),
            Some(_) => self.lexer = before,
        }
        let start = self.lexer.at();
        if start >= self.types.until {
            self.types.find(self.lexer.clone())?;
        }
        let Some(place) = self.types.found.get(&start) else {
            return Ok(Begun::Untyped);
        };
        self.lexer.go_to(*place);
        let url = self.type_url()?;
        self.lexer.go_to(start);
        Ok(Begun::Before(url))
    }

    fn type_url(&mut self) -> Read<TypeUrl<'t>> {
        let at = self.lexer.at();
        let url = self.string()?;
        if url.is_empty() { Err(Fault::new(at, "the type is empty")) } else { Ok(TypeUrl { at, url }) }
    }
}

impl Types {
    /// Goes over the object that is next.
    fn find(&mut self, mut lexer: Lexer<'_>) -> Read<()> {
        let mut walk = Walk::default();
        while walk.step(&mut lexer)? {
            if let Some(level) = walk.innermost()
                && matches!(&level.now, Now::Member(key) if key == TYPE)
            {
                self.found.entry(level.start).or_insert(lexer.at());
            }
        }
        self.until = lexer.at();
        Ok(())
    }
}

fn twice(key: &Key<'_>) -> Fault {
    key.fault(|key| format!("the key {key} comes twice"))
}
