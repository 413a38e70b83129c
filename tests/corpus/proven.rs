//! Pulls of a proven provider with forwarding headers that chance has written: its word is kept, and what the app sees is
//! well formed whatever stands in it. (What a stranger writes there is compared to the byte by every other test here.)

use super::House;
use fastrand::Rng;
use headwater_testkit::Client;
use std::net::IpAddr;

const SECRET: &str = "0123456789abcdef0123";
const NAMES: [&str; 8] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "Fastly-Client-IP",
    "X-Real-IP",
    "X-Request-Id",
    "X_Forwarded_For",
];

fn value(random: &mut Rng) -> String {
    let words = [
        "192.0.2.1",
        "198.51.100.7:80",
        "[2001:db8::1]",
        "https",
        "for=1.2.3.4;by=\"x\"",
        "\"",
        ",",
        "a b",
        "\u{e9}",
        "\\",
    ];
    (0..random.usize(..4))
        .map(|_| words[random.usize(..words.len())])
        .collect::<Vec<_>>()
        .join([", ", " "][random.usize(..2)])
}

#[test]
fn what_a_proven_provider_says_is_kept_and_well_formed() {
    let house = House::new();
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for round in 0..300 {
        let mut said: Vec<(&str, String)> = Vec::new();
        for _ in 0..random.usize(..6) {
            said.push((NAMES[random.usize(..NAMES.len())], value(&mut random)));
        }
        let mut text = format!(
            "GET /{round} HTTP/1.1\r\nHost: shop.example\r\nX-CDN-Provider: fastly\r\nX-CDN-Secret: {SECRET}\r\n"
        );
        said.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        // The app is told the user's address and not the caller's, so that the origin is asked of all that it saw.
        let caller = house.caller();
        let mut client = Client::connect_from(caller, house.headwater.http);
        client.send(text + "\r\n");
        assert_eq!(client.read_response().status, 200, "seed {seed}: {said:?}");
        let seen = house.origin.asked(format!("/{round}").as_bytes()).expect("the origin was asked");
        let one = |name: &str| {
            let all = seen.values(name);
            assert_eq!(all.len(), 1, "seed {seed}: {name} of {said:?}: {all:?}");
            String::from_utf8(all[0].to_vec()).unwrap()
        };
        let of = |name: &str| -> Vec<String> {
            let kept = said.iter().filter(|(found, value)| *found == name && !value.trim().is_empty());
            kept.map(|(_, value)| value.trim().to_string()).collect()
        };
        let forwarded_for = one("X-Forwarded-For");
        let before = of("X-Forwarded-For").join(", ");
        if before.is_empty() {
            assert!(forwarded_for.ends_with(&caller.to_string()), "seed {seed}: {forwarded_for}");
        } else {
            // The user is named again where the vendor's own header tells of another than the last that was said.
            let told = [format!("{before}, {caller}"), format!("{before}, {}, {caller}", one("X-Real-IP"))];
            assert!(told.contains(&forwarded_for), "seed {seed}: {forwarded_for} of {said:?}");
        }
        assert!(one("X-Real-IP").parse::<IpAddr>().is_ok(), "seed {seed}: {said:?}");
        assert!(["http", "https"].contains(&one("X-Forwarded-Proto").as_str()), "seed {seed}: {said:?}");
        let host = of("X-Forwarded-Host").first().cloned().unwrap_or_else(|| "shop.example".into());
        assert_eq!(one("X-Forwarded-Host"), host, "seed {seed}");
        let forwarded = one("Forwarded");
        assert!(
            forwarded.contains(&format!("for={caller}")) && forwarded.contains(";proto="),
            "seed {seed}: {forwarded}"
        );
        assert_eq!(one("X-CDN-Provider"), "fastly");
        assert!(!one("X-Request-Id").is_empty() && one("Via") == "1.1 headwater");
        assert!(seen.values("X_Forwarded_For").is_empty() && seen.values("X-CDN-Secret").is_empty());
    }
    let rubbish = house.origin.rubbish();
    assert!(rubbish.is_empty(), "seed {seed}: the origin got \"{}\"", rubbish[0].1.escape_ascii());
}
