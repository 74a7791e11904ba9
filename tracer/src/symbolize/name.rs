//! Function names and paths as they are shown: demangled, and never longer than a screen can use.

use std::fmt::{self, Write as _};

/// Bytes of a name or path that are kept.
pub(super) const NAME_BYTES: usize = 4 << 10;
/// Longest mangled name that is demangled: the longest of real programs have some 30 KiB.
const MANGLED_BYTES: usize = 64 << 10;
const CUT: char = '…';

/// The name a programmer knows a function by. Plain C names pass unchanged.
pub(super) fn demangle(raw: &str) -> String {
    let mut out = Bounded::default();
    if raw.len() <= MANGLED_BYTES {
        // An error means that the limit was hit; what was written until then is the beginning of the name.
        if let Ok(symbol) = rustc_demangle::try_demangle(raw) {
            let complete = write!(out, "{symbol:#}").is_ok();
            return out.finish(complete);
        }
        if raw.starts_with('_')
            && let Ok(symbol) = cpp_demangle::BorrowedSymbol::new(raw.as_bytes())
        {
            let complete = symbol.structured_demangle(&mut out, &cpp_demangle::DemangleOptions::new()).is_ok();
            if complete || out.full {
                return out.finish(complete);
            }
        }
    }
    cut(raw)
}

/// A text without its end when it is too long.
pub(super) fn cut(text: &str) -> String {
    let mut out = Bounded::default();
    let complete = out.write_str(text).is_ok();
    out.finish(complete)
}

/// Takes so many bytes and no more: the demangled form can be exponentially longer than the mangled one.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    fn finish(mut self, complete: bool) -> String {
        if !complete {
            self.text.push(CUT);
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = NAME_BYTES - self.text.len();
        let limit = NAME_BYTES - CUT.len_utf8();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        self.text.push_str(&part[..char_boundary(part, room)]);
        self.text.truncate(char_boundary(&self.text, limit));
        self.full = true;
        Err(fmt::Error)
    }
}

/// The last place at or before `limit` where the text can be cut.
fn char_boundary(text: &str, limit: usize) -> usize {
    (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_three_languages() {
        assert_eq!(demangle("malloc"), "malloc");
        assert_eq!(demangle("_start"), "_start");
        assert_eq!(demangle("_ZN5space5Thing3getEPKc"), "space::Thing::get(char const*)");
        assert_eq!(demangle("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"), "core::fmt::Formatter::pad");
        assert_eq!(demangle("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(demangle("_Znonsense"), "_Znonsense");
    }

    #[test]
    fn long_names_are_cut() {
        let exact = "é".repeat(NAME_BYTES / 2);
        assert_eq!(cut(&exact), exact);
        let long = cut(&(exact.clone() + "x"));
        assert!(long.len() <= NAME_BYTES && long.ends_with(CUT), "{}", long.len());
        assert!(demangle(&"x".repeat(1 << 20)).len() <= NAME_BYTES);
    }

    #[test]
    fn a_name_that_doubles_with_each_substitution_is_cut() {
        // f(pair<int,int>, pair<that,that>, pair<that,that>, ...): each argument repeats the one before twice.
        let mut mangled = String::from("_Z1f4pairIiiE");
        for index in 0..60_u32 {
            let digit = |value: u32| char::from_digit(value, 36).map(|digit| digit.to_ascii_uppercase());
            let number: String =
                [index / 36, index % 36].into_iter().skip_while(|&value| value == 0).filter_map(digit).collect();
            let last = if index == 0 { "S0_".to_owned() } else { format!("S{number}_") };
            let _ = write!(mangled, "S_I{last}{last}E");
        }
        let name = demangle(&mangled);
        assert!(name.len() <= NAME_BYTES && name.ends_with(CUT), "{name}");
        assert!(name.starts_with("f(pair<int, int>, pair<pair<int, int>, pair<int, int> >, "), "{name}");
    }

    proptest! {
        #[test]
        fn any_text_gives_a_bounded_name(text in "(_Z|_R|__ZN)?[A-Za-z0-9_$.]{0,300}") {
            prop_assert!(demangle(&text).len() <= NAME_BYTES);
        }
    }
}
