//! How quantities are written: bytes in IEC units, counts with separated thousands, ages, rates per second.

use std::time::Duration;

/// A number whose source has not been measured.
pub const UNKNOWN: &str = "-";

const STEPS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes with one decimal above a KiB: `512 B`, `1.5 MiB`. At most 10 characters.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { scaled(bytes as f64) }
}

/// A magnitude of bytes that need not be whole.
fn scaled(bytes: f64) -> String {
    let mut value = bytes;
    let mut step = 0;
    // What one decimal would round up to 1024.0 belongs to the next unit.
    while value >= 1023.95 && step + 1 < STEPS.len() {
        value /= 1024.0;
        step += 1;
    }
    if step == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", STEPS[step]) }
}

/// A change of bytes with its sign: `+1.5 MiB`, `-3 B`, `0 B`. At most 11 characters.
pub fn signed_bytes(bytes: f64) -> String {
    if !bytes.is_finite() {
        return UNKNOWN.to_owned();
    }
    let sign = match bytes {
        change if change >= 0.5 => "+",
        change if change <= -0.5 => "-",
        _ => return "0 B".to_owned(),
    };
    format!("{sign}{}", scaled(bytes.abs()))
}

/// Exact, with separated thousands: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut written = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// Exact as long as it fits into 9 characters, then with three or more digits and a unit: `12.3M`.
pub fn short_count(exact: u64) -> String {
    if exact < 10_000_000 {
        return count(exact);
    }
    let mut value = exact as f64 / 1e6;
    for unit in ["M", "G", "T"] {
        if value < 999.95 {
            return format!("{value:.1}{unit}");
        }
        value /= 1e3;
    }
    format!("{value:.1}P")
}

/// Events per second, without the unit: `0`, `0.3`, `12.5`, `1,234`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() => UNKNOWN.to_owned(),
        0.0 => "0".to_owned(),
        rate if rate.abs() < 99.95 => format!("{rate:.1}"),
        rate => short_count(rate.abs().round() as u64),
    }
}

/// A time span in its two leading units: `0.4s`, `59s`, `4m 05s`, `3h 07m`, `12d 04h`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if seconds == 0 => format!("0.{}s", span.subsec_millis() / 100),
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m {:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h {:02}m", minutes % 60),
        () => format!("{days}d {:02}h", hours % 24),
    }
}

/// A time to wait for an answer: `0.3 ms`, `12 ms`, `1.3 s`, then as [`duration`].
pub fn latency(span: Duration) -> String {
    match span.as_micros() {
        micros @ ..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros @ ..1_000_000 => format!("{} ms", micros / 1_000),
        micros @ ..60_000_000 => format!("{:.1} s", micros as f64 / 1e6),
        _ => duration(span),
    }
}

/// `1 object`, `1,234 objects`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `1.5 KiB in 3 objects`.
pub fn amount(size: u64, objects: u64) -> String {
    format!("{} in {}", bytes(size), counted(objects, "object", "objects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_one_decimal_and_change_unit_before_they_would_round_to_1024() {
        for (value, written) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (12_900_000, "12.3 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), written);
        }
    }

    #[test]
    fn changes_carry_their_sign() {
        for (value, written) in [
            (0.0, "0 B"),
            (0.4, "0 B"),
            (3.0, "+3 B"),
            (-3.0, "-3 B"),
            (1_572_864.0, "+1.5 MiB"),
            (-1_572_864.0, "-1.5 MiB"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(signed_bytes(value), written);
        }
    }

    #[test]
    fn counts_separate_thousands() {
        for (value, written) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(value), written);
            assert_eq!(short_count(value), written);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(short_count(9_999_999), "9,999,999");
        assert_eq!(short_count(12_345_678), "12.3M");
        assert_eq!(short_count(999_999_999), "1.0G");
        assert_eq!(short_count(u64::MAX), "18446.7P");
        assert_eq!(counted(1, "site", "sites"), "1 site");
        assert_eq!(counted(2, "site", "sites"), "2 sites");
    }

    #[test]
    fn rates_lose_decimals_as_they_grow() {
        for (value, written) in
            [(0.0, "0"), (0.31, "0.3"), (12.5, "12.5"), (99.96, "100"), (1234.4, "1,234"), (f64::NAN, "-")]
        {
            assert_eq!(rate(value), written);
        }
    }

    #[test]
    fn durations_show_two_leading_units() {
        for (milliseconds, written) in [
            (0, "0.0s"),
            (450, "0.4s"),
            (1_000, "1s"),
            (59_999, "59s"),
            (245_000, "4m 05s"),
            (11_220_000, "3h 07m"),
            (1_051_200_000, "12d 04h"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), written);
        }
    }

    #[test]
    fn latencies_keep_two_digits() {
        for (microseconds, written) in
            [(0, "0.0 ms"), (310, "0.3 ms"), (12_900, "12 ms"), (1_307_000, "1.3 s"), (61_000_000, "1m 01s")]
        {
            assert_eq!(latency(Duration::from_micros(microseconds)), written);
        }
    }
}
