//! `GET /api/users`: users' timings and shares, for scripts.

use super::percentiles::step;
use super::{Share, Timing, percentiles, shares};
use crate::service::now;
use crate::store::Reader;
use crate::web::answer::{self, Answer};
use crate::{Context, ControlError, figures};
use headwater_config::units;
use http::StatusCode;
use serde_json::{Map, Value, json};

/// Longer than anything is kept.
const LONGEST: u64 = 3650 * 86_400;

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Question {
    /// Seconds back from now.
    window: i64,
    country: Option<String>,
}

impl Question {
    fn read(query: &str) -> Result<Self, String> {
        let mut question = Self { window: 3600, country: None };
        for (name, value) in
            query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
        {
            match name {
                "window" => {
                    let window = units::duration(value).map_err(|remedy| format!("window: {remedy}"))?;
                    question.window = window.as_secs().clamp(60, LONGEST) as i64;
                }
                "country" => question.country = Some(value.to_string()),
                other => return Err(format!("there is no `{other}`: window=1h and country=DE are")),
            }
        }
        Ok(question)
    }
}

/// Answers it.
pub(crate) async fn users(context: &Context, query: Option<&str>) -> Answer {
    let question = match Question::read(query.unwrap_or_default()) {
        Ok(question) => question,
        Err(remedy) => return answer::text(StatusCode::BAD_REQUEST, remedy + "\n"),
    };
    let until = now() + 1;
    match context.store.read(move |reader| tell(reader, &question, until)).await {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(error) => {
            tracing::error!(%error, "cannot read users' timings");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the store cannot be read\n")
        }
    }
}

fn tell(reader: &Reader<'_>, question: &Question, until: i64) -> Result<Value, ControlError> {
    let window = (until - question.window, until);
    let country = question.country.as_deref();
    let mut providers = Map::new();
    for Share { cdn, pages, share } in shares(reader, country, window)? {
        let mut provider = Map::new();
        provider.insert("pages".into(), pages.into());
        provider.insert("share".into(), share.into());
        for timing in Timing::ALL {
            if let Some(found) = percentiles(reader, timing, Some(&cdn), country, window)? {
                let found = json!({ "p50": found.p50, "p75": found.p75, "p95": found.p95, "n": found.n });
                provider.insert(timing.name().into(), found);
            }
        }
        providers.insert(cdn, provider.into());
    }
    let step = step(question.window);
    let from = window.0.div_euclid(step.seconds()) * step.seconds();
    let refused = reader.points(figures::USER_REFUSED, None, (from, until), step)?;
    let refused: Map<String, Value> = refused
        .into_iter()
        .map(|series| (series.label, series.points.iter().map(|(_, times)| times).sum::<f64>().into()))
        .collect();
    Ok(json!({ "from": window.0, "until": until, "country": country, "cdn": providers, "refused": refused }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_or_told_what_is_wrong() {
        let read = |query| Question::read(query).map(|question| (question.window, question.country));
        assert_eq!(read(""), Ok((3600, None)));
        assert_eq!(read("window=2d&country=DE"), Ok((172_800, Some("DE".into()))));
        assert!(read("window=soon").is_err());
        assert!(read("windows=1h").unwrap_err().contains("windows"));
    }
}
