//! A bound on something that is measured, as users write it: `inuse>50MB`, `new>0`, `oom<2h`.
//!
//! ```text
//! bound  = name op number [unit]
//! op     = ">" | ">=" | "<" | "<="
//! unit   = "%" | "B" | "kB" | "KB" | "MB" | "GB" | "TB" | "KiB" | "MiB" | "GiB" | "TiB", each also "/s", "/min", "/h", "/d"
//!        | "s" | "m" | "min" | "h" | "d"
//! ```

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Percent,
    Bytes,
    BytesPerSecond,
    Seconds,
}

impl Unit {
    fn words(self) -> &'static str {
        match self {
            Self::Count => "a number",
            Self::Percent => "a share such as 80%",
            Self::Bytes => "a size such as 512MB",
            Self::BytesPerSecond => "a rate such as 50MB/h",
            Self::Seconds => "a time such as 30m",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    More,
    AtLeast,
    Less,
    AtMost,
}

impl Comparison {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
        }
    }
}

/// A bound on a subject, one of those that a table names with the units they are measured in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold<Subject> {
    /// As it was given.
    pub(crate) text: String,
    pub(crate) subject: Subject,
    pub(crate) unit: Unit,
    comparison: Comparison,
    bound: f64,
}

impl<Subject: Copy> Threshold<Subject> {
    /// Reads it. What is refused is so with the names there are, or with `examples`.
    pub(crate) fn parse(text: &str, subjects: &[(&str, Subject, &[Unit])], examples: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| format!("\"{text}\" is no rule; write for example {examples}"))?;
        let (name, rest) = text.split_at(at);
        let (comparison, rest) = match (rest.strip_prefix(">="), rest.strip_prefix("<="), rest.strip_prefix('>')) {
            (Some(rest), ..) => (Comparison::AtLeast, rest),
            (_, Some(rest), _) => (Comparison::AtMost, rest),
            (.., Some(rest)) => (Comparison::More, rest),
            _ => (Comparison::Less, &rest[1..]),
        };
        let (name, rest) = (name.trim(), rest.trim());
        let (_, subject, units) = subjects.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
            let names: Vec<&str> = subjects.iter().map(|(name, ..)| *name).collect();
            format!("there is no \"{name}\" to make rules about; there are {}", names.join(", "))
        })?;
        let (bound, unit) = number(rest).ok_or_else(|| format!("\"{rest}\" is no number with a unit"))?;
        if !units.contains(&unit) {
            let units: Vec<&str> = units.iter().map(|unit| unit.words()).collect();
            return Err(format!("{name} is compared with {}, not with \"{rest}\"", units.join(" or ")));
        }
        Ok(Self { text: text.trim().to_owned(), subject: *subject, unit, comparison, bound })
    }

    /// Whether a value passes the bound.
    pub(crate) fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.bound)
    }

    /// A value, in words.
    pub(crate) fn words(&self, value: f64) -> String {
        match self.unit {
            Unit::Count => format!("{value}"),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Bytes => format!("{:.1} MB", value / 1e6),
            Unit::BytesPerSecond => format!("{:.1} MB/h", value * 3_600.0 / 1e6),
            Unit::Seconds => format!("{value:.0} s"),
        }
    }
}

/// A number in its unit's base.
pub(crate) fn number(text: &str) -> Option<(f64, Unit)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..end].parse().ok().filter(|value: &f64| value.is_finite())?;
    let unit = text[end..].trim();
    let (size, per) = match unit.split_once('/') {
        Some((size, per)) => (size, Some(seconds(per)?)),
        None => (unit, None),
    };
    match (size, per) {
        ("", None) => Some((value, Unit::Count)),
        ("%", None) => Some((value, Unit::Percent)),
        (size, None) => match bytes(size) {
            Some(factor) => Some((value * factor, Unit::Bytes)),
            None => Some((value * seconds(size)?, Unit::Seconds)),
        },
        (size, Some(per)) => Some((value * bytes(size)? / per, Unit::BytesPerSecond)),
    }
}

fn bytes(unit: &str) -> Option<f64> {
    Some(match unit {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024f64.powi(2),
        "GiB" => 1024f64.powi(3),
        "TiB" => 1024f64.powi(4),
        _ => return None,
    })
}

fn seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_their_units() {
        assert_eq!(number("50MB/h"), Some((50e6 / 3_600.0, Unit::BytesPerSecond)));
        assert_eq!(number("1.5GiB"), Some((1.5 * 1_073_741_824.0, Unit::Bytes)));
        assert_eq!(number("80%"), Some((80.0, Unit::Percent)));
        assert_eq!(number("2h"), Some((7_200.0, Unit::Seconds)));
        assert_eq!(number("0"), Some((0.0, Unit::Count)));
        for bad in ["", "MB", "1XB", "-1", "5/h", "5%/h", "1e400", "inf"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
