//! What a minute should have been like, from the same time in earlier weeks, and how far a minute usually lies from that.

/// One minute of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minute {
    /// So many. Of a level, the level.
    pub count: f64,
    /// Out of so many; 1 where a count or a level is not out of anything.
    pub of: f64,
}

/// What kind of numbers a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Counts, or counts out of counts: at best they scatter as Poisson's law says.
    Count,
    /// A positive level, such as a percentile of times: it scatters by a share of itself.
    Level,
}

/// What was to be expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Of [`Minute::count`].
    pub value: f64,
    /// How far minutes usually lie from what is expected, in the units of [`distance`].
    pub scale: f64,
}

/// Levels are never taken to scatter by less than a twentieth: percentiles of few values jump.
const LEAST_SCATTER: f64 = 0.05;
/// Turns a median of absolute deviations into a standard deviation, were they normal.
const NORMAL: f64 = 1.4826;

/// How far `found` lies from `expected`. For counts the square root makes the scatter the same at every rate: one, for Poisson's
/// law (Anscombe, Biometrika 35, 1948). For levels it is the difference of logarithms.
pub fn distance(nature: Nature, found: f64, expected: f64) -> f64 {
    match nature {
        Nature::Count => 2.0 * ((found.max(0.0) + 0.375).sqrt() - (expected.max(0.0) + 0.375).sqrt()),
        Nature::Level => found.max(1e-9).ln() - expected.max(1e-9).ln(),
    }
}

/// What a minute that is out of `of` should count. `past` holds the minutes around the same time, week by week. The median of
/// weeks is taken, so that one week's incident is no model for the next. `None` without a past.
pub fn expect(nature: Nature, past: &[Vec<Minute>], of: f64) -> Option<Expected> {
    let weeks = past.iter().filter_map(|week| rate(nature, week));
    let rate = median(&mut weeks.collect::<Vec<_>>())?;
    let minutes = past.iter().flatten();
    let mut strayed: Vec<f64> = minutes
        .map(|minute| {
            distance(nature, minute.count, rate * if nature == Nature::Count { minute.of } else { 1.0 }).abs()
        })
        .collect();
    let floor = if nature == Nature::Count { 1.0 } else { LEAST_SCATTER };
    let scale = (NORMAL * median(&mut strayed)?).max(floor);
    Some(Expected { value: rate * if nature == Nature::Count { of } else { 1.0 }, scale })
}

/// Of one week's minutes.
fn rate(nature: Nature, week: &[Minute]) -> Option<f64> {
    if nature == Nature::Level {
        return median(&mut week.iter().map(|minute| minute.count).collect::<Vec<_>>());
    }
    let of: f64 = week.iter().map(|minute| minute.of).sum();
    (of > 0.0).then(|| week.iter().map(|minute| minute.count).sum::<f64>() / of)
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> Option<f64> {
    let (length, middle) = (values.len(), values.len() / 2);
    if length == 0 {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if length % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn week(count: f64, of: f64) -> Vec<Minute> {
        vec![Minute { count, of }; 21]
    }

    #[test]
    fn one_weeks_incident_is_no_model_for_the_next() {
        let past = [week(100.0, 1.0), week(0.0, 1.0), week(104.0, 1.0), week(98.0, 1.0)];
        assert_eq!(expect(Nature::Count, &past, 1.0).unwrap().value, 99.0);
    }

    #[test]
    fn a_share_is_expected_of_as_many_as_there_were() {
        let past = [week(5.0, 1000.0), week(5.0, 1000.0)];
        assert_eq!(expect(Nature::Count, &past, 4000.0).unwrap(), Expected { value: 20.0, scale: 1.0 });
    }

    #[test]
    fn without_a_past_nothing_is_expected() {
        assert_eq!(expect(Nature::Count, &[], 1.0), None);
        assert_eq!(expect(Nature::Count, &[week(0.0, 0.0)], 1.0), None);
        assert_eq!(expect(Nature::Level, &[vec![]], 1.0), None);
    }

    #[test]
    fn weeks_that_differ_make_it_patient() {
        let alike = expect(Nature::Count, &[week(1000.0, 1.0), week(1010.0, 1.0)], 1.0).unwrap();
        let unlike = expect(Nature::Count, &[week(700.0, 1.0), week(1300.0, 1.0)], 1.0).unwrap();
        assert!(unlike.scale > 5.0 * alike.scale, "{alike:?} {unlike:?}");
    }
}
