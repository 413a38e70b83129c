//! What is timed.

use crate::figures::{self, Figure};

/// One of the measures that browsers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// To the first byte of the page.
    Ttfb,
    /// To the first thing that is painted.
    Fcp,
    /// To the largest thing that is painted.
    Lcp,
    /// From the user's doing something to what he sees of it.
    Inp,
    /// To the end of the page's `load` event.
    Load,
    /// How much of the page jumps about: a score, and no time.
    Cls,
}

/// What is longer was not waited for by anybody. Seconds.
const LONGEST: f64 = 600.0;
/// A page that jumps by all of its height and width each time has 1 a jump.
const HIGHEST_SCORE: f64 = 100.0;

impl Timing {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Ttfb, Self::Fcp, Self::Lcp, Self::Inp, Self::Load, Self::Cls];

    /// As beacons and the API have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttfb => "ttfb",
            Self::Fcp => "fcp",
            Self::Lcp => "lcp",
            Self::Inp => "inp",
            Self::Load => "load",
            Self::Cls => "cls",
        }
    }

    /// The one of that name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|timing| timing.name().eq_ignore_ascii_case(name))
    }

    /// What it is kept as: of all countries, by minutes.
    pub const fn figure(self) -> &'static Figure {
        match self {
            Self::Ttfb => figures::USER_TTFB,
            Self::Fcp => figures::USER_FCP,
            Self::Lcp => figures::USER_LCP,
            Self::Inp => figures::USER_INP,
            Self::Load => figures::USER_LOAD,
            Self::Cls => figures::USER_CLS,
        }
    }

    /// What it is kept as: by country, by hours.
    pub const fn figure_by_country(self) -> &'static Figure {
        match self {
            Self::Ttfb => figures::USER_COUNTRY_TTFB,
            Self::Fcp => figures::USER_COUNTRY_FCP,
            Self::Lcp => figures::USER_COUNTRY_LCP,
            Self::Inp => figures::USER_COUNTRY_INP,
            Self::Load => figures::USER_COUNTRY_LOAD,
            Self::Cls => figures::USER_COUNTRY_CLS,
        }
    }

    /// What a browser tells, in milliseconds or as a score, as it is kept: in seconds, or as that score. `None` where it cannot
    /// be true.
    pub(super) fn kept(self, told: f64) -> Option<f64> {
        let (value, most) = match self {
            Self::Cls => (told, HIGHEST_SCORE),
            _ => (told / 1000.0, LONGEST),
        };
        (0.0..=most).contains(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_no_value() {
        assert_eq!(Timing::Lcp.kept(2500.0), Some(2.5));
        assert_eq!(Timing::Cls.kept(0.1), Some(0.1));
        for absurd in [-1.0, 600_001.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Timing::Ttfb.kept(absurd), None, "{absurd}");
            assert_eq!(Timing::Cls.kept(absurd), None, "{absurd}");
        }
    }
}
