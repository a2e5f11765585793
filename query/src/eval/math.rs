//! Numbers: means, quantiles, and the elementwise functions.

use crate::compensated::CompensatedSum;
use crate::functions::FunctionId;

/// A mean: the compensated sum by the count, until the sum would overflow; incremental from there on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    /// The sum so far, or the mean so far once `incremental`.
    state: CompensatedSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Adds one number.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count <= 1.0 {
            self.state = CompensatedSum::starting_at(value);
            return;
        }
        if !self.incremental {
            let mut next = self.state;
            next.add(value);
            if !next.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.divide(self.count - 1.0);
        }
        let share = (self.count - 1.0) / self.count;
        self.state.multiply(share);
        self.state.add(value / self.count);
    }

    /// The mean; nothing without numbers.
    pub(crate) fn mean(self) -> Option<f64> {
        if self.count < 1.0 {
            None
        } else if self.incremental {
            Some(self.state.total())
        } else {
            Some(self.state.over(self.count))
        }
    }
}

/// The `q`-quantile of `values`, which are sorted in place with NaN lowest: linear between neighbours, infinite for a
/// `q` outside 0 to 1, NaN without values.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| nan_lowest(*a, *b));
    let rank = q * (count(values.len()) - 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank lies within the values")]
    let lower = (rank.floor().max(0.0) as usize).min(values.len() - 1);
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Orders numbers with NaN before all others.
pub(crate) fn nan_lowest(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "no query holds 2^53 of anything")]
pub(crate) fn count(of: usize) -> f64 {
    of as f64
}

/// The functions that change each value by itself.
pub(crate) fn elementwise(id: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId as F;
    Some(match id {
        F::Abs => f64::abs,
        F::Ceil => f64::ceil,
        F::Floor => f64::floor,
        F::Exp => f64::exp,
        F::Ln => f64::ln,
        F::Log2 => f64::log2,
        F::Log10 => f64::log10,
        F::Sqrt => f64::sqrt,
        F::Sin => f64::sin,
        F::Cos => f64::cos,
        F::Tan => f64::tan,
        F::Asin => f64::asin,
        F::Acos => f64::acos,
        F::Atan => f64::atan,
        F::Sinh => f64::sinh,
        F::Cosh => f64::cosh,
        F::Tanh => f64::tanh,
        F::Asinh => f64::asinh,
        F::Acosh => f64::acosh,
        F::Atanh => f64::atanh,
        F::Deg => |value| value * 180.0 / std::f64::consts::PI,
        F::Rad => |value| value * std::f64::consts::PI / 180.0,
        F::Sgn => |value| match value {
            value if value > 0.0 => 1.0,
            value if value < 0.0 => -1.0,
            zero_or_nan => zero_or_nan,
        },
        _ => return None,
    })
}

/// The nearest multiple of `to`, ties upwards; NaN for a `to` of 0.
pub(crate) fn round(value: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (value * inverse + 0.5).floor() / inverse
}

/// The larger of two numbers. As in Go infinity is larger than NaN, which is larger than every other number, and 0 is
/// larger than -0.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// The smaller of two numbers, by the same rules turned round.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = CompensatedSum::default();
        for &value in values {
            sum.add(value);
        }
        sum.total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::default();
        for &value in values {
            mean.add(value);
        }
        mean.mean().expect("values")
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn compensation() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(mean(&[1.0, 1e100, 1.0, -1e100]), 0.5);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!((mean(&[f64::MAX, f64::MAX, f64::MAX]) / f64::MAX - 1.0).abs() < 1e-12);
        assert_eq!(mean(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert_eq!(mean(&[52.0; 11]), 52.0);
        assert!(Mean::default().mean().is_none());
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn quantiles() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.75, &mut [1.0, 0.0]), 0.75);
        assert_eq!(quantile(1.5, &mut [1.0]), f64::INFINITY);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan(), "NaN sorts lowest");
        assert_eq!(quantile(1.0, &mut [f64::NAN, 1.0, 0.0]), 1.0);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn bounds() {
        const INF: f64 = f64::INFINITY;
        assert_eq!(
            [larger(1.0, 2.0), larger(f64::NAN, INF), smaller(2.0, 1.0), smaller(-INF, f64::NAN)],
            [2.0, INF, 1.0, -INF]
        );
        for (a, b) in [(f64::NAN, 1.0), (-1.0, f64::NAN), (f64::NAN, -INF)] {
            assert!(larger(a, b).is_nan() && smaller(-a, -b).is_nan(), "{a} {b}");
        }
        for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert!(larger(a, b).is_sign_positive() && smaller(a, b).is_sign_negative(), "{a} {b}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn rounding_and_signs() {
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(7.5, 5.0), 10.0);
        assert!(round(1.0, 0.0).is_nan());
        let sgn = elementwise(FunctionId::Sgn).expect("elementwise");
        assert_eq!([sgn(-3.0), sgn(0.5), sgn(f64::NEG_INFINITY)], [-1.0, 1.0, -1.0]);
        assert!(sgn(-0.0).is_sign_negative() && sgn(f64::NAN).is_nan());
    }
}
