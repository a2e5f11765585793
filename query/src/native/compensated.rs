//! Sums with the error their additions lost (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
//! Summen", 1974).

/// A compensated sum.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    /// A sum of one number.
    pub(super) fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// Adds a number. An infinite sum has lost nothing worth keeping.
    #[inline]
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Adds another sum.
    pub(super) fn absorb(&mut self, other: Self) {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.lost += other.lost;
        }
    }

    /// Multiplies what was summed so far.
    pub(super) fn multiply(&mut self, factor: f64) {
        self.sum *= factor;
        self.lost *= factor;
    }

    /// Divides what was summed so far.
    pub(super) fn divide(&mut self, divisor: f64) {
        self.sum /= divisor;
        self.lost /= divisor;
    }

    /// Whether the sum left the range of a double.
    pub(super) fn is_infinite(self) -> bool {
        self.sum.is_infinite()
    }

    /// The sum, compensated.
    #[inline]
    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}
