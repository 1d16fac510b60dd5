//! `application/x-www-form-urlencoded`, as query strings and forms are: read like Go's
//! `url.ParseQuery`.

use std::collections::HashMap;

use super::error::Failure;

/// How many parameters one text may hold: the number that Go stops at.
const MAX_PARAMETERS: usize = 10_000;

/// The parameters of a query string or a form. A key has all its values, in the order they
/// came. None of it need be UTF-8.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// In the order in which the keys first came.
    entries: Vec<Entry>,
    places: HashMap<Vec<u8>, usize>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    key: Vec<u8>,
    values: Vec<Vec<u8>>,
}

/// A `%` that two hexadecimal digits do not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a % that two hexadecimal digits do not follow")]
pub(super) struct BadEscape;

/// Reads what stands behind the `?` of a URL, or the body of a form.
pub(super) fn parse(text: &[u8]) -> Result<Values, Failure> {
    let parts = || text.split(|byte| *byte == b'&');
    // Empty ones count.
    if parts().nth(MAX_PARAMETERS).is_some() {
        return Err(Failure::invalid(format!("more than {MAX_PARAMETERS} parameters")));
    }
    let mut values = Values::default();
    for part in parts().filter(|part| !part.is_empty()) {
        if part.contains(&b';') {
            return Err(Failure::invalid("invalid semicolon separator in query"));
        }
        let at = part.iter().position(|byte| *byte == b'=');
        let (key, value) = at.map_or((part, &[][..]), |at| (&part[..at], &part[at + 1..]));
        values.add(spaced(key)?, [spaced(value)?]);
    }
    Ok(values)
}

/// The parameters of a form, and those of the query string after them.
pub(super) fn with_query(form: &[u8], query: &str) -> Result<Values, Failure> {
    let mut values = parse(form)?;
    values.append(parse(query.as_bytes())?);
    Ok(values)
}

/// Percent-decodes a text once. Every `%` must start an escape.
pub(super) fn unescape(text: &[u8]) -> Result<Vec<u8>, BadEscape> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>().ok_or(BadEscape)?;
        let [Some(high), Some(low)] = digits.map(|digit| char::from(digit).to_digit(16)) else {
            return Err(BadEscape);
        };
        plain.push((high * 16 + low) as u8);
        rest = tail;
    }
    Ok(plain)
}

/// A `+` is a space.
fn spaced(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    unescape(&spaced).map_err(|why| {
        Failure::invalid(format!("the parameters, in {:?}: {why}", String::from_utf8_lossy(text)))
    })
}

impl Values {
    /// Adds what came later: its values of a key stand behind those that are here. A form
    /// comes before the query string.
    pub(super) fn append(&mut self, later: Self) {
        for Entry { key, values } in later.entries {
            self.add(key, values);
        }
    }

    /// The keys, each with its values, of which there is at least one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[Vec<u8>])> {
        self.entries.iter().map(|entry| (entry.key.as_slice(), entry.values.as_slice()))
    }

    fn add(&mut self, key: Vec<u8>, values: impl IntoIterator<Item = Vec<u8>>) {
        if let Some(place) = self.places.get(&key) {
            self.entries[*place].values.extend(values);
        } else {
            self.places.insert(key.clone(), self.entries.len());
            self.entries.push(Entry { key, values: values.into_iter().collect() });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<String, String> {
        let shown = |values: &Values| {
            let pair = |(key, values): (&[u8], &[Vec<u8>])| {
                let values: Vec<_> = values.iter().map(|value| value.escape_ascii().to_string()).collect();
                format!("{}={}", key.escape_ascii(), values.join(","))
            };
            values.iter().map(pair).collect::<Vec<_>>().join(" ")
        };
        parse(text).map(|values| shown(&values)).map_err(|failure| {
            assert_eq!(failure.code, 3);
            failure.message
        })
    }

    #[test]
    fn parameters() {
        let cases = [
            ("", ""),
            ("&&", ""),
            ("a=1&b=2&a=3", "a=1,3 b=2"),
            ("a", "a="),
            ("=1", "=1"),
            ("a=b=c", "a=b=c"),
            ("a+b=c+d%2B", "a b=c d+"),
            ("a%5Bk%5D=%26%3b", "a[k]=&;"),
            ("%ff=%fF", "\\xff=\\xff"),
            ("?a=1", "?a=1"),
        ];
        for (text, expect) in cases {
            assert_eq!(read(text.as_bytes()).as_deref(), Ok(expect), "{text}");
        }
        assert_eq!(read(b"a=\xfe").as_deref(), Ok("a=\\xfe"));
    }

    #[test]
    fn refusals() {
        let cases = [
            ("a=1;b=2", "semicolon"),
            (";", "semicolon"),
            ("a=1&%zz=2", "in \"%zz\": a %"),
            ("a=%", "a %"),
            ("a=%4", "a %"),
            ("a=%4g", "a %"),
            ("a=%+1", "a %"),
        ];
        for (text, expect) in cases {
            let message = read(text.as_bytes()).unwrap_err();
            assert!(message.contains(expect), "{text}: {message}");
        }
    }

    #[test]
    fn there_are_not_too_many() {
        let text = "a&".repeat(MAX_PARAMETERS - 1);
        assert!(parse(text.as_bytes()).is_ok());
        assert!(parse(format!("{text}&").as_bytes()).is_err());
    }

    #[test]
    fn a_form_comes_before_the_query() {
        let mut values = parse(b"a=1&b=2").unwrap();
        values.append(parse(b"c=3&a=4&a=5").unwrap());
        let all: Vec<_> = values.iter().map(|(key, values)| (key, values.join(&b','))).collect();
        let expect: [(&[u8], Vec<u8>); 3] =
            [(b"a", b"1,4,5".to_vec()), (b"b", b"2".to_vec()), (b"c", b"3".to_vec())];
        assert_eq!(all, expect);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: Vec<u8>) {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(bytes: Vec<u8>) {
            let escaped: Vec<_> = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(unescape(escaped.concat().as_bytes()), Ok(bytes));
        }
    }
}
