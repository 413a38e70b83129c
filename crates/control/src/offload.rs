//! What each CDN is worth: what its edge served against what it pulled from us, on settled time that both sides are known
//! for. How it is meant, and where it misleads, stands in `docs/offload.md`.

pub(crate) mod join;
#[cfg(test)]
mod tests;

use crate::ControlError;
use crate::figures::{self, Figure};
use crate::store::{Reader, Series, Step};
pub(crate) use join::Points;
use join::Watch;
use std::collections::BTreeMap;

/// The label of edge figures that come from a log stream. Where the vendor's API tells too, it is the API that counts.
pub const STREAM: &str = "stream";

/// What a provider is worth over a window. What is unknown is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worth {
    /// The provider.
    pub cdn: String,
    /// What was asked about, up to where the provider's figures are settled.
    pub window: (i64, i64),
    /// Before it the provider's figures change no more.
    pub settled_until: Option<i64>,
    /// For how many seconds of `window` both sides are known: the stretch that `offload` speaks of, and with it `pulls`,
    /// `edge_requests`, `hits` and `misses`. 0: there is none, and these are what is known of `window`.
    pub joined_seconds: i64,
    /// Pulls that reached us.
    pub pulls: Option<f64>,
    /// Bytes of bodies that we sent.
    pub pull_bytes: Option<f64>,
    /// Requests of users.
    pub edge_requests: Option<f64>,
    /// Bytes to users.
    pub edge_bytes: Option<f64>,
    /// Requests that its caches answered.
    pub hits: Option<f64>,
    /// Requests that its caches did not have.
    pub misses: Option<f64>,
    /// `1 - pulls / edge_requests`. Below 0 where it pulls more often than it is asked; never clamped.
    pub offload: Option<f64>,
    /// `1 - pull_bytes / edge_bytes`, where the bytes are known.
    pub byte_offload: Option<f64>,
    /// `hits / (hits + misses)`, another number than offload.
    pub hit_ratio: Option<f64>,
    /// Requests to the origin as the vendor counts them, on its own joined stretch.
    pub vendor_origin_requests: Option<f64>,
    /// `(vendor's - ours) / the greater one`, from -1 to 1. Above 0 pulls bypass us or lack the provider's tag; below 0
    /// pulls carry its tag that it did not make.
    pub disagreement: Option<f64>,
    /// Whether `disagreement` is more than chance can explain where the vendor samples.
    pub is_certain: bool,
    /// The edge's side by property. Pulls cannot be told apart by property: they carry the provider's name alone.
    pub properties: Vec<Property>,
}

/// What the edge says of one property over the window of its [`Worth`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Property {
    /// The vendor's name for it.
    pub name: String,
    /// Requests of users.
    pub edge_requests: Option<f64>,
    /// Bytes to users.
    pub edge_bytes: Option<f64>,
    /// `hits / (hits + misses)`.
    pub hit_ratio: Option<f64>,
}

/// Each provider's part of the whole, three ways that are never mixed. All are over one and the same window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// The provider.
    pub cdn: String,
    /// Of the pulls of these providers.
    pub of_pulls: Option<f64>,
    /// Of users' requests, as far as all providers whose edge is known are settled.
    pub of_edge: Option<f64>,
    /// Of the pages that users loaded.
    pub of_users: Option<f64>,
}

/// Ours and the vendor's count of pulls are too far apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// The provider.
    pub cdn: String,
    /// As [`Worth::disagreement`].
    pub by: f64,
    /// What it means.
    pub means: &'static str,
}

/// What each of these providers is worth from `window.0` to before `window.1`.
///
/// # Errors
/// Where the store cannot be read.
pub fn worth(reader: &Reader<'_>, providers: &[String], window: (i64, i64)) -> Result<Vec<Worth>, ControlError> {
    worth_by(reader, providers, window, Step::for_length(window.1 - window.0))
}

/// As [`worth`], from what is kept by `step`: whole ones of these are joined.
///
/// # Errors
/// Where the store cannot be read.
pub(crate) fn worth_by(
    reader: &Reader<'_>,
    providers: &[String],
    window: (i64, i64),
    step: Step,
) -> Result<Vec<Worth>, ControlError> {
    let watch = Watch::read(reader, window, step)?;
    providers.iter().map(|cdn| one(reader, cdn, window, step, watch.as_ref())).collect()
}

fn one(
    reader: &Reader<'_>,
    cdn: &str,
    asked: (i64, i64),
    step: Step,
    watch: Option<&Watch>,
) -> Result<Worth, ControlError> {
    let settled_until = settled(reader, cdn)?;
    let window = (asked.0, settled_until.map_or(asked.1, |settled| settled.min(asked.1)).max(asked.0));
    let read = |figure| reader.points(figure, Some(cdn), window, step);
    let edge = |figure| read(figure).map(preferred);
    let [requests, bytes, hits, misses, origin] = [
        edge(figures::EDGE_REQUESTS)?,
        edge(figures::EDGE_BYTES)?,
        edge(figures::EDGE_HITS)?,
        edge(figures::EDGE_MISSES)?,
        edge(figures::EDGE_ORIGIN_REQUESTS)?,
    ];
    let sampling = edge(figures::EDGE_SAMPLING)?;
    let (pulls, pull_bytes) = (added(&read(figures::PULLS)?), added(&read(figures::PULL_BYTES)?));

    let join = |edge: &[Series], ours: &Points| {
        let grain = edge.iter().map(|series| i64::from(series.grain)).max().unwrap_or(60).max(step.seconds());
        let edge = added(edge);
        settled_until.and_then(|_| join::join(&edge, ours, grain, step, window, watch))
    };
    let by_requests = join(&requests, &pulls);
    let by_bytes = join(&bytes, &pull_bytes);
    let by_origin = join(&origin, &pulls);
    // Hits and misses are counted on the buckets that the offload speaks of, so that the two can be laid side by side.
    let of_joined = |series: &[Series]| match &by_requests {
        Some(joined) => sum(added(series).range(..).filter(|(at, _)| joined.holds(**at)).map(|(_, value)| *value)),
        None => sum(added(series).into_values()),
    };
    let (hits_sum, misses_sum) = (of_joined(&hits), of_joined(&misses));
    let known = |joined: Option<f64>, points: &Points| joined.or_else(|| sum(points.values().copied()));
    Ok(Worth {
        cdn: cdn.into(),
        window,
        settled_until,
        joined_seconds: by_requests.as_ref().map_or(0, |joined| joined.seconds()),
        pulls: known(by_requests.as_ref().map(|joined| joined.ours), &pulls),
        pull_bytes: known(by_bytes.as_ref().map(|joined| joined.ours), &pull_bytes),
        edge_requests: known(by_requests.as_ref().map(|joined| joined.edge), &added(&requests)),
        edge_bytes: known(by_bytes.as_ref().map(|joined| joined.edge), &added(&bytes)),
        hits: hits_sum,
        misses: misses_sum,
        offload: by_requests.as_ref().and_then(|joined| spared(joined.ours, joined.edge)),
        byte_offload: by_bytes.as_ref().and_then(|joined| spared(joined.ours, joined.edge)),
        hit_ratio: ratio(hits_sum, misses_sum),
        vendor_origin_requests: by_origin.as_ref().map(|joined| joined.edge),
        disagreement: by_origin.as_ref().and_then(|joined| apart(joined.ours, joined.edge)),
        is_certain: by_origin.as_ref().is_some_and(|joined| {
            let one_of = sampling.iter().flat_map(|series| &series.points).map(|(_, n)| *n).fold(1.0, f64::max);
            (joined.edge - joined.ours).abs() > 3.0 * (joined.edge.max(joined.ours) * one_of).sqrt()
        }),
        properties: properties(&requests, &bytes, &hits, &misses),
    })
}

/// Until when a provider's edge figures change no more; whoever collects them writes it with them.
///
/// # Errors
/// Where the store cannot be read.
pub fn settled(reader: &Reader<'_>, cdn: &str) -> Result<Option<i64>, ControlError> {
    Ok(reader.checkpoint(&format!("edge_settled/{cdn}"))?.and_then(|text| text.parse().ok()))
}

/// Each provider's part of the whole.
///
/// # Errors
/// Where the store cannot be read.
pub fn shares(reader: &Reader<'_>, providers: &[String], window: (i64, i64)) -> Result<Vec<Share>, ControlError> {
    shares_by(reader, providers, window, Step::for_length(window.1 - window.0))
}

/// As [`shares`], from what is kept by `step`.
///
/// # Errors
/// Where the store cannot be read.
pub(crate) fn shares_by(
    reader: &Reader<'_>,
    providers: &[String],
    window: (i64, i64),
    step: Step,
) -> Result<Vec<Share>, ControlError> {
    // A share of the edge compares providers, so all are counted up to where the slowest is settled.
    let mut settled_until = window.1;
    for cdn in providers {
        settled_until = settled(reader, cdn)?.map_or(settled_until, |settled| settled.min(settled_until));
    }
    let edge_window = (window.0, settled_until.max(window.0));
    let totals = |figure: &Figure, window| -> Result<Vec<Option<f64>>, ControlError> {
        providers
            .iter()
            .map(|cdn| {
                let series = preferred(reader.points(figure, Some(cdn), window, step)?);
                Ok(sum(series.into_iter().flat_map(|series| series.points).map(|(_, value)| value)))
            })
            .collect()
    };
    let part = |totals: &[Option<f64>], index: usize| {
        let all: f64 = totals.iter().flatten().sum();
        totals[index].filter(|_| all > 0.0).map(|own| own / all)
    };
    let pulls = totals(figures::PULLS, window)?;
    let edge = totals(figures::EDGE_REQUESTS, edge_window)?;
    let users = totals(figures::USER_PAGES, window)?;
    let share = |(index, cdn): (usize, &String)| Share {
        cdn: cdn.clone(),
        of_pulls: part(&pulls, index),
        of_edge: part(&edge, index),
        of_users: part(&users, index),
    };
    Ok(providers.iter().enumerate().map(share).collect())
}

/// Who disagrees with us by more than `threshold`, and by more than chance.
pub fn disagreements(worths: &[Worth], threshold: f64) -> Vec<Disagreement> {
    let apart = worths.iter().filter(|worth| worth.is_certain);
    apart
        .filter_map(|worth| {
            let by = worth.disagreement.filter(|by| by.abs() > threshold)?;
            let means = if by > 0.0 {
                "it asks the origin more often than its pulls reach us: pulls bypass this proxy, or come without its tag"
            } else {
                "more pulls carry its tag than it makes: somebody else uses the tag, or a service of it is not asked about"
            };
            Some(Disagreement { cdn: worth.cdn.clone(), by, means })
        })
        .collect()
}

/// The API's series where there are any, else the log stream's.
pub(crate) fn preferred(series: Vec<Series>) -> Vec<Series> {
    let (stream, api): (Vec<_>, Vec<_>) = series.into_iter().partition(|series| series.label == STREAM);
    if api.is_empty() { stream } else { api }
}

pub(crate) fn added(series: &[Series]) -> Points {
    let mut points = BTreeMap::new();
    for (at, value) in series.iter().flat_map(|series| &series.points) {
        *points.entry(*at).or_default() += value;
    }
    points
}

/// `None` for no values at all, which is not 0.
fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn spared(ours: f64, edge: f64) -> Option<f64> {
    (edge > 0.0).then(|| 1.0 - ours / edge)
}

fn ratio(hits: Option<f64>, misses: Option<f64>) -> Option<f64> {
    let (hits, misses) = (hits?, misses?);
    (hits + misses > 0.0).then(|| hits / (hits + misses))
}

fn apart(ours: f64, vendors: f64) -> Option<f64> {
    let greater = ours.max(vendors);
    (greater > 0.0).then(|| (vendors - ours) / greater)
}

fn properties(requests: &[Series], bytes: &[Series], hits: &[Series], misses: &[Series]) -> Vec<Property> {
    let of = |all: &[Series], name: &str| {
        let own = all.iter().filter(|series| series.label == name).flat_map(|series| &series.points);
        sum(own.map(|(_, value)| *value))
    };
    let property = |name: &String| Property {
        name: name.clone(),
        edge_requests: of(requests, name),
        edge_bytes: of(bytes, name),
        hit_ratio: ratio(of(hits, name), of(misses, name)),
    };
    requests.iter().map(|series| property(&series.label)).collect()
}
