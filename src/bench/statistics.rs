//! The little statistics that a handful of rounds allow.

/// Several figures in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; those that are no numbers do not count.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            f64::midpoint(figures[half - 1], figures[half])
        };
        Some(Self { median, min, max })
    }
}

/// The ratios of figures that belong together: the same round's. A round in which one of the two is
/// missing, or the second is nothing, has none.
pub fn ratios(figures: &[Option<f64>], against: &[Option<f64>]) -> Vec<f64> {
    let pairs = figures.iter().zip(against);
    pairs
        .filter_map(|pair| match pair {
            (Some(figure), Some(against)) if *against != 0.0 => Some(figure / against),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        #[track_caller]
        fn check(figures: &[f64], expect: Option<(f64, f64, f64)>) {
            let got = Spread::of(figures.iter().copied()).map(|s| (s.median, s.min, s.max));
            assert_eq!(got, expect);
        }
        check(&[], None);
        check(&[f64::NAN, f64::INFINITY], None);
        check(&[3.0], Some((3.0, 3.0, 3.0)));
        check(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)));
        check(&[4.0, 1.0, 2.0, 9.0], Some((3.0, 1.0, 9.0)));
        check(&[5.0, f64::NAN, 7.0], Some((6.0, 5.0, 7.0)));
    }

    #[test]
    fn ratios_are_within_a_round() {
        let ours = [Some(10.0), None, Some(30.0), Some(40.0)];
        let null = [Some(5.0), Some(5.0), Some(60.0), Some(0.0)];
        assert_eq!(ratios(&ours, &null), [2.0, 0.5]);
        assert_eq!(ratios(&ours, &[]), [0.0; 0]);
    }
}
