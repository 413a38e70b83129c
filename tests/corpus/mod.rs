//! Raw bytes against a strict oracle: what it takes is served, and reaches the origin to the byte as the oracle read it;
//! what it does not take is refused, ends the connection, and reaches nobody.

mod cases;
mod differential;
mod mutate;
mod oracle;
mod proven;
mod recorder;

use cases::{Case, Fate};
use headwater_testkit::{Client, Headwater, Response, wait_until};
use oracle::{End, Field, GIVEN, Request};
use recorder::{Recorder, echo};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nHost: shop.example\r\n\r\n";

struct House {
    origin: Recorder,
    headwater: Headwater,
    callers: AtomicU32,
}

impl House {
    fn new() -> Self {
        let origin = Recorder::start();
        let headwater = Headwater::start(&format!(
            "[origin]\nservers = [\"{}\"]\n[limits]\nmax_head = \"32 KiB\"\nmax_fields = 100\nmax_body = \"64 KiB\"\n\
             [[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nsecret = {{ header = \"X-CDN-Secret\", values = [\"0123456789abcdef0123\"] }}\n",
            origin.address
        ));
        Self { origin, headwater, callers: AtomicU32::new(1) }
    }

    /// Another address of this machine for each caller, so that the origin tells them apart.
    fn caller(&self) -> IpAddr {
        let [_, a, b, c] = self.callers.fetch_add(1, SeqCst).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(127, a + 1, b, c))
    }

    /// Sends a case and the canary, and compares all that can be seen. `Err`: what is not as the oracle has it.
    fn try_out(&self, bytes: &[u8]) -> Result<Outcome, String> {
        let sent = [bytes, CANARY].concat();
        let (requests, end) = oracle::read(&sent, GIVEN);
        let caller = self.caller();
        let mut client = Client::connect_from(caller, self.headwater.http);
        client.send(&sent);
        for (at, request) in requests.iter().enumerate() {
            let method = String::from_utf8_lossy(&request.method).into_owned();
            let Some(got) = final_answer(&mut client, &method) else {
                return Err(format!("request {at} of {} was not answered; {end:?}", requests.len()));
            };
            let body = if method == "HEAD" { Vec::new() } else { echo(request) };
            if got.status != 200 || got.body != body || !got.complete {
                return Err(format!("request {at} of {} got\n{}; {end:?}", requests.len(), got.head));
            }
        }
        let mut status = None;
        match &end {
            End::Open => {}
            End::Closed => {
                if !client.is_closed() {
                    return Err("the connection goes on behind the last request".into());
                }
            }
            End::Refused(why) | End::RefusedInBody(why) => {
                status = Some(refusal(&mut client).map_err(|wrong| format!("{wrong}; refused for: {why}"))?);
            }
            // Who ends his half has gone: that ends the wait for the rest.
            End::Unfinished | End::UnfinishedBody => {
                let _ = client.stream().shutdown(Shutdown::Write);
                if let Some(got) = final_answer(&mut client, "GET") {
                    return Err(format!("what was not finished got\n{}", got.head));
                }
            }
        }
        self.compare(caller, &requests, &end)?;
        Ok(Outcome { caller, requests, end, status })
    }

    fn compare(&self, caller: IpAddr, requests: &[Request], end: &End) -> Result<(), String> {
        let (seen, halves) = (self.origin.requests(caller), self.origin.halves(caller));
        if seen.len() != requests.len() {
            return Err(format!("the origin saw {} requests, not {}; {end:?}", seen.len(), requests.len()));
        }
        for (request, seen) in requests.iter().zip(&seen) {
            let wanted = self.forwarded(request, caller);
            let mut seen = seen.clone();
            for (name, value) in &mut seen.fields {
                if name == b"X-Request-Id" && value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit) {
                    value.clear();
                }
            }
            if seen != wanted {
                return Err(format!("the origin saw\n{}and not\n{}", show(&seen), show(&wanted)));
            }
        }
        if !halves.is_empty() && !matches!(end, End::RefusedInBody(_) | End::UnfinishedBody) {
            return Err(format!("the origin saw half of something: {:?}", String::from_utf8_lossy(&halves[0])));
        }
        Ok(())
    }

    /// The request as the app has to see it, which `docs/life-of-a-pull.md` tells.
    fn forwarded(&self, request: &Request, caller: IpAddr) -> Request {
        let host = request.values("Host").first().map(|host| host.to_vec());
        let server = self.origin.address.to_string().into_bytes();
        let nominated = request.tokens("Connection");
        let mut fields: Vec<Field> = vec![(b"Host".to_vec(), host.clone().unwrap_or(server))];
        for (name, value) in &request.fields {
            let lower = name.to_ascii_lowercase();
            let plain: Vec<u8> = lower.iter().map(|&b| if b == b'_' { b'-' } else { b }).collect();
            let kept = match plain.as_slice() {
                b"expect" => lower == plain && request.minor == 1,
                name => !KEPT_BACK.iter().any(|kept_back| kept_back.as_bytes() == name),
            };
            if kept && !nominated.contains(&lower) {
                fields.push((name.clone(), value.clone()));
            }
        }
        let mut say = |name: &str, value: String| fields.push((name.into(), value.into_bytes()));
        let bytes = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        say("X-Forwarded-For", caller.to_string());
        say("X-Real-IP", caller.to_string());
        say("X-Forwarded-Proto", "http".into());
        let mut forwarded = format!("for={caller}");
        if let Some(host) = host.map(bytes) {
            forwarded += &format!(";host=\"{host}\"");
            say("X-Forwarded-Host", host);
        }
        say("Forwarded", forwarded + ";proto=http");
        say("X-Request-Id", String::new());
        say("Via", format!("1.{} headwater", request.minor));
        let has_length = !request.values("Content-Length").is_empty();
        if request.chunked {
            say("Transfer-Encoding", "chunked".into());
        } else if has_length {
            say("Content-Length", request.body.len().to_string());
        }
        if request.minor == 1 && !request.chunked && request.body.is_empty() && nominated.contains(&b"upgrade".to_vec())
        {
            let protocols = request.values("Upgrade").join(&b","[..]);
            let protocols = protocols.split(|&b| b == b',').map(|protocol| protocol.trim_ascii());
            let protocols: Vec<&[u8]> =
                protocols.filter(|p| !p.is_empty() && !p.to_ascii_lowercase().starts_with(b"h2")).collect();
            if !protocols.is_empty() {
                say("Connection", "Upgrade".into());
                fields.push((b"Upgrade".to_vec(), protocols.join(&b", "[..])));
            }
        }
        let trailers = request.trailers.iter().filter(|(name, _)| {
            let lower = name.to_ascii_lowercase();
            let plain: Vec<u8> = lower.iter().map(|&b| if b == b'_' { b'-' } else { b }).collect();
            let decides = DECIDES.iter().any(|decides| decides.as_bytes() == lower);
            !decides && plain != b"expect" && !KEPT_BACK.iter().any(|kept_back| kept_back.as_bytes() == plain)
        });
        Request { minor: 1, fields, trailers: trailers.cloned().collect(), ..request.clone() }
    }
}

/// What a stranger may not tell the app, or not this hop's next one.
const KEPT_BACK: [&str; 46] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "host",
    "content-length",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "x-cluster-client-ip",
    "x-request-id",
    "x-cdn-provider",
    "x-cdn-secret",
    "proxy",
    "proxy-authorization",
    "proxy-authenticate",
    "fastly-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cloudfront-viewer-address",
    "true-client-ip",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-prefix",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-original-url",
    "x-rewrite-url",
    "x-url-scheme",
    "x-proxyuser-ip",
    "forwarded-for",
    "front-end-https",
    "cf-ipcountry",
    "cf-visitor",
    "fastly-ssl",
];

/// What decides about a message and so may not come behind it (RFC 9110, section 6.5.1).
const DECIDES: [&str; 21] = [
    "transfer-encoding",
    "content-length",
    "host",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "te",
    "authorization",
    "set-cookie",
    "content-encoding",
    "content-type",
    "content-range",
    "trailer",
    "connection",
    "vary",
    "expires",
    "surrogate-control",
    "cdn-cache-control",
    "edge-control",
];

/// What was seen of a case.
struct Outcome {
    caller: IpAddr,
    requests: Vec<Request>,
    end: End,
    status: Option<u16>,
}

fn final_answer(client: &mut Client, method: &str) -> Option<Response> {
    loop {
        let got = client.try_read_response_to(method)?;
        if got.status >= 200 {
            return Some(got);
        }
    }
}

/// The answer to what is refused, and the end. Where a HEAD was read before its body was refused, the answer has none.
fn refusal(client: &mut Client) -> Result<u16, String> {
    let got = final_answer(client, "HEAD").ok_or("no refusal")?;
    let mut rest = Vec::new();
    client.reader().read_to_end(&mut rest).map_err(|_| "the connection goes on behind a refusal")?;
    let whole = rest.is_empty() || got.header("Content-Length") == Some(&rest.len().to_string());
    if (400..506).contains(&got.status) && whole && got.has_member("Connection", "close") {
        Ok(got.status)
    } else {
        Err(format!("refused with\n{}{}", got.head, String::from_utf8_lossy(&rest)))
    }
}

fn show(request: &Request) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = format!("  {} {} HTTP/1.{}\n", text(&request.method), text(&request.target), request.minor);
    for (name, value) in request.fields.iter().chain(&request.trailers) {
        out += &format!("  {}: {}\n", text(name), text(value));
    }
    out + &format!("  ({} bytes of body, chunked: {})\n", request.body.len(), request.chunked)
}

/// Runs something for every member of a list, in several threads; what went wrong, in the order of the list.
fn side_by_side<T: Sync>(all: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, SeqCst)) {
                    if let Err(why) = work(one) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

fn as_the_file_says(case: &Case, outcome: &Outcome) -> bool {
    let count = outcome.requests.len();
    match (case.fate, &outcome.end) {
        (Fate::Serve(served), End::Open) => count == served + 1,
        (Fate::Close(served), End::Closed) => count == served,
        (Fate::Refuse { status, after }, End::Refused(_)) => outcome.status == Some(status) && count == after,
        (Fate::RefuseBody(status), End::RefusedInBody(_)) => outcome.status == Some(status) && count == 0,
        (Fate::Wait, End::Unfinished | End::UnfinishedBody) => count == 0,
        _ => false,
    }
}

#[test]
fn every_case_is_read_as_a_strict_reader_reads_it() {
    let cases = cases::all();
    assert!(cases.len() > 250, "only {} cases", cases.len());
    let house = House::new();
    let wrong = side_by_side(&cases, |case| {
        let outcome = house.try_out(&case.bytes).map_err(|why| format!("{}: {why}", case.name))?;
        if !as_the_file_says(case, &outcome) {
            let (end, count) = (&outcome.end, outcome.requests.len());
            return Err(format!(
                "{}: {count} served, {end:?}, {:?}; the file says {:?}",
                case.name, outcome.status, case.fate
            ));
        }
        // What is refused ends the origin's connection too, and only then is it known what it saw.
        if outcome.end != End::Open {
            wait_until("the origin's half is known", || {
                let half = matches!(outcome.end, End::RefusedInBody(_) | End::UnfinishedBody);
                !half || !house.origin.halves(outcome.caller).is_empty() || outcome.requests.is_empty()
            });
        }
        house.compare(outcome.caller, &outcome.requests, &outcome.end).map_err(|why| format!("{}: {why}", case.name))
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let rubbish = house.origin.rubbish();
    assert!(rubbish.is_empty(), "the origin got what is no request: {:?}", String::from_utf8_lossy(&rubbish[0].1));
}
