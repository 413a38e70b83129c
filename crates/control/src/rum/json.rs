//! Beacons in JSON: measures of the library web-vitals (<https://github.com/GoogleChrome/web-vitals>), one or several, or
//! our own snippet's.

use super::beacon::Beacon;
use super::timing::Timing;
use serde_json::{Map, Value};

/// Of one beacon.
const MOST: usize = 50;

/// Reads an object, or a list of them.
///
/// # Errors
/// Where it is no JSON, or nothing in it is known.
pub(super) fn read(body: &[u8]) -> Result<Vec<Beacon>, &'static str> {
    match serde_json::from_slice(body).map_err(|_| "this is no JSON")? {
        Value::Array(all) if all.len() > MOST => Err("there are more than 50 measures in it"),
        Value::Array(all) if all.is_empty() => Err("there is no measure in it"),
        Value::Array(all) => all.iter().map(one).collect(),
        value => Ok(vec![one(&value)?]),
    }
}

fn one(value: &Value) -> Result<Beacon, &'static str> {
    let object = value.as_object().ok_or("a measure is an object")?;
    let mut beacon = match (object.get("name").and_then(Value::as_str), object.get("value")) {
        (Some(name), Some(value)) => web_vital(name, value, object),
        _ => own(object)?,
    };
    beacon.cdn = object.get("cdn").and_then(Value::as_str).filter(|cdn| !cdn.is_empty()).map(str::to_string);
    Ok(beacon)
}

/// `{name, value, delta, id, rating, navigationType}`. A measure that grows is told again with the same id, and then its
/// `delta` is not its `value`: the first time counts. What the browser had in its memory no CDN has served.
fn web_vital(name: &str, value: &Value, object: &Map<String, Value>) -> Beacon {
    let mut beacon = Beacon::default();
    let again = object.get("delta").is_some_and(|delta| delta != value);
    let from_memory = object.get("navigationType").and_then(Value::as_str) == Some("back-forward-cache");
    if let (false, false, Some(timing)) = (again, from_memory, Timing::named(name)) {
        beacon.tell(timing, number(value));
        // Every page has one of these, and one alone.
        beacon.page = timing == Timing::Ttfb;
    }
    beacon
}

/// `{"cdn": NAME, "ttfb": MILLISECONDS, ..., "cls": SCORE, "error": BOOLEAN, "page": BOOLEAN}`
fn own(object: &Map<String, Value>) -> Result<Beacon, &'static str> {
    let flag = |key| object.get(key).and_then(Value::as_bool);
    let mut beacon = Beacon { error: flag("error").unwrap_or(false), ..Beacon::default() };
    let told = Timing::ALL.into_iter().filter_map(|timing| Some((timing, object.get(timing.name())?)));
    let mut known = object.contains_key("page") || beacon.error;
    for (timing, value) in told.filter(|(_, value)| !value.is_null()) {
        known = true;
        beacon.tell(timing, number(value));
    }
    if !known {
        return Err("nothing in it is known: it wants one of ttfb, fcp, lcp, inp, load, cls, error and page");
    }
    beacon.page = flag("page").unwrap_or(!beacon.error);
    Ok(beacon)
}

/// What is no number is `NaN`, and is refused with what cannot be true.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
