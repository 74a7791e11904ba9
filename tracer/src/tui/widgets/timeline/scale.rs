//! Ends of an axis that read well: round numbers of the unit, around what there is to show.

/// What is along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Each unit is 1,024 of the one before.
    Bytes,
    /// Each unit is 1,000 of the one before.
    Count,
}

/// The ends of the axis for values from `low` to `high`, which are apart. It begins at zero unless that would press what
/// there is to see into less than half of it.
pub(super) fn ends(low: f64, high: f64, unit: Unit) -> (f64, f64) {
    let low = if low > 0.0 && low < high / 2.0 { 0.0 } else { low };
    let high = if high < 0.0 && high > low / 2.0 { 0.0 } else { high };
    let least = (high - low).max(high.abs().max(low.abs()) / 50.0).max(1.0) / 2.0;
    // The value in the middle is to be round, too.
    let ends = steps(unit).skip_while(|step| *step < least).map(|step| {
        let begin = (low / step).floor() * step;
        (begin, begin + 2.0 * step)
    });
    let mut holding = ends.skip_while(|(_, end)| *end < high);
    holding.next().unwrap_or((low, high))
}

/// Round numbers: one, and tens and hundreds of it, in the unit and all that follow.
fn steps(unit: Unit) -> impl Iterator<Item = f64> {
    const FACTORS: [f64; 9] = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    let thousand: f64 = match unit {
        Unit::Bytes => 1_024.0,
        Unit::Count => 1_000.0,
    };
    let powers = (0..9).flat_map(move |power| [1.0, 10.0, 100.0].map(|tens| tens * thousand.powi(power)));
    powers
        .flat_map(|power| FACTORS.map(|factor| (power, power * factor)))
        // There are no halves of a byte.
        .filter(|(power, step)| *power > 1.0 || step.fract() == 0.0)
        .map(|(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    #[test]
    fn ends_are_round_and_hold_what_there_is() {
        for (low, high, unit, expected) in [
            (0.0, 7.0, Unit::Count, (0.0, 8.0)),
            (3.0, 97.0, Unit::Count, (0.0, 100.0)),
            (960.0, 1_009.0, Unit::Count, (960.0, 1_020.0)),
            (10.0 * MIB, 37.0 * MIB, Unit::Bytes, (0.0, 40.0 * MIB)),
            (0.0, 0.0, Unit::Bytes, (0.0, 2.0)),
            (512.0 * MIB, 512.0 * MIB, Unit::Bytes, (510.0 * MIB, 522.0 * MIB)),
            (-3.0 * MIB, 9.0 * MIB, Unit::Bytes, (-10.0 * MIB, 10.0 * MIB)),
        ] {
            assert_eq!(ends(low, high, unit), expected, "{low} to {high}");
        }
    }

    #[test]
    fn every_range_has_ends() {
        for low in [-1e15, -7.0, 0.0, 3.0, 1e9, 1.7e19] {
            for more in [0.0, 0.3, 1.0, 1e6, 1e19] {
                let (begin, end) = ends(low, low + more, Unit::Bytes);
                assert!(begin <= low && end >= low + more && end > begin, "{low} + {more}: {begin} to {end}");
            }
        }
    }
}
