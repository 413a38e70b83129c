//! Beacons of boomerang (<https://akamai.github.io/boomerang/>): a query, or a form in a body. What is read of them is
//! numbers and a provider's name, none of which a browser escapes.

use super::beacon::Beacon;
use super::timing::Timing;

/// Longer lists of parameters are no beacon's.
const MOST_PARAMETERS: usize = 2000;

fn pairs(form: &str) -> impl Iterator<Item = (&str, &str)> {
    form.split('&').take(MOST_PARAMETERS).filter_map(|pair| pair.split_once('='))
}

/// The provider that a query or a form names: with boomerang, `BOOMR.addVar("cdn", name)`.
pub(super) fn cdn(form: &str) -> Option<&str> {
    pairs(form).find(|(name, value)| *name == "cdn" && !value.is_empty()).map(|(_, value)| value)
}

/// Reads a query or a form.
///
/// # Errors
/// Where no parameter of boomerang's is in it.
pub(super) fn read(form: &str) -> Result<Beacon, &'static str> {
    let mut known = false;
    let mut told = Told::default();
    for (name, value) in pairs(form) {
        // What is no number is `NaN`, and is refused with what cannot be true.
        let number = || Some(value.parse().unwrap_or(f64::NAN));
        match name {
            "t_resp" => told.response = number(),
            "t_done" => told.done = number(),
            "nt_nav_st" => told.start = number(),
            "nt_res_st" => told.first_byte = number(),
            "nt_load_end" => told.load_end = number(),
            "pt.fcp" => told.fcp = number(),
            "pt.lcp" => told.lcp = number(),
            "et.inp" => told.inp = number(),
            "c.cls" => told.cls = number(),
            "http.errno" => told.error = value != "0",
            "http.initiator" => told.initiator = Some(value),
            "rt.quit" => told.quit = true,
            "rt.abld" => told.abandoned = true,
            "early" => told.early = true,
            "v" | "sb" | "pid" | "rt.start" | "rt.tstart" | "rt.end" | "nt_nav_type" => {}
            _ => continue,
        }
        known = true;
    }
    if !known {
        return Err(
            "no timing is in it: send boomerang's parameters, web-vitals' JSON, or {\"ttfb\": MILLISECONDS, ...}",
        );
    }
    Ok(Beacon { cdn: cdn(form).map(str::to_string), ..told.beacon() })
}

/// The parameters that matter, as they were told.
#[derive(Default)]
struct Told<'f> {
    response: Option<f64>,
    done: Option<f64>,
    start: Option<f64>,
    first_byte: Option<f64>,
    load_end: Option<f64>,
    fcp: Option<f64>,
    lcp: Option<f64>,
    inp: Option<f64>,
    cls: Option<f64>,
    error: bool,
    initiator: Option<&'f str>,
    quit: bool,
    abandoned: bool,
    early: bool,
}

impl Told<'_> {
    fn beacon(&self) -> Beacon {
        let mut beacon = Beacon { error: self.error, ..Beacon::default() };
        // Requests of scripts, errors, and pages that come out of the browser's memory: their times are not a page's.
        let is_page = matches!(self.initiator, None | Some("spa_hard"));
        // An early beacon is sent again with all; one of a page that is left tells how long the user stayed.
        let is_loaded = is_page && !self.early && !self.quit && !self.error;
        beacon.page = is_loaded || (is_page && self.abandoned && !self.early);
        let since_start = |end: Option<f64>| Some(end? - self.start?);
        if is_loaded {
            let timings = [
                (Timing::Ttfb, self.response.or_else(|| since_start(self.first_byte))),
                (Timing::Load, self.done.or_else(|| since_start(self.load_end))),
                (Timing::Fcp, self.fcp),
                (Timing::Lcp, self.lcp),
            ];
            timings.into_iter().filter_map(|(timing, told)| Some((timing, told?))).for_each(|(t, v)| beacon.tell(t, v));
        }
        // These two go on while the page stands, and are whole when it is left.
        if is_page && self.quit {
            let timings = [(Timing::Inp, self.inp), (Timing::Cls, self.cls)];
            timings.into_iter().filter_map(|(timing, told)| Some((timing, told?))).for_each(|(t, v)| beacon.tell(t, v));
        }
        beacon
    }
}
