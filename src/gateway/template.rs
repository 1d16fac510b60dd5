//! Path templates, `/services/{id}/$ping` or `/v1/{name=shelves/*/books/**}:publish`, and
//! how a path fits one. The grammar is that of google/api/http.proto; where that leaves
//! questions open, the answers are gRPC-gateway's.

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    /// The part after the last colon; empty for none.
    verb: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `*`: any one segment, the empty one too.
    Any,
    /// `**`: whatever the segments around it leave over.
    Deep,
}

/// A field that segments of the path fill.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variable {
    /// The names of the field and of the messages it stands in, outermost first.
    pub field_path: Vec<String>,
    /// The segments it takes.
    from: usize,
    to: usize,
}

/// A path does not fit a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Another template may fit.
    Here,
    /// No other template is to be tried: the last segment is nothing but the verb.
    Final,
}

impl Template {
    /// Parses a template; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("it does not start with a slash")?;
        let (rest, verb) = split_verb(rest);
        let mut parser = Parser { rest, segments: Vec::new(), variables: Vec::new() };
        if rest.is_empty() {
            // The path "/" is one empty segment.
            parser.segments.push(Segment::Literal(String::new()));
        } else {
            parser.segments(false)?;
        }
        if parser.segments.iter().filter(|segment| **segment == Segment::Deep).count() > 1 {
            return Err("** stands in it twice".to_owned());
        }
        Ok(Self { segments: parser.segments, variables: parser.variables, verb: verb.to_owned() })
    }

    /// The fields that the path fills.
    pub(super) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The texts for the variables, in their order, if the path fits. `path` is split at
    /// its slashes; every segment counts, empty ones too.
    pub(super) fn fit(&self, path: &[&[u8]]) -> Result<Vec<Vec<u8>>, Misfit> {
        let (last, front) = path.split_last().ok_or(Misfit::Here)?;
        let last = if self.verb.is_empty() {
            last
        } else {
            let bare = last.strip_suffix(self.verb.as_bytes()).and_then(|text| text.strip_suffix(b":"));
            match bare {
                Some([]) => return Err(Misfit::Final),
                Some(bare) => bare,
                None => return Err(Misfit::Here),
            }
        };
        let at = |index: usize| if index < front.len() { front.get(index) } else { Some(&last) };
        let mut taken: Vec<Vec<u8>> = Vec::with_capacity(self.segments.len());
        let mut next = 0;
        for (index, segment) in self.segments.iter().enumerate() {
            if *segment == Segment::Deep {
                // What follows takes one segment each.
                let tail = self.segments.len() - index - 1;
                let end = path.len().checked_sub(tail).filter(|end| *end >= next).ok_or(Misfit::Here)?;
                // Only at the very start may it take nothing.
                if next > 0 && next == end {
                    return Err(Misfit::Here);
                }
                let parts: Vec<&[u8]> = (next..end).filter_map(at).copied().collect();
                taken.push(parts.join(&b'/'));
                next = end;
                continue;
            }
            let found = if next < path.len() { at(next) } else { None }.ok_or(Misfit::Here)?;
            if let Segment::Literal(literal) = segment
                && literal.as_bytes() != *found
            {
                return Err(Misfit::Here);
            }
            taken.push(found.to_vec());
            next += 1;
        }
        if next < path.len() {
            return Err(Misfit::Here);
        }
        let text = |variable: &Variable| taken[variable.from..variable.to].join(&b'/');
        Ok(self.variables.iter().map(text).collect())
    }
}

/// The verb stands after the last colon of the last segment. Behind a variable it begins
/// at the first one.
fn split_verb(path: &str) -> (&str, &str) {
    let tail = path.rfind(['/', '}']).map_or(0, |at| at + 1);
    let (front, last) = path.split_at(tail);
    let colon = if front.ends_with('}') { last.find(':') } else { last.rfind(':') };
    match colon {
        Some(at) => (&path[..tail + at], &last[at + 1..]),
        None => (path, ""),
    }
}

struct Parser<'a> {
    rest: &'a str,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl<'a> Parser<'a> {
    /// Segments up to the end, or up to the brace that ends a variable.
    fn segments(&mut self, in_variable: bool) -> Result<(), String> {
        loop {
            if self.take("{") {
                if in_variable {
                    return Err("a variable stands inside another".to_owned());
                }
                self.variable()?;
            } else {
                let text = self.until(if in_variable { "/}" } else { "/" });
                let segment = segment(text)?;
                self.segments.push(segment);
            }
            if self.take("/") {
                continue;
            }
            return match self.rest.chars().next() {
                None if !in_variable => Ok(()),
                Some('}') if in_variable => Ok(()),
                None => Err("a variable does not end".to_owned()),
                Some(c) => Err(format!("{c:?} where a segment ends")),
            };
        }
    }

    fn variable(&mut self) -> Result<(), String> {
        let path = self.until("=}");
        let field_path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if let Some(bad) = field_path.iter().find(|name| !is_identifier(name)) {
            return Err(format!("{bad:?} is no name of a field"));
        }
        let from = self.segments.len();
        if self.take("=") {
            self.segments(true)?;
        } else {
            self.segments.push(Segment::Any);
        }
        if !self.take("}") {
            return Err(format!("the variable {path:?} does not end"));
        }
        self.variables.push(Variable { field_path, from, to: self.segments.len() });
        Ok(())
    }

    fn take(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn until(&mut self, ends: &str) -> &'a str {
        let end = self.rest.find(|c| ends.contains(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text {
        "" => return Err("a segment is empty".to_owned()),
        "*" => return Ok(Segment::Any),
        "**" => return Ok(Segment::Deep),
        _ => {}
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escape = || bytes.clone().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        if byte == b'%' && escape() {
            bytes.nth(1);
        } else if !is_pchar(byte) {
            return Err(format!("{:?} in the segment {text:?}", char::from(byte)));
        }
    }
    Ok(Segment::Literal(text.to_owned()))
}

/// RFC 3986's pchar without its escapes.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn is_identifier(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `name=text` for each variable, or why not.
    fn fitted(template: &str, path: &str) -> String {
        let template = Template::parse(template).unwrap();
        let segments: Vec<&[u8]> = path[1..].split('/').map(str::as_bytes).collect();
        match template.fit(&segments) {
            Err(Misfit::Here) => "no".to_owned(),
            Err(Misfit::Final) => "never".to_owned(),
            Ok(texts) => {
                let name = |variable: &Variable| variable.field_path.join(".");
                let texts = texts.into_iter().map(|text| String::from_utf8(text).unwrap());
                let pairs = template.variables().iter().zip(texts);
                pairs
                    .map(|(variable, text)| format!("{}={text}", name(variable)))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
        }
    }

    #[test]
    fn paths_fit() {
        let cases = [
            ("/", "/", ""),
            ("/", "/a", "no"),
            ("/services", "/services", ""),
            ("/services", "/services/", "no"),
            ("/services/$register", "/services/$register", ""),
            ("/services/{id}", "/services/a", "id=a"),
            ("/services/{id}", "/services/", "id="),
            ("/services/{id}", "/services/a:b", "id=a:b"),
            ("/services/{id}", "/services/a/b", "no"),
            ("/services/{id}/$ping", "/services//$ping", "id="),
            ("/services/{id}/$ping", "/services/a/$ping:now", "no"),
            ("/services/{id}:watch", "/services/a:watch", "id=a"),
            ("/services/{id}:watch", "/services/a:b:watch", "id=a:b"),
            ("/services/{id}:watch", "/services/a", "no"),
            ("/services/{id}:watch", "/services/:watch", "never"),
            ("/services/{id}:a:b", "/services/x:a:b", "id=x"),
            ("/services:watch", "/services:watch", ""),
            ("/services:watch", "/services", "no"),
            ("/a:b:c", "/a:b:c", ""),
            ("/{a}/{b.c}", "/x/y", "a=x b.c=y"),
            ("/{a=x/*}/y", "/x/1/y", "a=x/1"),
            ("/{a=x/*}/y", "/z/1/y", "no"),
            ("/{a=**}", "/", "a="),
            ("/{a=**}", "/x/y", "a=x/y"),
            ("/v1/{a=**}", "/v1", "no"),
            ("/v1/{a=**}", "/v1/", "a="),
            ("/v1/{a=**}", "/v1/x/", "a=x/"),
            ("/v1/{a=b/**}", "/v1/b", "no"),
            ("/v1/{a=b/**}", "/v1/b/c/d", "a=b/c/d"),
            ("/{a=**}/end", "/end", "a="),
            ("/{a=**}/end", "/x/y/end", "a=x/y"),
            ("/{a=**/end}", "/end", "a=/end"),
            ("/v1/{a=**}/end:go", "/v1/x/end:go", "a=x"),
            ("/v1/**", "/v1/x/y", ""),
            ("/*/x", "/anything/x", ""),
        ];
        for (template, path, expect) in cases {
            assert_eq!(fitted(template, path), expect, "{template} {path}");
        }
    }

    #[test]
    fn templates_are_checked() {
        for good in ["/a*b/c", "/%41", "/a=b", "/{_a1}", "/{a=*}:v", "/a:", "/@:x"] {
            assert!(Template::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//a",
            "/a//b",
            "/{id",
            "/{id}x",
            "/x{id}",
            "/{}",
            "/{1a}",
            "/{a.}",
            "/{a={b}}",
            "/{a=}",
            "/a b",
            "/%4",
            "/é",
            "/**/**",
            "/{a=**}/{b=**}",
            "/a}",
            "/{a=b/}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_answered(template in r"[/{}=*.:a$%1]{0,20}", path in r"/[/:a$%1]{0,10}") {
            if let Ok(template) = Template::parse(&template) {
                let segments: Vec<&[u8]> = path[1..].split('/').map(str::as_bytes).collect();
                if let Ok(texts) = template.fit(&segments) {
                    prop_assert_eq!(texts.len(), template.variables().len());
                }
            }
        }
    }
}
