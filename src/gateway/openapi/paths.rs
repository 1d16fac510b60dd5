//! Path templates of the annotations, as OpenAPI writes paths: variables without their
//! patterns, which become those of the parameters.

/// A template taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Text as it stands, slashes and a verb included.
    Literal(String),
    /// The field that it fills, and its segments: `*`, `**` or text.
    Variable { field: String, segments: Vec<String> },
}

/// A place of a path that is filled in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    /// Its name between the braces.
    pub name: String,
    /// The field that it fills, or fills a part of; none for a bare wildcard.
    pub field: Option<String>,
    /// What its text has to be.
    pub pattern: Option<String>,
}

impl Path {
    /// Of a template such as `/a/{b}/{c=d/*}:verb`.
    pub(super) fn parse(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((literal, variable)) = rest.split_once('{') {
            let (variable, after) = variable.split_once('}').unwrap_or((variable, ""));
            let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
            wildcards(&mut parts, literal);
            let segments = pattern.split('/').map(str::to_owned).collect();
            parts.push(Part::Variable { field: field.to_owned(), segments });
            rest = after;
        }
        wildcards(&mut parts, rest);
        Self(parts)
    }

    /// The fields that it fills.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable { field, .. } if !field.is_empty() => Some(field.as_str()),
            _ => None,
        })
    }

    /// The template without its variables: `/a/*/d/*:verb`.
    pub(super) fn flat(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Literal(literal) => literal.clone(),
            Part::Variable { segments, .. } => segments.join("/"),
        });
        parts.collect()
    }

    /// The path with one slot for each variable. What its text has to look like is told
    /// by the slot's pattern.
    pub(super) fn whole(&self) -> (String, Vec<Slot>) {
        let (mut text, mut slots) = (String::new(), Vec::new());
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable { field, segments } => {
                    slot(&mut text, &mut slots, field, field.clone(), pattern(segments));
                }
            }
        }
        (text, slots)
    }

    /// The path with one slot for each wildcard within the variables, whose other
    /// segments are written out. Two that are alike when whole may differ so.
    pub(super) fn expanded(&self) -> (String, Vec<Slot>) {
        let (mut text, mut slots) = (String::new(), Vec::new());
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable { field, segments } => {
                    for (index, segment) in segments.iter().enumerate() {
                        if index > 0 {
                            text.push('/');
                        }
                        if is_wildcard(segment) {
                            slot(&mut text, &mut slots, field, format!("{field}_{}", index + 1), None);
                        } else {
                            text.push_str(segment);
                        }
                    }
                }
            }
        }
        (text, slots)
    }
}

/// A wildcard outside of a variable is one without a field.
fn wildcards(parts: &mut Vec<Part>, literal: &str) {
    for (index, segment) in literal.split('/').enumerate() {
        if index > 0 {
            parts.push(Part::Literal("/".to_owned()));
        }
        let (name, verb) = segment.split_once(':').unwrap_or((segment, ""));
        if is_wildcard(name) {
            parts.push(Part::Variable { field: String::new(), segments: vec![name.to_owned()] });
            if !verb.is_empty() {
                parts.push(Part::Literal(format!(":{verb}")));
            }
        } else {
            parts.push(Part::Literal(segment.to_owned()));
        }
    }
}

fn slot(text: &mut String, slots: &mut Vec<Slot>, field: &str, name: String, pattern: Option<String>) {
    let name = if field.is_empty() { format!("any{}", slots.len() + 1) } else { name };
    text.push('{');
    text.push_str(&name);
    text.push('}');
    slots.push(Slot { name, field: (!field.is_empty()).then(|| field.to_owned()), pattern });
}

/// A regular expression, unless anything goes.
fn pattern(segments: &[String]) -> Option<String> {
    if segments.iter().all(|segment| is_wildcard(segment)) && segments.len() == 1 {
        return None;
    }
    let segments: Vec<String> = segments
        .iter()
        .map(|segment| match segment.as_str() {
            "*" => "[^/]+".to_owned(),
            "**" => ".*".to_owned(),
            literal => escaped(literal),
        })
        .collect();
    Some(format!("^{}$", segments.join("/")))
}

fn escaped(literal: &str) -> String {
    let mut out = String::new();
    for c in literal.chars() {
        if "\\^$.|?*+()[]{}".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn is_wildcard(segment: &str) -> bool {
    matches!(segment, "*" | "**")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (template, whole, expanded) in [
            ("/services", "/services", "/services"),
            ("/services/$register", "/services/$register", "/services/$register"),
            ("/services/{id}/$ping", "/services/{id}/$ping", "/services/{id_1}/$ping"),
            ("/x/{id}:verb", "/x/{id}:verb", "/x/{id_1}:verb"),
            ("/v1/{a.b=c/*/d.e/**}", "/v1/{a.b} ^c/[^/]+/d\\.e/.*$", "/v1/c/{a.b_2}/d.e/{a.b_4}"),
            ("/{a=**}", "/{a}", "/{a_1}"),
            ("/a/*/{b}/**", "/a/{any1}/{b}/{any3}", "/a/{any1}/{b_1}/{any3}"),
            ("/a/*:go", "/a/{any1}:go", "/a/{any1}:go"),
            ("/{unclosed", "/{unclosed}", "/{unclosed_1}"),
        ] {
            let shown = |(text, slots): (String, Vec<Slot>)| {
                let patterns = slots.into_iter().filter_map(|slot| slot.pattern);
                patterns.fold(text, |text, pattern| format!("{text} {pattern}"))
            };
            let path = Path::parse(template);
            assert_eq!(shown(path.whole()), whole, "{template}");
            assert_eq!(shown(path.expanded()), expanded, "{template}");
        }
    }

    #[test]
    fn fields_and_flat() {
        let path = Path::parse("/a/{b}/*/{c.d=e/**}:verb");
        assert_eq!(path.fields().collect::<Vec<_>>(), ["b", "c.d"]);
        assert_eq!(path.flat(), "/a/*/*/e/**:verb");
    }
}
