//! A number with the interval that it lies in.

/// An estimate and its confidence interval, `low <= value <= high`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The best single value.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Estimate {
    /// Known without error.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// `value`, give or take.
    pub fn around(value: f64, margin: f64) -> Self {
        Self { value, low: value - margin, high: value + margin }
    }

    /// In another unit; a negative factor turns the interval round.
    pub fn scaled(self, factor: f64) -> Self {
        let Self { value, low, high } = self;
        let (low, high) = if factor < 0.0 { (high, low) } else { (low, high) };
        Self { value: value * factor, low: low * factor, high: high * factor }
    }

    /// With this share of the value added to either side of the interval.
    pub fn widened(self, share: f64) -> Self {
        let margin = self.value.abs() * share;
        Self { value: self.value, low: self.low - margin, high: self.high + margin }
    }

    /// How far the farther end of the interval is from the value, as a share of it.
    pub fn relative_error(&self) -> f64 {
        let error = (self.high - self.value).max(self.value - self.low) / self.value.abs();
        if error.is_finite() { error } else { 0.0 }
    }

    /// Whether the interval holds a value.
    pub fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Whether the whole interval is above zero.
    pub fn is_positive(&self) -> bool {
        self.low > 0.0
    }
}
