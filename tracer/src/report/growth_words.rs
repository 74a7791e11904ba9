//! What page faults say, in words: for the report, the page and the dashboard alike.

use super::units::{bytes, counted, duration, signed_bytes};
use crate::aggregate::{Balance, Faulted, PageFaults, Resident};

/// An amount that is estimated, with its error.
pub(crate) fn faulted_words(faulted: Faulted) -> String {
    let error = match 100.0 * faulted.bytes_estimate().relative_error() {
        0.0 => String::new(),
        percent => format!(" ±{percent:.0} %"),
    };
    format!("~{}{error}", bytes(faulted.bytes()))
}

/// Its share of all that was faulted in; empty when there is nothing to share.
pub(crate) fn share_words(faulted: Faulted, all: Faulted) -> String {
    if all.samples == 0 {
        return String::new();
    }
    format!(", {:.0} % of all", 100.0 * faulted.samples as f64 / all.samples as f64)
}

/// All that was faulted in, and how many faults that rests on.
pub(crate) fn total_words(faults: &PageFaults) -> String {
    let faulted = faults.faulted();
    format!(
        "{} by {} of 1 page fault in {}",
        faulted_words(faulted),
        counted(faulted.samples, "sample", "samples"),
        faults.period
    )
}

/// What resident memory did meanwhile, and what follows of what was faulted in; `None` before it was read.
pub(crate) fn balance_words(faults: &PageFaults) -> Option<String> {
    let resident = faults.resident()?;
    let Resident { at_attach, now } = resident;
    let (verb, grown) = if now >= at_attach { ("grew", now - at_attach) } else { ("shrank", at_attach - now) };
    let rss = format!("RSS {verb} {} ({} to {})", bytes(grown), bytes(at_attach), bytes(now));
    Some(match faults.balance()? {
        Balance::GivenBack(size) => format!("{rss}: ~{} of it was given back, or replaced what was there", bytes(size)),
        Balance::Kept => format!("{rss}: as much as was faulted in, within the error"),
        Balance::Unseen(size) => {
            format!("{rss}: ~{} more than was faulted in, by huge pages or pages mapped ahead", bytes(size))
        }
    })
}

/// From when on that is, unless it is the attach: with a word before it.
pub(crate) fn since_words(faults: &PageFaults) -> String {
    if faults.since.is_zero() { String::new() } else { format!(" since {}", duration(faults.since)) }
}

/// What resident memory did since then, in few words.
pub(crate) fn resident_words(faults: &PageFaults) -> Option<String> {
    let growth = faults.resident()?.growth();
    let back = match faults.balance() {
        Some(Balance::GivenBack(size)) => format!(", ~{} given back", bytes(size)),
        Some(Balance::Unseen(size)) => format!(", ~{} not by faults", bytes(size)),
        Some(Balance::Kept) | None => String::new(),
    };
    Some({
        let since = if faults.since.is_zero() { " since attach".to_owned() } else { since_words(faults) };
        format!("RSS {}{since}{back}", signed_bytes(growth as f64))
    })
}

/// What numbers from page faults mean.
pub(crate) const NOTE: &str = "memory is estimated from page faults, where it was touched first; ± is the error at 95 % \
                               confidence, and nobody sees it being given back";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::{ProcessFaults, Tgid};

    #[test]
    fn amounts_have_their_errors_and_what_became_of_them() {
        let of = |samples, now| {
            let faulted = Faulted { samples, period: 97 };
            let resident = Some(Resident { at_attach: 10 << 20, now });
            PageFaults {
                period: 97,
                since: Duration::ZERO,
                processes: vec![ProcessFaults { tgid: Tgid(1), faulted, resident }],
            }
        };
        let churn = of(3_200, 210 << 20);
        assert_eq!(total_words(&churn), "~1.2 GiB ±4 % by 3,200 samples of 1 page fault in 97");
        let words = balance_words(&churn).expect("is known");
        assert_eq!(
            words,
            "RSS grew 200.0 MiB (10.0 MiB to 210.0 MiB): ~1012.5 MiB of it was given back, or replaced what was there"
        );
        assert!(balance_words(&of(0, 5 << 20)).expect("is known").starts_with("RSS shrank 5.0 MiB"));
        assert!(balance_words(&of(27, 20 << 20)).expect("is known").ends_with("within the error"));
        assert!(balance_words(&of(27, 200 << 20)).expect("is known").contains("huge pages"));
        let all = Faulted { samples: 200, period: 97 };
        assert_eq!(share_words(Faulted { samples: 82, period: 97 }, all), ", 41 % of all");
        assert_eq!(share_words(all, Faulted::default()), "");
    }
}
