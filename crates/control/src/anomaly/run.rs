//! Feeds the judgement from the store, minute by minute; publishes what departs, and writes beginnings and ends as events.

use super::book::{Book, Change};
use super::detector::{Detector, Reading};
use super::measures::{self, Measure};
use super::parties::blame;
use super::series::{self, Line};
use super::{ALL, Departure, Known};
use crate::service::now;
use crate::store::{Batch, Event};
use crate::{Context, ControlError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for minutes that are over.
const EVERY: Duration = Duration::from_secs(20);
/// What was before is read again after a start, so that the sums are where they would be.
const WARM_UP: i64 = 6 * 3600;
/// So many times as late as is usual: what says nothing for longer says nothing any more.
const SILENCE: i64 = 10;
/// Vendors are waited for for so long, in seconds; what settles later is not judged.
const LONGEST_WAIT: i64 = 4 * 3600;
/// The checkpoint: what departs.
const OPEN: &str = "anomalies";

/// Judges for as long as it is polled.
pub(crate) async fn run(context: Arc<Context>) {
    let mut judge = match open(&context).await {
        Ok(open) => Judge::with(open),
        Err(error) => {
            tracing::error!(%error, "what departed before the start is not known");
            Judge::with(Vec::new())
        }
    };
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        // A copy: what could not be written down is judged again.
        let mut next = judge.clone();
        match next.look(&context, now()).await {
            Ok(()) => judge = next,
            Err(error) => tracing::error!(%error, "anomalies cannot be judged; it is tried again"),
        }
    }
}

/// What departed when we were ended.
async fn open(context: &Context) -> Result<Vec<Departure>, ControlError> {
    let kept = context.store.read(|reader| reader.checkpoint(OPEN)).await?;
    let kept: Value = kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default();
    Ok(kept.as_array().into_iter().flatten().filter_map(departure).collect())
}

fn departure(kept: &Value) -> Option<Departure> {
    Some(Departure {
        cdn: kept["cdn"].as_str()?.into(),
        figure: measures::named(kept["figure"].as_str()?)?.name,
        since: kept["since"].as_i64()?,
        now: kept["now"].as_f64()?,
        expected: kept["expected"].as_f64()?,
        score: kept["score"].as_f64()?,
        reason: kept["reason"].as_str()?.into(),
    })
}

/// One provider's series of one measure.
#[derive(Clone)]
struct Watched {
    detector: Detector,
    /// The last bucket that had a point, and what it said.
    point: i64,
    reading: Option<(Reading, &'static str)>,
}

#[derive(Clone)]
struct Judge {
    book: Book,
    watched: BTreeMap<&'static str, BTreeMap<String, Watched>>,
    /// The last minute that any measure was judged in.
    judged: Option<i64>,
}

impl Judge {
    /// One that knows nothing but what departs already.
    fn with(open: Vec<Departure>) -> Self {
        Self { book: Book::with(open), watched: BTreeMap::new(), judged: None }
    }

    /// Judges the minutes that are over since the last look.
    async fn look(&mut self, context: &Context, now: i64) -> Result<(), ControlError> {
        let providers: Vec<String> = context.policy.providers.iter().map(|provider| provider.name.clone()).collect();
        let mut changes = Vec::new();
        for measure in measures::ALL {
            let until = (now - measure.late).div_euclid(60) * 60 - 60;
            // Who waits for his vendor longest says where it goes on; who is silent altogether is not waited for.
            let points = self.watched.get(measure.name).into_iter().flatten().map(|(_, watched)| watched.point + 60);
            let from = points.min().map_or(until - WARM_UP, |point| point.max(until - LONGEST_WAIT));
            if from > until {
                continue;
            }
            let names = providers.clone();
            let lines = context.store.read(move |reader| series::read(reader, measure, &names, (from, until))).await?;
            if !lines.is_empty() {
                changes.extend(self.advance(measure, &lines, (from, until)));
            }
        }
        let open = self.book.open();
        let mut batch = Batch::default();
        for change in changes {
            batch.event(event(change, now));
        }
        let known = context.departures.read();
        if !batch.is_empty() || known.departures != open {
            let kept: Vec<Value> = open.iter().map(Departure::to_json).collect();
            batch.checkpoint(OPEN, Some(Value::from(kept).to_string()));
            context.store.write(batch).await?;
        }
        context.departures.publish(Known { judged: self.judged, departures: open });
        Ok(())
    }

    /// Steps through the minutes of one measure, all providers beside each other.
    fn advance(
        &mut self,
        measure: &'static Measure,
        lines: &BTreeMap<String, Line>,
        (from, until): (i64, i64),
    ) -> Vec<Change> {
        // After a start minutes are gone through that were judged before; what they said then is in the book.
        let grain = lines.values().map(|line| line.grain).max().unwrap_or(60);
        let judged_from = if self.watched.contains_key(measure.name) { from } else { until + 60 - 2 * grain };
        let watched = self.watched.entry(measure.name).or_default();
        let mut changes = Vec::new();
        let mut at = from;
        while at <= until {
            let mut moved = false;
            for (cdn, line) in lines {
                let one = watched.entry(cdn.clone()).or_insert_with(|| Watched {
                    detector: Detector::new(measure.nature, measure.matters),
                    point: from - line.grain,
                    reading: None,
                });
                // A bucket is judged when it is over.
                let bucket = at + 60 - line.grain;
                let is_next = bucket.rem_euclid(line.grain) == 0 && bucket > one.point;
                if let Some(minute) = is_next.then(|| line.point(bucket)).flatten() {
                    one.reading = line
                        .expected(bucket, minute.of)
                        .map(|past| (one.detector.step(bucket, minute, past.expected), past.from));
                    one.point = bucket;
                    moved = true;
                } else if bucket - one.point > SILENCE * measure.late + line.grain {
                    one.reading = None;
                }
            }
            if moved && at >= judged_from {
                self.judged = self.judged.max(Some(at));
                changes.extend(self.book.judge(measure.name, found(measure, watched)));
            }
            at += 60;
        }
        changes
    }
}

/// Whose departures there are, in words.
fn found(measure: &'static Measure, watched: &BTreeMap<String, Watched>) -> Vec<Departure> {
    let known: Vec<_> =
        watched.iter().filter_map(|(cdn, one)| one.reading.map(|(reading, from)| (cdn, reading, from))).collect();
    let readings: Vec<Reading> = known.iter().map(|(_, reading, _)| *reading).collect();
    let blamed = blame(&readings, measure.matters);
    let tell = |blamed: super::parties::Blamed| {
        let (cdn, reading, from) = match blamed.whom {
            Some(index) => (known[index].0.as_str(), known[index].1, known[index].2),
            None => {
                let first = known
                    .iter()
                    .find(|(_, reading, _)| reading.away.is_some_and(|away| away.direction == blamed.away.direction));
                let (_, reading, from) = first?;
                (ALL, *reading, *from)
            }
        };
        let (now, expected) = (measure.shown(reading.now), measure.shown(reading.expected));
        let who = if blamed.whom.is_none() { "all providers" } else { cdn };
        let others = if blamed.whom.is_some() && known.len() > 1 { "; the others stay" } else { "" };
        let reason = format!(
            "{} of {who}: {}, where {} is normal by {from}{others}",
            measure.title,
            measure.text(now),
            measure.text(expected),
        );
        Some(Departure {
            cdn: cdn.into(),
            figure: measure.name,
            since: blamed.away.since,
            now,
            expected,
            score: blamed.away.score,
            reason,
        })
    };
    blamed.into_iter().filter_map(tell).collect()
}

fn event(change: Change, now: i64) -> Event {
    let (at, tag, text) = match change {
        Change::Begins(departure) => (departure.since, "begins", departure.reason),
        Change::Ends(departure) => {
            let measure = measures::named(departure.figure);
            let title = measure.map_or(departure.figure, |measure| measure.title);
            (now, "ends", format!("{title} of {} is normal again", departure.cdn))
        }
    };
    Event { at, kind: "incident".into(), tag: tag.into(), text, who: "headwater".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::PULLS;
    use crate::store::Key;

    const DAY: i64 = 86_400;

    fn context(folder: &tempfile::TempDir) -> Context {
        let store = folder.path().join("history.db");
        let providers: String = ["fastly", "akamai", "bunny"]
            .map(|name| format!("[[cdn]]\nname = \"{name}\"\nkind = \"generic\"\nnetworks = [\"127.0.0.0/8\"]\n"))
            .concat();
        let text =
            format!("[origin]\nservers = [\"127.0.0.1:1\"]\n{providers}[control]\nstore = \"{}\"\n", store.display());
        let (policy, mistakes) = headwater_config::from_text("test", &text);
        let policy = policy.unwrap_or_else(|| panic!("{}", mistakes[0]));
        Context::open(policy).unwrap()
    }

    /// Pulls of earlier days and weeks, and of today until `now`: `fastly` falls to a third after `since`.
    async fn fill(context: &Context, now: i64, since: i64) {
        let mut batch = Batch::default();
        for (cdn, rate) in [("fastly", 600.0), ("akamai", 300.0), ("bunny", 90.0)] {
            for days in [0, 1, 2, 3, 4, 5, 6, 7, 14, 21, 28] {
                let end = now - days * DAY + if days == 0 { 0 } else { 1200 };
                for at in (now - days * DAY - 8 * 3600..end).step_by(60) {
                    let fell = cdn == "fastly" && days == 0 && at >= since;
                    batch.set(Key::new(PULLS, cdn, ""), at, if fell { rate / 3.0 } else { rate });
                }
            }
        }
        context.store.write(batch).await.unwrap();
    }

    #[tokio::test]
    async fn a_provider_that_falls_is_told_of_once_with_the_moment_at_which_it_fell() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(&folder);
        let now = now().div_euclid(60) * 60;
        let since = now - 30 * 60;
        fill(&context, now, since).await;
        let mut judge = Judge::with(open(&context).await.unwrap());
        judge.look(&context, now).await.unwrap();
        judge.look(&context, now + 20).await.unwrap();
        let known = context.departures.read();
        assert_eq!(known.judged, Some(now - 120), "the last minute that is over for a minute");
        let [departure] = &known.departures[..] else { panic!("{known:?}") };
        assert_eq!((departure.cdn.as_str(), departure.figure, departure.since), ("fastly", "pulls", since));
        assert_eq!((departure.now, departure.expected), (200.0, 600.0));
        assert_eq!(
            departure.reason,
            "pulls of fastly: 200 a minute, where 600 a minute is normal by earlier weeks; the others stay"
        );
        // Another process goes on where this one stood.
        let mut next = Judge::with(open(&context).await.unwrap());
        next.look(&context, now + 40).await.unwrap();
        let events = context.store.read(|reader| reader.events((0, i64::MAX))).await.unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.at, event.kind.as_str(), event.tag.as_str())).collect();
        assert_eq!(told, [(since, "incident", "begins")]);
    }
}
