//! Suppressions in the format of LeakSanitizer: a line `leak:pattern` for each, `#` for comments. A pattern is looked for in
//! the names of a stack's functions, source files and modules; `*` stands for anything, `^` and `$` for the ends of a
//! name. A site that matches is counted, and no leak.

use crate::{
    aggregate::{SiteSnapshot, Snapshot, Suppressed},
    symbolize::{Frame, Stack},
};

/// All suppressions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    /// What lies between the stars.
    parts: Vec<String>,
    at_start: bool,
    at_end: bool,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let inner = text.strip_prefix('^').unwrap_or(text);
        let at_start = inner.len() < text.len();
        let body = inner.strip_suffix('$').unwrap_or(inner);
        let at_end = body.len() < inner.len();
        Self { text: text.to_owned(), parts: body.split('*').map(str::to_owned).collect(), at_start, at_end }
    }

    fn matches(&self, name: &str) -> bool {
        let mut rest = name;
        let last = self.parts.len() - 1;
        for (index, part) in self.parts.iter().enumerate() {
            if index == last && self.at_end {
                let anchored = index == 0 && self.at_start;
                return if anchored { rest == part } else { rest.ends_with(part.as_str()) };
            }
            let at = if index == 0 && self.at_start {
                rest.starts_with(part.as_str()).then_some(0)
            } else {
                rest.find(part.as_str())
            };
            match at {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    fn matches_stack(&self, stack: &Stack) -> bool {
        stack.frames.iter().any(|frame: &Frame| {
            let names = [frame.function.as_deref().ok(), frame.file.as_deref(), frame.module.as_deref()];
            names.into_iter().flatten().any(|name| self.matches(name))
        })
    }
}

impl Suppressions {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Names the line that is no suppression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("leak:").map(str::trim) {
                Some(pattern) if !pattern.is_empty() => patterns.push(Pattern::new(pattern)),
                _ => return Err(format!("line {number}: \"{line}\" is no suppression; write leak:PATTERN")),
            }
        }
        Ok(Self { patterns })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Marks the sites that match, and says how often each pattern was used. The first that matches counts.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        let mut used: Vec<Suppressed> = self
            .patterns
            .iter()
            .map(|pattern| Suppressed { pattern: pattern.text.clone(), sites: 0, inuse_bytes: 0, inuse_objects: 0 })
            .collect();
        for site in &mut snapshot.sites {
            let SiteSnapshot { stack, counters, suppressed, .. } = site;
            let index = self.patterns.iter().position(|pattern| pattern.matches_stack(stack));
            *suppressed = index.is_some();
            if let Some(used) = index.and_then(|index| used.get_mut(index)) {
                used.sites += 1;
                used.inuse_bytes += counters.inuse_bytes();
                used.inuse_objects += counters.inuse_objects();
            }
        }
        snapshot.suppressions = used.into_iter().filter(|used| used.sites > 0).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    #[test]
    fn patterns_match_as_leak_sanitizers_do() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        assert!(matches("foo", "a_foo_b"));
        assert!(!matches("foo", "fo"));
        assert!(matches("^foo", "food") && !matches("^foo", "a_foo"));
        assert!(matches("foo$", "a_foo") && !matches("foo$", "foo_b"));
        assert!(matches("^foo$", "foo") && !matches("^foo$", "foofoo"));
        assert!(matches("a*c", "xxabbbcxx") && !matches("a*c", "cba"));
        assert!(matches("^a*c$", "abc") && !matches("^a*c$", "abcd"));
        assert!(matches("lib*.so", "/usr/lib/libfoo.so.6"));
    }

    #[test]
    fn a_file_has_comments_and_a_bad_line_is_named() {
        let parsed = Suppressions::parse("# ours\n\n leak:foo \nleak:^bar$\n").expect("valid");
        assert_eq!(parsed.patterns.iter().map(|pattern| pattern.text.as_str()).collect::<Vec<_>>(), ["foo", "^bar$"]);
        for bad in ["foo", "leak:", "race:foo"] {
            let error = Suppressions::parse(&format!("leak:x\n{bad}")).expect_err(bad);
            assert!(error.contains("line 2") && error.contains("leak:PATTERN"), "{error}");
        }
    }

    #[test]
    fn what_matches_is_marked_and_counted_once() {
        let mut snapshot = testing::normal();
        let function =
            snapshot.sites[0].stack.frames.iter().find_map(|frame| frame.function.clone().ok()).expect("a name");
        let suppressions =
            Suppressions::parse(&format!("leak:nothing_of_this\nleak:{function}\nleak:*")).expect("valid");
        suppressions.apply(&mut snapshot);
        let has_name = |site: &&SiteSnapshot| {
            site.stack
                .frames
                .iter()
                .any(|frame| frame.function.is_ok() || frame.file.is_some() || frame.module.is_some())
        };
        let named: Vec<bool> = snapshot.sites.iter().map(|site| has_name(&site)).collect();
        let marked: Vec<bool> = snapshot.sites.iter().map(|site| site.suppressed).collect();
        assert_eq!(marked, named, "the star takes the rest, where there is a name");
        let used: Vec<&str> = snapshot.suppressions.iter().map(|used| used.pattern.as_str()).collect();
        assert_eq!(used[0], &*function);
        let bytes: u64 = snapshot.suppressions.iter().map(|used| used.inuse_bytes).sum();
        let all: u64 = snapshot.sites.iter().filter(has_name).map(|site| site.counters.inuse_bytes()).sum();
        assert_eq!(bytes, all);
    }
}
