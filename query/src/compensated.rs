//! Sums with the error their additions lost (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
//! Summen", 1974).

/// A compensated sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    /// A sum that starts at `value`.
    pub(crate) fn starting_at(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    /// Adds a number. An infinite sum has lost nothing worth keeping.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
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
    pub(crate) fn absorb(&mut self, other: Self) {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.lost += other.lost;
        }
    }

    /// Multiplies what was summed so far.
    #[inline]
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.sum *= factor;
        self.lost *= factor;
    }

    /// Divides what was summed so far.
    #[inline]
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.sum /= divisor;
        self.lost /= divisor;
    }

    /// The sum by `count`, unless the sum is infinite or NaN.
    pub(crate) fn finite_over(self, count: f64) -> Option<f64> {
        self.sum.is_finite().then(|| self.over(count))
    }

    /// The sum by `count`, each part by itself.
    pub(crate) fn over(self, count: f64) -> f64 {
        self.sum / count + self.lost / count
    }

    /// Whether the sum left the range of a double.
    #[inline]
    pub(crate) fn is_infinite(self) -> bool {
        self.sum.is_infinite()
    }

    /// The sum, compensated.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}
