//! Quantiles that intervals of 95 % are made with.

/// The normal distribution's for 95 % in the middle.
pub(super) const Z: f64 = 1.96;

/// How much further out that of Student's t distribution is, to first order (Abramowitz and Stegun, Handbook of Mathematical
/// Functions, 1964, 26.7.5).
pub(super) fn student_beyond_normal(freedom: f64) -> f64 {
    (Z.powi(3) + Z) / (4.0 * freedom)
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF as _, StudentsT};

    use super::*;

    #[test]
    fn it_is_near_that_of_student() {
        for freedom in [5.0, 8.0, 30.0, 1_000.0] {
            let student = StudentsT::new(0.0, 1.0, freedom).unwrap().inverse_cdf(0.975);
            let ours = Z + student_beyond_normal(freedom);
            assert!((ours / student - 1.0).abs() < 0.06, "{freedom}: {ours}, is {student}");
        }
    }
}
