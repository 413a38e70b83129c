//! What is kept, for the dashboard and for scripts.

use super::answer::{self, Answer};
use super::query::{Query, failed, wrong};
use crate::figures::Roll;
use crate::overview::{measures, overview};
use crate::service::now;
use crate::store::{Reader, Series, Stretch};
use crate::{Context, ControlError};
use hyper::StatusCode;
use serde_json::{Value, json};

/// Series of one answer.
const MOST_SERIES: usize = 200;
/// Changes of one answer.
const MOST_CHANGES: u32 = 500;

/// `GET /api/points?figure=&cdn=&label=&by=&from=&until=&step=`: every series of a figure. `by=cdn` adds up what differs by
/// label alone.
pub(crate) async fn points(context: &Context, query: Option<&str>) -> Answer {
    let query = Query::of(query);
    let question = || -> Result<_, String> {
        let range = query.range(now())?;
        Ok((query.figure()?, range, query.step(range)?))
    };
    let (figure, range, (width, step)) = match question() {
        Ok(question) => question,
        Err(why) => return wrong(why),
    };
    let cdn = query.get("cdn").map(String::from);
    let label = query.get("label").map(String::from);
    let by_cdn = query.get("by").is_some_and(|by| by == "cdn");
    let over = Stretch::new(range, width, step);
    let found = context.store.read(move |reader| {
        let cdn = cdn.as_deref();
        let with_label = |found: &str| label.as_deref().is_none_or(|label| label == found);
        Ok(if figure.roll == Roll::Sketch {
            let all =
                if by_cdn { reader.distributions(figure, cdn, over)? } else { reader.labelled(figure, cdn, over)? };
            let quantile = |at: i64, sketch: &crate::sketch::Sketch| {
                json!([at, sketch.quantile(0.5), sketch.quantile(0.95), sketch.count()])
            };
            listed(all, with_label, quantile)
        } else {
            let all = if by_cdn { reader.sums(figure, cdn, over)? } else { reader.labels(figure, cdn, over)? };
            listed(all, with_label, |at, value: &f64| json!([at, value]))
        })
    });
    match found.await {
        Err(error) => failed(&error),
        Ok((series, left_off)) => answer::json(
            StatusCode::OK,
            &json!({
                "figure": figure.name,
                "label": figure.label,
                "points": if figure.roll == Roll::Sketch { json!(["at", "p50", "p95", "n"]) } else { json!(["at", "value"]) },
                "from": over.from,
                "until": range.1,
                "step": over.width,
                "series": series,
                "left_off": left_off,
            }),
        ),
    }
}

/// The series as they are answered, and how many are not.
fn listed<T>(
    all: Vec<Series<T>>,
    with_label: impl Fn(&str) -> bool,
    point: impl Fn(i64, &T) -> Value,
) -> (Vec<Value>, usize) {
    let wanted: Vec<_> = all.into_iter().filter(|series| with_label(&series.label)).collect();
    let left_off = wanted.len().saturating_sub(MOST_SERIES);
    let series = wanted.into_iter().take(MOST_SERIES).map(|series| {
        let points: Vec<Value> = series.points.iter().map(|(at, value)| point(*at, value)).collect();
        json!({ "cdn": series.cdn, "label": series.label, "grain": series.grain, "points": points })
    });
    (series.collect(), left_off)
}

/// `GET /api/totals?figure=&cdn=&from=&until=`: the sum of each series, the greatest first.
pub(crate) async fn totals(context: &Context, query: Option<&str>) -> Answer {
    let query = Query::of(query);
    let question = || -> Result<_, String> {
        let range = query.range(now())?;
        Ok((query.figure()?, range, query.step(range)?))
    };
    let (figure, range, (_, step)) = match question() {
        Ok(question) => question,
        Err(why) => return wrong(why),
    };
    if figure.roll != Roll::Sum {
        return wrong(format!("{} does not add up; ask /api/points for it", figure.name));
    }
    let cdn = query.get("cdn").map(String::from);
    match context.store.read(move |reader| reader.totals(figure, cdn.as_deref(), range, step)).await {
        Err(error) => failed(&error),
        Ok(all) => {
            let left_off = all.len().saturating_sub(MOST_SERIES);
            let totals: Vec<Value> = all
                .into_iter()
                .take(MOST_SERIES)
                .map(|(cdn, label, value)| json!({ "cdn": cdn, "label": label, "value": value }))
                .collect();
            let answer = json!({ "figure": figure.name, "from": range.0, "until": range.1, "totals": totals, "left_off": left_off });
            answer::json(StatusCode::OK, &answer)
        }
    }
}

/// `GET /api/overview?from=&until=`: is it us, or is it one of them?
pub(crate) async fn overview_of(context: &Context, query: Option<&str>) -> Answer {
    let range = match Query::of(query).range(now()) {
        Ok(range) => range,
        Err(why) => return wrong(why),
    };
    let configured: Vec<String> = context.policy.providers.iter().map(|provider| provider.name.clone()).collect();
    let known = context.departures.read();
    let found = context.store.read(move |reader: &Reader<'_>| -> Result<Value, ControlError> {
        overview(reader, &configured, range, &known)
    });
    match found.await {
        Ok(overview) => answer::json(StatusCode::OK, &overview),
        Err(error) => failed(&error),
    }
}

/// `GET /api/measures?cdn=&from=&until=`: what the overview says of a provider, over time.
pub(crate) async fn measures_of(context: &Context, query: Option<&str>) -> Answer {
    let query = Query::of(query);
    let range = match query.range(now()) {
        Ok(range) => range,
        Err(why) => return wrong(why),
    };
    let Some(cdn) = query.get("cdn").map(String::from) else {
        return wrong("cdn names a provider".into());
    };
    match context.store.read(move |reader| measures(reader, &cdn, range)).await {
        Ok(measures) => answer::json(StatusCode::OK, &measures),
        Err(error) => failed(&error),
    }
}

/// `GET /api/audit`: who changed what, the newest first.
pub(crate) async fn audit(context: &Context) -> Answer {
    match context.store.read(|reader| reader.changes(MOST_CHANGES)).await {
        Err(error) => failed(&error),
        Ok(changes) => {
            let changes: Vec<Value> = changes
                .into_iter()
                .map(|change| json!({ "at": change.at, "who": change.who, "what": change.what, "detail": change.detail }))
                .collect();
            answer::json(StatusCode::OK, &json!({ "changes": changes }))
        }
    }
}
