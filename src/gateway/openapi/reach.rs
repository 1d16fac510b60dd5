//! Which paths are never reached. Of two that fit a request, the one declared last is
//! served, whatever they look like.

/// What a template matches: segments, of which some are `*` or `**`, and a verb.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reach {
    segments: Vec<String>,
    verb: String,
}

impl Reach {
    /// Of a template without variables, `/a/*/b:verb`.
    pub(super) fn of(template: &str) -> Self {
        let mut segments: Vec<String> = template.split('/').skip(1).map(str::to_owned).collect();
        let mut verb = String::new();
        if let Some(last) = segments.last_mut()
            && let Some((segment, after)) = last.clone().split_once(':')
        {
            segment.clone_into(last);
            after.clone_into(&mut verb);
        }
        Self { segments, verb }
    }

    /// Whether every path that `other` matches is matched by this as well.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // Without a verb here, one there is a part of the last segment.
        let swallows = self.verb.is_empty() && self.segments.last().is_some_and(|last| last.starts_with('*'));
        (self.verb == other.verb || swallows) && all_covered(&self.segments, &other.segments)
    }
}

fn all_covered(these: &[String], others: &[String]) -> bool {
    // At the very start it may take nothing.
    covered(these, others, 0)
}

/// `least` is how many segments a `**` takes at least.
fn covered(these: &[String], others: &[String], least: usize) -> bool {
    match (these, others) {
        ([], []) => true,
        // What follows it is fixed.
        ([any, rest @ ..], _) if any == "**" => {
            others.len() >= rest.len() + least && covered(rest, &others[others.len() - rest.len()..], 1)
        }
        ([this, rest @ ..], [other, others @ ..]) => {
            let fits = this == other || (this == "*" && other != "**");
            fits && covered(rest, others, 1)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_paths_hide_earlier_ones() {
        for (later, earlier, expect) in [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a/*", "/a/$b", true),
            ("/a/$b", "/a/*", false),
            ("/a/*", "/a/*/b", false),
            ("/a/*", "/a/*:verb", true),
            ("/a/*", "/a/b:verb", true),
            ("/a/*:verb", "/a/*", false),
            ("/a/*:verb", "/a/*:other", false),
            ("/a/*:verb", "/a/b:verb", true),
            ("/a/b", "/a/b:verb", false),
            ("/a/**", "/a", false),
            ("/**", "/a", true),
            ("/**/a", "/a", true),
            ("/a/**", "/a/b/*/c", true),
            ("/a/**", "/a/b:verb", true),
            ("/a/**/c", "/a/b/c", true),
            ("/a/**/c", "/a/b/d", false),
            ("/a/*", "/a/**", false),
            ("/a/b/*", "/a/*/*", false),
        ] {
            assert_eq!(Reach::of(later).covers(&Reach::of(earlier)), expect, "{later} for {earlier}");
        }
    }
}
