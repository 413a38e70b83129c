//! Forwarding: the request as the app sees it, the exchange with its one retry, and the answer without its hop-by-hop fields.

use crate::downstream::{Downstream, unless_gone};
use crate::failure::Failure;
use crate::fields::Fields;
use crate::forwarding::Origins;
use crate::http1::head::{Framing, Refusal, RequestHead, ResponseHead, Version};
use crate::live::{Guarded, Live};
use crate::pull::Pull;
use crate::response::{Body, Response};
use crate::upstream::{Exchange, OriginBody};
use std::io::Write;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long we wait for the origin's 100 before we give the client ours: an origin that knows none would wait for the body.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// Sends a pull to the origin and waits for the answer's head.
pub(crate) async fn forward(pull: &mut Pull<'_>, down: &mut Downstream<'_>) -> Result<Response, Failure> {
    let framing = pull.request.framing;
    let expects = expectation(pull.request)?;
    let upgrade = upgrade(pull);
    let may_repeat = framing == Framing::Empty && pull.request.is_idempotent();
    let mut fresh = false;
    loop {
        let live = pull.live.clone();
        let origin = &live.policy.origin;
        pull.asks();
        let acquiring = pull.worker.pool.acquire(&pull.live.servers, origin, fresh, !may_repeat);
        let acquired = unless_gone(down.incoming().as_mut(), acquiring).await.ok_or(Failure::DownstreamGone)?;
        let (connection, in_hand) = acquired?;
        let reused = connection.reused;
        let mut exchange = Exchange::new(connection, in_hand);
        pull.asked(exchange.server());
        let head = request_head(pull, exchange.server(), upgrade.as_deref(), expects);
        let sent = exchange.send_head(&head, pull.live.policy.limits.body_idle_timeout).await;
        let answer = match sent {
            Ok(()) => answer(pull, down, &mut exchange, framing, expects).await,
            // An origin that refuses to read may have said why.
            Err(_) => exchange.head(origin.response_timeout, None).await,
        };
        if let Err(failure) = answer {
            exchange.failed(failure, &live);
        }
        match answer {
            Ok(head) => return finish(pull, exchange, head, upgrade.is_some()),
            // The origin closed the resting connection just as the request was sent: nothing of it was read.
            Err(Failure::ClosedBeforeHead) if reused && may_repeat && !fresh && pull.worker.pool.may_retry(origin) => {
                fresh = true;
            }
            Err(failure) => {
                let incoming = down.incoming();
                *incoming = incoming.take().or_else(|| exchange.take_incoming());
                return Err(failure);
            }
        }
    }
}

/// Moves the body up and waits for the final head; passes every 1xx on.
async fn answer(
    pull: &Pull<'_>,
    down: &mut Downstream<'_>,
    exchange: &mut Exchange,
    framing: Framing,
    expects: bool,
) -> Result<ResponseHead, Failure> {
    let policy = &pull.live.policy;
    let (patience, idle) = (policy.origin.response_timeout, policy.limits.body_idle_timeout);
    let start = |exchange: &mut Exchange, down: &mut Downstream<'_>| {
        if let Some(incoming) = down.incoming().take() {
            // An app may put trailers among the headers: what is kept from it there must not come this way.
            let live = pull.live.clone();
            let kept_back = Box::new(move |name: &[u8]| live.guard.of(name) != Guarded::No);
            exchange.start_upload(incoming, framing, policy.limits.body_idle_timeout, kept_back);
        }
    };
    let mut held_back = expects && framing != Framing::Empty;
    if framing != Framing::Empty && !held_back {
        start(exchange, down);
    }
    let give_up = Instant::now() + CONTINUE_PATIENCE;
    loop {
        let head = if held_back {
            tokio::select! {
                head = exchange.head(patience, down.incoming().as_mut()) => head?,
                () = sleep(give_up.saturating_duration_since(Instant::now())) => {
                    down.send_interim(100, b"Continue", &Fields::default(), idle).await?;
                    held_back = false;
                    start(exchange, down);
                    continue;
                }
            }
        } else {
            exchange.head(patience, down.incoming().as_mut()).await?
        };
        match head.status {
            101 => return Ok(head),
            // The client has had its 100 already, or never asked for one.
            100 if !held_back => {}
            100 => {
                down.send_interim(100, b"Continue", &Fields::default(), idle).await?;
                held_back = false;
                start(exchange, down);
            }
            // HTTP/1.0 knows no interim answer.
            102..200 if pull.request.version != Version::Http10 => {
                let mut head = head;
                strip_response(&mut head.fields, |_| false);
                down.send_interim(head.status, head.reason(), &head.fields, idle).await?;
            }
            102..200 => {}
            _ => return Ok(head),
        }
    }
}

/// Whether the client waits for a 100. Any other expectation, and any other line of them, is one that nobody here knows.
fn expectation(request: &RequestHead) -> Result<bool, Failure> {
    let mut expected = request.fields.all("Expect");
    match (expected.next(), expected.next()) {
        (None, _) => Ok(false),
        (Some(one), None) if one.eq_ignore_ascii_case(b"100-continue") => Ok(request.version != Version::Http10),
        _ => Err(Failure::Refused(Refusal::Expectation)),
    }
}

/// The protocols to switch to, if the client asks for it. `h2c` would carry requests past us that nobody here has read.
fn upgrade(pull: &Pull<'_>) -> Option<Vec<u8>> {
    let fields = &pull.request.fields;
    if pull.request.version != Version::Http11
        || pull.request.framing != Framing::Empty
        || !fields.has_member("Connection", "upgrade")
    {
        return None;
    }
    let wanted: Vec<&[u8]> =
        fields.members("Upgrade").filter(|protocol| !protocol.to_ascii_lowercase().starts_with(b"h2")).collect();
    (!wanted.is_empty()).then(|| wanted.join(&b", "[..]))
}

/// The head as the app sees it. What any `Connection` line names is dropped before ours are set.
fn request_head(pull: &Pull<'_>, server: &str, upgrade: Option<&[u8]>, expects: bool) -> Vec<u8> {
    let (request, live) = (pull.request, &*pull.live);
    let fields = &request.fields;
    let asked_host = fields.get("Host");
    let kept_host = asked_host.filter(|_| live.policy.origin.preserve_host);
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(request.method().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(kept_host.unwrap_or_else(|| host_of(live, server).as_bytes()));
    out.extend_from_slice(b"\r\n");
    let proven = pull.asker.proven(&live.policy);
    let nominated: Vec<&[u8]> = fields.members("Connection").collect();
    for (name, value) in fields.iter() {
        let keep = match live.guard.of(name) {
            Guarded::No => true,
            Guarded::Always | Guarded::Trace => false,
            Guarded::UnlessProven => proven.is_some(),
            Guarded::ClientAddressOf(kind) => proven.is_some_and(|provider| provider.kind == kind),
            Guarded::Expect => expects,
            // RFC 9110, section 14.2: a server may ignore a list of many small ranges, and should.
            Guarded::Range => fields.members("Range").count() <= live.policy.limits.max_ranges,
        };
        if keep && !nominated.iter().any(|nominated| nominated.eq_ignore_ascii_case(name)) {
            write_line(&mut out, name, value);
        }
    }
    let (client, peer, scheme) = (pull.client, pull.caller.ip(), pull.caller.scheme());
    Origins { fields, proven: proven.is_some(), client, peer, scheme, host: asked_host }.write_to(&mut out);
    if let Some(provider) = proven {
        write_line(&mut out, live.policy.identify.header.as_bytes(), provider.name.as_bytes());
    }
    write_line(&mut out, b"X-Request-Id", pull.id.as_bytes());
    if let Some(trace) = &pull.trace {
        trace.write_to(&mut out, fields);
    }
    write_line(&mut out, b"Via", &[request.version.number(), b" headwater"].concat());
    match request.framing {
        Framing::Length(length) => {
            let _ = write!(out, "Content-Length: {length}\r\n");
        }
        Framing::Chunked => write_line(&mut out, b"Transfer-Encoding", b"chunked"),
        // Some apps wait for a body that a POST does not say it lacks.
        _ if fields.has("Content-Length") => write_line(&mut out, b"Content-Length", b"0"),
        _ => {}
    }
    if let Some(protocols) = upgrade {
        write_line(&mut out, b"Connection", b"Upgrade");
        write_line(&mut out, b"Upgrade", protocols);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn host_of<'l>(live: &'l Live, server: &str) -> &'l str {
    live.servers.iter().find(|known| known.name == server).map_or("localhost", |known| &known.host)
}

/// Writes a field.
pub(crate) fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Takes hop-by-hop fields out of an answer, and all that any of its `Connection` lines names.
fn strip_response(fields: &mut Fields, also: impl Fn(&[u8]) -> bool) {
    let nominated: Vec<Vec<u8>> = fields
        .members("Connection")
        .filter(|member| !member.eq_ignore_ascii_case(b"close") && !member.eq_ignore_ascii_case(b"keep-alive"))
        .map(<[u8]>::to_vec)
        .collect();
    const HOP_BY_HOP: [&str; 8] = [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Transfer-Encoding",
        "Content-Length",
        "Upgrade",
        "TE",
        "Proxy-Authenticate",
    ];
    fields.retain(|name, _| {
        !HOP_BY_HOP.iter().any(|hop| hop.len() == name.len() && name.eq_ignore_ascii_case(hop.as_bytes()))
            && !nominated.iter().any(|nominated| name.eq_ignore_ascii_case(nominated))
            && !also(name)
    });
}

/// Turns the final head into an answer.
fn finish(
    pull: &mut Pull<'_>,
    mut exchange: Exchange,
    head: ResponseHead,
    asked_upgrade: bool,
) -> Result<Response, Failure> {
    let method = pull.request.method();
    let policy = &pull.live.policy;
    let (Some(length), Some(framing)) = (head.length(), head.framing(method)) else {
        exchange.failed(Failure::BadHead, &pull.live);
        return Err(Failure::BadHead);
    };
    exchange.answered(head.status, &pull.live);
    exchange.learn(&head, policy.origin.idle_timeout);
    let protocol = head.fields.get("Upgrade").map(<[u8]>::to_vec);
    let reason = head.reason().to_vec();
    let ResponseHead { mut fields, status, .. } = head;
    strip_response(&mut fields, |name| {
        policy.identify.header.len() == name.len() && name.eq_ignore_ascii_case(policy.identify.header.as_bytes())
    });
    if status == 101 {
        let Some(protocol) = protocol.filter(|_| asked_upgrade) else { return Err(Failure::BadHead) };
        fields.push("Connection", b"Upgrade");
        fields.push("Upgrade", &protocol);
        return Ok(Response { status, reason, fields, length: None, body: Body::Tunnel(Box::new(exchange)) });
    }
    let length = if status == 204 { None } else { length };
    let body = Body::Origin(Box::new(OriginBody::new(exchange, framing, &policy.limits)));
    Ok(Response { status, reason, fields, length, body })
}
