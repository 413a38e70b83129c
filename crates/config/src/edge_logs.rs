//! `[cdn.logs]`: the log stream that a CDN pushes to the control plane.

use crate::providers::Kind;
use crate::reader::{At, Table};
use crate::secret::{self, Secret};
use crate::source::Mistake;
use std::time::Duration;

/// The shape of a stream's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// Fastly's real-time logs.
    Fastly,
    /// Cloudflare's Logpush.
    Cloudflare,
    /// Akamai's DataStream 2.
    DataStream2,
    /// CloudFront's standard and real-time logs.
    CloudFront,
    /// One JSON object a line.
    Ndjson,
}

/// A field of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineField {
    /// One of `ROLES`, where it was written.
    pub role: Option<&'static str>,
    /// As the line, or the order of its columns, has it.
    pub name: String,
}

/// What a field can be said to be.
pub const ROLES: [&str; 7] = ["time", "host", "status", "bytes", "cache", "shield", "id"];

/// A log stream.
#[derive(Clone, Debug)]
pub struct EdgeLogs {
    /// Who pushes knows it.
    pub token: Secret,
    /// The shape of the lines.
    pub format: LineFormat,
    /// The order of the columns, and names that are not the usual ones.
    pub fields: Vec<LineField>,
    /// The ids of the Fastly services that may push here; empty: any, if it has the token.
    pub services: Vec<String>,
    /// How long after a minute's end its last lines come.
    pub lateness: Duration,
    /// The share of requests of which there are lines.
    pub sampled: f64,
    /// Bytes of a body as it comes.
    pub max_body: u64,
    /// Bytes of a body without its compression.
    pub max_text: u64,
}

const FORMATS: [(&str, Option<LineFormat>); 6] = [
    ("auto", None),
    ("fastly", Some(LineFormat::Fastly)),
    ("cloudflare", Some(LineFormat::Cloudflare)),
    ("datastream2", Some(LineFormat::DataStream2)),
    ("cloudfront", Some(LineFormat::CloudFront)),
    ("ndjson", Some(LineFormat::Ndjson)),
];
const MIB: u64 = 1 << 20;
/// More than any vendor has.
const MOST_FIELDS: usize = 250;
/// A shorter one may be guessed.
const SHORTEST: usize = 16;

/// Reads `[cdn.logs]` of a provider of this kind.
pub(crate) fn read(table: Table<'_>, kind: Option<Kind>) -> Option<EdgeLogs> {
    let token = table.string("token", "\"env:FASTLY_LOGS_TOKEN\"");
    if token.is_none() && !table.has("token") {
        table.mistake(Mistake::at(
            &table.place,
            "anybody could push logs for this provider",
            "add token = \"env:NAME\", for example the output of `openssl rand -hex 32`",
        ));
    }
    let token = token.and_then(|text| {
        let token = secret::resolve(&text, "the token of a log stream", table.mistakes())?;
        if token.expose().len() < SHORTEST {
            table.mistake(Mistake::warning(
                &text.place,
                format!("this token is shorter than {SHORTEST} characters and may be guessed"),
                "use the output of `openssl rand -hex 32`",
            ));
        }
        Some(token)
    });
    let format = table.one_of("format", &FORMATS).flatten().unwrap_or(match kind {
        Some(Kind::Fastly) => LineFormat::Fastly,
        Some(Kind::Cloudflare) => LineFormat::Cloudflare,
        Some(Kind::Akamai) => LineFormat::DataStream2,
        Some(Kind::CloudFront) => LineFormat::CloudFront,
        _ => LineFormat::Ndjson,
    });
    let written = table.strings("fields", "[\"time=ts\", \"cache=cache_status\"]").unwrap_or_default();
    let fields = read_fields(&table, &written, format);
    let services = table.strings("services", "[\"SU1Z0isxPaozGVKXdv0eY\"]").unwrap_or_default();
    if let Some(service) = services.first().filter(|_| format != LineFormat::Fastly) {
        table.mistake(Mistake::at(
            &service.place,
            "services are Fastly's, and these lines are not",
            "leave services out, or write format = \"fastly\"",
        ));
    }
    let sampled = table.share("sampled").unwrap_or(1.0);
    if sampled <= 0.0 {
        table.mistake(Mistake::at(
            &table.place_of("sampled"),
            "a stream of no requests tells nothing",
            "write the share of requests that the vendor logs, for example 0.1",
        ));
    }
    let logs = EdgeLogs {
        format,
        fields,
        services: services.into_iter().map(|service| service.value).collect(),
        lateness: table.duration("lateness").unwrap_or(Duration::from_secs(300)),
        sampled,
        max_body: table.size("max_body", 1024..=1024 * MIB).unwrap_or(32 * MIB),
        max_text: table.size("max_text", 1024..=16 * 1024 * MIB).unwrap_or(256 * MIB),
        token: match token {
            Some(token) => token,
            None => {
                table.done();
                return None;
            }
        },
    };
    table.done();
    Some(logs)
}

fn read_fields(table: &Table<'_>, written: &[At<String>], format: LineFormat) -> Vec<LineField> {
    let has_columns = matches!(format, LineFormat::CloudFront | LineFormat::DataStream2);
    let mut fields: Vec<LineField> = Vec::new();
    for field in written {
        let (role, name) = match field.value.split_once('=') {
            Some((role, name)) => (Some(role.trim()), name.trim()),
            None => (None, field.value.trim()),
        };
        let known = role.map(|role| ROLES.into_iter().find(|known| *known == role));
        let mistake = |what: String, remedy: String| table.mistake(Mistake::at(&field.place, what, remedy));
        match known {
            Some(None) => {
                mistake(
                    format!("a field cannot be \"{}\"", role.unwrap_or_default()),
                    format!("write one of {} before the =", ROLES.join(", ")),
                );
            }
            None if !has_columns => mistake(
                format!("nothing says what \"{name}\" is"),
                format!("JSON has names and no order: write for example \"status={name}\""),
            ),
            _ if name.is_empty() => mistake("this field has no name".into(), "write for example \"time=ts\"".into()),
            _ => {
                let role = known.flatten();
                if role.is_some() && fields.iter().any(|other| other.role == role) {
                    mistake(format!("two fields are \"{}\"", role.unwrap_or_default()), "leave one of them out".into());
                }
                fields.push(LineField { role, name: name.into() });
            }
        }
    }
    if fields.len() > MOST_FIELDS {
        table.mistake(Mistake::at(
            &table.place_of("fields"),
            format!("more than {MOST_FIELDS} fields"),
            "write those that the vendor sends",
        ));
    }
    let is_time = |field: &LineField| {
        field.role == Some("time")
            || ["timestamp", "timestamp(ms)", "time", "reqTimeSec"].contains(&field.name.as_str())
    };
    if fields.iter().any(|field| field.role.is_none()) && !fields.iter().any(is_time) {
        table.mistake(Mistake::at(
            &table.place_of("fields"),
            "no column says when a request was, so that no line can be counted",
            "choose the field timestamp (CloudFront) or reqTimeSec (DataStream 2) at the vendor, and write it here",
        ));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDN: &str = "[origin]\nservers = [\"a:1\"]\n[[cdn]]\nname = \"c\"\nnetworks = [\"192.0.2.0/24\"]\n";

    fn said(kind: &str, logs: &str) -> Vec<String> {
        let (_, mistakes) = crate::from_text("t", &format!("{CDN}kind = \"{kind}\"\n[cdn.logs]\n{logs}\n"));
        mistakes.into_iter().map(|mistake| mistake.what).collect()
    }

    fn logs(kind: &str, logs: &str) -> EdgeLogs {
        let text = format!("{CDN}kind = \"{kind}\"\n[cdn.logs]\ntoken = \"0123456789abcdef\"\n{logs}\n");
        let (policy, mistakes) = crate::from_text("t", &text);
        assert!(mistakes.is_empty(), "{}", mistakes[0]);
        policy.unwrap().providers.remove(0).logs.unwrap()
    }

    #[test]
    fn the_kind_of_a_provider_says_what_its_lines_are() {
        assert_eq!(logs("akamai", "").format, LineFormat::DataStream2);
        assert_eq!(logs("bunny", "format = \"auto\"").format, LineFormat::Ndjson);
        assert_eq!(logs("generic", "format = \"cloudfront\"").format, LineFormat::CloudFront);
        let fields = logs("akamai", "fields = [\"reqId\", \"time=ts\"]").fields;
        assert_eq!(fields[0], LineField { role: None, name: "reqId".into() });
        assert_eq!(fields[1], LineField { role: Some("time"), name: "ts".into() });
        assert!(!format!("{:?}", logs("fastly", "")).contains("0123456789abcdef"));
    }

    #[test]
    fn a_stream_that_could_count_nothing_is_a_mistake() {
        let token = "token = \"0123456789abcdef\"\n";
        for (kind, written, expected) in [
            ("fastly", "", "anybody could push logs for this provider"),
            ("fastly", "token = \"short\"", "this token is shorter than 16 characters and may be guessed"),
            ("fastly", &format!("{token}fields = [\"x\"]"), "nothing says what \"x\" is"),
            ("fastly", &format!("{token}fields = [\"size=x\"]"), "a field cannot be \"size\""),
            ("fastly", &format!("{token}fields = [\"id=x\", \"id=y\"]"), "two fields are \"id\""),
            ("fastly", &format!("{token}fields = [\"id=\"]"), "this field has no name"),
            ("akamai", &format!("{token}services = [\"x\"]"), "services are Fastly's, and these lines are not"),
            (
                "cloudfront",
                &format!("{token}fields = [\"c-ip\"]"),
                "no column says when a request was, so that no line can be counted",
            ),
            ("fastly", &format!("{token}sampled = 0"), "a stream of no requests tells nothing"),
            ("fastly", &format!("{token}max_body = \"1 B\""), "`max_body` cannot be \"1 B\""),
        ] {
            assert_eq!(said(kind, written), [expected], "{written}");
        }
    }
}
