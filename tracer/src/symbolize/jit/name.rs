//! What the names in a perf map say: the function, and for JavaScript and Python its file.

use std::sync::Arc;

use super::super::{module::Named, name::cut};

/// The kinds under which V8 writes functions of scripts (`V8_LOG_EVENT`s in its `src/logging`): today's `JS`, the other
/// names of older versions.
const V8_KINDS: &[&str] = &["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"];
/// How the path of a script begins. It may hold spaces, and so may a function's name.
const V8_PATHS: &[&str] = &[" /", " file://", " node:"];

/// A name with its source taken off it; the rest stays as it is, with V8's mark of how far the function is optimized.
pub(super) fn describe(raw: &str) -> Named {
    let (function, file, line) = v8(raw).or_else(|| cpython(raw)).unwrap_or((raw, None, None));
    let text = |text: &str| Arc::from(cut(text));
    Named { function: Ok(text(function)), file: file.map(text), line, inlined: false }
}

type Parts<'a> = (&'a str, Option<&'a str>, Option<u32>);

/// `JS:*name file:line:column`; old versions leave out the column.
fn v8(raw: &str) -> Option<Parts<'_>> {
    V8_KINDS.iter().any(|kind| raw.starts_with(kind)).then_some(())?;
    let (rest, last) = split_number(raw)?;
    let (rest, line) = split_number(rest).unwrap_or((rest, last));
    let at = V8_PATHS.iter().filter_map(|path| rest.find(path)).min().or_else(|| rest.rfind(' '))?;
    let file = &rest[at + 1..];
    (!file.is_empty()).then_some((&rest[..at], Some(file), (line != 0).then_some(line)))
}

/// `py::qualified.name:file`.
fn cpython(raw: &str) -> Option<Parts<'_>> {
    let colon = "py::".len() + raw.strip_prefix("py::")?.find(':')?;
    let file = &raw[colon + 1..];
    (!file.is_empty()).then_some((&raw[..colon], Some(file), None))
}

/// Takes `:number` off the end.
fn split_number(text: &str) -> Option<(&str, u32)> {
    let (rest, number) = text.rsplit_once(':')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    Some((rest, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::symbolize::name::NAME_BYTES;

    fn parts(raw: &str) -> (String, Option<String>, Option<u32>) {
        let Named { function, file, line, inlined } = describe(raw);
        assert!(!inlined);
        (function.expect("named").to_string(), file.as_deref().map(str::to_owned), line)
    }

    #[test]
    fn javascript() {
        let names = [
            ("JS:~leak /srv/app.js:12:3", "JS:~leak", "/srv/app.js", 12),
            ("JS:*get size /srv/my app/a b.js:7:11", "JS:*get size", "/srv/my app/a b.js", 7),
            ("JS:^allocUnsafeSlow node:buffer:414:50", "JS:^allocUnsafeSlow", "node:buffer", 414),
            ("JS:~ node:internal/streams/pipeline:1:1", "JS:~", "node:internal/streams/pipeline", 1),
            ("JS:+run file:///srv/app.mjs:3:20", "JS:+run", "file:///srv/app.mjs", 3),
            ("JS:~leak evalmachine.<anonymous>:5:2", "JS:~leak", "evalmachine.<anonymous>", 5),
            ("Eval:~ /srv/app.js:1:1", "Eval:~", "/srv/app.js", 1),
            ("LazyCompile:*leak /srv/app.js:12:3", "LazyCompile:*leak", "/srv/app.js", 12),
            ("LazyCompile:*leak /srv/app.js:12", "LazyCompile:*leak", "/srv/app.js", 12),
        ];
        for (raw, function, file, line) in names {
            assert_eq!(parts(raw), (function.to_owned(), Some(file.to_owned()), Some(line)));
        }
    }

    #[test]
    fn python() {
        let names = [
            ("py::Cache.add.<locals>.f:/srv/app.py", "py::Cache.add.<locals>.f", "/srv/app.py"),
            ("py::<module>:<string>", "py::<module>", "<string>"),
            ("py::f:/srv/a:b.py", "py::f", "/srv/a:b.py"),
        ];
        for (raw, function, file) in names {
            assert_eq!(parts(raw), (function.to_owned(), Some(file.to_owned()), None));
        }
    }

    #[test]
    fn other_names_stay_as_they_are() {
        let names = [
            "Builtin:ArrayPrototypePush",
            "RegExp:a b:1:2",
            "void [app] Shop.Cart::Add(int32)[Tier0]",
            "Lshop/Cart;::add",
            "JS:~leak",
            "JS:~leak :1:2",
            "py::f",
            "py::f:",
        ];
        for raw in names {
            assert_eq!(parts(raw), (raw.to_owned(), None, None));
        }
    }

    proptest! {
        #[test]
        fn any_name_is_bounded(raw in "(JS:|py::|Script:)?[ a-z:/0-9é]{0,30}", repeat in 1_usize..400) {
            let Named { function, file, .. } = describe(&raw.repeat(repeat));
            prop_assert!(function.expect("named").len() <= NAME_BYTES);
            prop_assert!(file.is_none_or(|file| file.len() <= NAME_BYTES));
        }
    }
}
