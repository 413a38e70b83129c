//! `/api/check`: one figure, now, for who asks whether all is well.

use super::answer::{self, Answer};
use crate::alert::{self, Checked, Measured};
use crate::service::now;
use crate::{Context, ControlError};
use http::StatusCode;
use serde_json::json;

/// `GET /api/check?figure=beacons&cdn=fastly&over=300`: what is known is a 200 with `value`, what is not one with `unknown`.
pub(crate) async fn answer(context: &Context, query: Option<&str>) -> Answer {
    let (mut figure, mut cdn, mut over) = (None, None, None);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "figure" => figure = Checked::named(&value),
            "cdn" => cdn = Some(value.into_owned()),
            "over" => over = value.parse::<i64>().ok(),
            _ => return answer::text(StatusCode::BAD_REQUEST, "figure, cdn and over are known\n"),
        }
    }
    let Some(checked) = figure else {
        let names: Vec<_> = alert::ALL.iter().map(|(name, _)| *name).collect();
        return answer::text(StatusCode::BAD_REQUEST, format!("figure is one of {}\n", names.join(", ")));
    };
    match find(context, checked, cdn, over.unwrap_or_else(|| checked.usual_window())).await {
        Ok(Ok(measured)) => answer::json(StatusCode::OK, &measured.to_json()),
        Ok(Err(why)) => answer::json(StatusCode::OK, &json!({ "unknown": why })),
        Err(error) => {
            tracing::error!(%error, "the store fails");
            answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
        }
    }
}

async fn find(
    context: &Context,
    checked: Checked,
    cdn: Option<String>,
    over: i64,
) -> Result<Result<Measured, String>, ControlError> {
    let now = now();
    let providers: Vec<String> = context.policy.providers.iter().map(|provider| provider.name.clone()).collect();
    if let Some(unknown) = cdn.as_ref().filter(|cdn| !providers.contains(cdn)) {
        return Ok(Err(format!("no [[cdn]] is called {unknown}")));
    }
    if checked == Checked::Anomalies {
        return Ok(alert::anomalies(&context.departures.read(), cdn.as_deref()));
    }
    context.store.read(move |reader| alert::measure(reader, checked, &providers, cdn.as_deref(), over, now)).await
}

/// What is judged, for `GET /metrics`.
pub(super) async fn gauges(context: &Context) -> Result<String, ControlError> {
    let providers: Vec<String> = context.policy.providers.iter().map(|provider| provider.name.clone()).collect();
    let known = context.departures.read();
    context.store.read(move |reader| alert::gauges::text(reader, &providers, &known, now())).await
}
