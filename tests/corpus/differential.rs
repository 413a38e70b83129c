//! The corpus through Headwater, nginx and HAProxy to origins that remember: every difference is explained, or is a bug.

use super::oracle::{GIVEN, read};
use super::recorder::Recorder;
use super::{CANARY, cases, side_by_side};
use headwater_testkit::{Client, Haproxy, Headwater, Nginx};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

/// How long a server may be silent before it counts as waiting for more.
const SILENCE: Duration = Duration::from_millis(700);

/// What the world sees of a server and a case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Each request as the app saw it, the canary aside.
    app: Vec<String>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The canary was served.
    Open,
    /// The connection ended behind an answer that was no refusal.
    Closed,
    Refused,
    Waits,
}

/// Names under which every proxy says something of its own.
const OF_THE_PROXY: [&str; 14] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "expect",
    "te",
    "upgrade",
];

fn see(server: SocketAddr, origin: &Recorder, caller: IpAddr, bytes: &[u8]) -> Seen {
    let sent = [bytes, CANARY].concat();
    let methods: Vec<_> = read(&sent, GIVEN).0.into_iter().map(|request| request.method).collect();
    let mut client = Client::connect_from(caller, server);
    client.stream().set_read_timeout(Some(SILENCE)).unwrap();
    client.send(&sent);
    let mut end = End::Waits;
    let mut at = 0;
    loop {
        let method = methods.get(at).map_or("GET", |method| std::str::from_utf8(method).unwrap());
        let Some(got) = client.try_read_response_to(method) else { break };
        if got.status < 200 {
            continue;
        }
        at += 1;
        end = if got.status >= 400 { End::Refused } else { End::Closed };
        if got.text() == "GET /canary" {
            end = End::Open;
            break;
        }
    }
    if end == End::Closed && !ended(&mut client) {
        end = End::Waits;
    }
    let mut app = Vec::new();
    for request in origin.requests(caller) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if request.target == b"/canary" {
            continue;
        }
        let mut line = format!("{} {} ({} bytes)", text(&request.method), text(&request.target), request.body.len());
        for (name, value) in request.fields.iter().chain(&request.trailers) {
            let (name, value) = (text(name).to_ascii_lowercase(), text(value));
            let strangers = value.contains("192.0.2.66") || value.contains("evil.example");
            if !OF_THE_PROXY.contains(&name.as_str()) || strangers {
                line += &format!(" {name}: {value}");
            }
        }
        app.push(line);
    }
    for (_, rubbish) in origin.rubbish().iter().filter(|(of, _)| *of == Some(caller)) {
        app.push(format!("no request to a strict reader: {}", rubbish[..rubbish.len().min(200)].escape_ascii()));
    }
    Seen { app, end }
}

fn ended(client: &mut Client) -> bool {
    let mut byte = [0];
    !matches!(client.reader().read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// How a peer differs from Headwater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It serves what Headwater refuses.
    Takes,
    /// It waits for the rest of what Headwater refuses at once.
    Waits,
    /// It refuses what Headwater serves.
    Refuses,
    /// It refuses at once what Headwater waits for.
    RefusesAtOnce,
    /// Both serve, and its app sees something else.
    Tells,
}

fn how(ours: &Seen, theirs: &Seen) -> How {
    match (ours.end, theirs.end) {
        (End::Refused, End::Open | End::Closed) => How::Takes,
        (End::Refused, _) if theirs.app.len() > ours.app.len() => How::Takes,
        (End::Refused, End::Waits) => How::Waits,
        (End::Waits, End::Refused) => How::RefusesAtOnce,
        (End::Open | End::Closed, End::Refused) => How::Refuses,
        _ => How::Tells,
    }
}

/// Who differs in which cases (one, or with a colon at its end a whole section), how, and why Headwater is right.
type Explanation = (&'static [&'static str], How, &'static [&'static str], &'static str);

const NGINX: &[&str] = &["nginx"];
const HAPROXY: &[&str] = &["haproxy"];
const BOTH: &[&str] = &["nginx", "haproxy"];

const EXPLANATIONS: &[Explanation] = &[
    (
        BOTH,
        How::Takes,
        &["line ends:", "pipelining: a bad line end behind a good request"],
        "RFC 9112, section 2.2 allows to take a bare LF for a line's end and does not ask for it: where one server does and the \
         next does not, the two see different requests. CDNs send CR LF.",
    ),
    (
        HAPROXY,
        How::Takes,
        &["folding:"],
        "Section 5.2 allows to refuse folded lines or to put blanks in their place. A server that does neither sees \
         another field, a coding for example.",
    ),
    (
        NGINX,
        How::Takes,
        &["field names:"],
        "nginx leaves a line out whose name is none, and serves what is left. The CDN may have read the line.",
    ),
    (
        BOTH,
        How::Takes,
        &["control characters:"],
        "Section 5.5 of RFC 9110 calls them dangerous in values: logs, terminals and C programs stumble over them.",
    ),
    (
        BOTH,
        How::Takes,
        &["request line:"],
        "One blank separates, and a target has no fragment (RFC 9112, section 3). Section 3 allows to split at any \
         blanks and warns that it is a way to smuggle. Latin-1 in a target is a byte that apps decode in two ways or not at all.",
    ),
    (
        BOTH,
        How::Takes,
        &["versions:"],
        "HTTP/1.0 and 1.1 are all that there is on this kind of connection. What another version means nobody can \
         know, and the app would be told that it was 1.1. CONNECT is for forward proxies.",
    ),
    (
        HAPROXY,
        How::Waits,
        &["versions: the preface of HTTP/2"],
        "HAProxy speaks HTTP/2 on plain connections to whoever begins with it.",
    ),
    (
        BOTH,
        How::Takes,
        &["host:", "absolute form:", "sizes: half a head, and another behind it"],
        "Exactly one Host, and an authority in it, and the same one in the target (RFC 9112, section 3.2). Apps build \
         links, redirects and cache keys from it.",
    ),
    (
        HAPROXY,
        How::Takes,
        &["lengths: twice the same", "lengths: a list"],
        "Section 6.3 allows to take one length that is said twice, or to refuse it. No CDN says it twice.",
    ),
    (
        HAPROXY,
        How::Takes,
        &["lengths: 2 to the 32nd, plus 5", "lengths: more than is taken"],
        "HAProxy has no limit on a body's length. `limits.max_body` refuses before the first byte is read.",
    ),
    (
        HAPROXY,
        How::Takes,
        &["length and coding:"],
        "Section 6.1 allows to go by the coding if the connection ends then, and calls it an attempt to smuggle. No CDN \
         sends both.",
    ),
    (
        HAPROXY,
        How::Takes,
        &["codings:"],
        "`chunked`, once, in HTTP/1.1: whatever else is in the field, some server reads it otherwise.",
    ),
    (
        BOTH,
        How::Takes,
        &["chunks:"],
        "Digits and CR LF (section 7.1). Every leniency here has been used to smuggle; endless extensions are a way to \
         keep a server busy; more than `limits.max_body` is too much in chunks as well.",
    ),
    (
        HAPROXY,
        How::Waits,
        &["chunks: a huge size", "chunks: 2 to the 32nd, plus 5"],
        "HAProxy has no limit on a body's length. A chunk that says that it is larger than `limits.max_body` is refused \
         before it has come.",
    ),
    (
        BOTH,
        How::Takes,
        &["trailers:"],
        "Trailers are fields, and are read as strictly. nginx looks for the empty line alone.",
    ),
    (
        BOTH,
        How::Takes,
        &["expectations:"],
        "What is expected and not known is refused with 417 (RFC 9110, section 10.1.1), so that the client knows.",
    ),
    (
        BOTH,
        How::Takes,
        &["hops: Connection names what is no name"],
        "A list of tokens (RFC 9110, section 7.6.1). Who minds quotes and who does not see different names in it.",
    ),
    (
        NGINX,
        How::Takes,
        &["sizes: a hundred and one"],
        "nginx bounds the bytes of a head and not the number of its fields. Apps do, or fall.",
    ),
    (
        NGINX,
        How::Refuses,
        &["plain: blanks around a value"],
        "A tab before a Host is optional white space like any other (RFC 9112, section 5).",
    ),
    (
        NGINX,
        How::Refuses,
        &["plain: a method in small letters is another method", "plain: OPTIONS of the whole server"],
        "Methods are tokens, and which of them there are is the app's to say (RFC 9110, section 9.1).",
    ),
    (
        NGINX,
        How::Refuses,
        &[
            "request line: percent signs, whole and broken",
            "request line: an encoded NUL in the query and encoded line ends stay as they are",
        ],
        "A target goes to the app as it came. The app decodes it, and decides what it takes.",
    ),
    (
        HAPROXY,
        How::Refuses,
        &["request line: UTF-8 in the target"],
        "Programs send it unencoded, and no server takes such bytes for the target's end. nginx serves it too.",
    ),
    (
        HAPROXY,
        How::Refuses,
        &["trailers: those that decide about the message are dropped"],
        "RFC 9110, section 6.5.1: a recipient that does not know of a trailer that it may be used ignores it.",
    ),
    (
        HAPROXY,
        How::Refuses,
        &["hops: an upgrade"],
        "HAProxy misses Sec-WebSocket-Key. Whether an upgrade is well asked for is the app's to say.",
    ),
    (
        BOTH,
        How::Tells,
        &["plain: close in a list", "hops:"],
        "What Connection names, and what is for one hop, ends here (RFC 9110, section 7.6.1). What a stranger says of \
         addresses, and the tag of a CDN without its proof, are lies until proven.",
    ),
    (
        NGINX,
        How::Tells,
        &["plain: every character of a token in a name", "plain: an underscore in a name of the app's own"],
        "nginx drops names with unusual characters. They are tokens, and the app's. Of names with underscores \
         Headwater drops those alone that could be taken for one that it guards.",
    ),
    (
        NGINX,
        How::Tells,
        &["plain: HTTP/1.0 without a Host"],
        "The app is asked in HTTP/1.1, which has to have a Host: Headwater says the server's own name.",
    ),
    (
        HAPROXY,
        How::Tells,
        &[
            "length and coding: a length with an underscore is no length",
            "length and coding: a coding with an underscore is no coding",
        ],
        "To a CGI program both spellings are one variable.",
    ),
    (NGINX, How::Tells, &["trailers:"], "nginx drops trailers. gRPC and digests need them."),
    (
        HAPROXY,
        How::Tells,
        &["trailers: those that only a proxy may say are dropped"],
        "Apps that merge trailers into the headers would believe them.",
    ),
];

fn explains(explanation: &Explanation, peer: &str, how: How, name: &str) -> bool {
    let (peers, of, cases, _) = explanation;
    let covers = |case: &&str| if case.ends_with(':') { name.starts_with(*case) } else { name == *case };
    peers.contains(&peer) && *of == how && cases.iter().any(covers)
}

#[test]
fn every_difference_from_nginx_and_haproxy_is_explained() {
    let origins = [Recorder::start(), Recorder::start(), Recorder::start()];
    let [ours, behind_nginx, behind_haproxy] = &origins;
    let headwater =
        Headwater::start(&format!("[origin]\nservers = [\"{}\"]\n[limits]\nmax_body = \"64 KiB\"\n", ours.address));
    let nginx = Nginx::start(
        &format!(
            "client_max_body_size 64k; large_client_header_buffers 4 32k; location / {{ proxy_pass http://{}; \
             proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection \"\"; \
             proxy_set_header X-Real-IP $remote_addr; }}",
            behind_nginx.address
        ),
        &[],
    );
    let haproxy =
        Haproxy::start(&format!("http-request set-header X-Real-IP %[src]\n  server s {}", behind_haproxy.address));
    let cases: Vec<_> = cases::all().into_iter().enumerate().collect();
    let differences = Mutex::new(Vec::new());
    side_by_side(&cases, |(number, case)| {
        let caller = IpAddr::V4(Ipv4Addr::from(0x7f01_0001 + *number as u32));
        let see = |server, origin| see(server, origin, caller, &case.bytes);
        let right = see(headwater.http, ours);
        for (peer, server, origin) in
            [("nginx", nginx.address(), behind_nginx), ("haproxy", haproxy.address(), behind_haproxy)]
        {
            let theirs = see(server, origin);
            if theirs != right {
                let how = how(&right, &theirs);
                differences.lock().unwrap().push((peer, how, case.name.clone(), right.clone(), theirs));
            }
        }
        Ok(())
    });
    let differences: Vec<(&str, How, String, Seen, Seen)> = differences.into_inner().unwrap();
    let mut open = Vec::new();
    for (peer, how, name, right, theirs) in &differences {
        if EXPLANATIONS.iter().filter(|one| explains(one, peer, *how, name)).count() != 1 {
            open.push(format!("{peer} {how:?} {name}\n   Headwater: {right:?}\n   {peer}: {theirs:?}"));
        }
    }
    open.sort();
    assert!(
        open.is_empty(),
        "{} of {} are not explained, or twice:\n{}",
        open.len(),
        differences.len(),
        open.join("\n")
    );
    // Other versions of the peers may have fewer.
    for one in EXPLANATIONS {
        if !differences.iter().any(|(peer, how, name, ..)| explains(one, peer, *how, name)) {
            println!("these versions do not differ: {:?} {:?} {:?}", one.0, one.1, one.2);
        }
    }
    assert!(differences.len() > 50, "only {} differences", differences.len());
}
