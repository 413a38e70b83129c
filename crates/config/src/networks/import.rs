//! Reads the lists that vendors publish, each in its own form, into one form of ours.

use super::{is_too_wide, parse};
use ipnet::IpNet;
use serde_json::Value;

/// The vendors whose lists can be read: name, proper name, and where the list is published.
const SOURCES: [(&str, &str, &str); 5] = [
    ("fastly", "Fastly", "https://api.fastly.com/public-ip-list"),
    ("cloudflare", "Cloudflare", "https://api.cloudflare.com/client/v4/ips"),
    ("cloudfront", "Amazon CloudFront", "https://ip-ranges.amazonaws.com/ip-ranges.json"),
    ("bunny", "Bunny", "https://bunnycdn.com/api/system/edgeserverlist"),
    ("google", "Google", "https://cloud.google.com/load-balancing/docs/health-checks"),
];

/// The file for a vendor's published list. `date` is the list's day.
///
/// The text is the vendor's JSON (Fastly's `addresses`, Cloudflare's `ipv4_cidrs`, Amazon's `prefixes`, Bunny's array) or
/// plain text with one network a line.
///
/// # Errors
/// What is wrong with the text, as a sentence. A list that is empty or holds anything but networks is refused whole: an
/// error page that was piped in must not open or close the door.
pub fn import(vendor: &str, text: &str, date: &str) -> Result<String, String> {
    let Some((name, proper_name, source)) = SOURCES.iter().find(|(name, _, _)| *name == vendor) else {
        return Err(format!(
            "there is no form for \"{vendor}\"; there are fastly, cloudflare, cloudfront, bunny and google"
        ));
    };
    let entries = match serde_json::from_str::<Value>(text) {
        Ok(list) => from_json(&list)?,
        Err(_) => text
            .lines()
            .map(|line| line.split('#').next().unwrap_or("").trim().to_string())
            .filter(|line| !line.is_empty())
            .collect(),
    };
    let mut networks = Vec::new();
    for entry in &entries {
        let shown: String = entry.chars().take(60).collect();
        let network = parse(entry).ok_or(format!("\"{shown}\" is no network: is this the list from {source}?"))?;
        if is_too_wide(&network) {
            return Err(format!("{network} is too wide to be believed"));
        }
        networks.push(network.trunc());
    }
    if networks.is_empty() {
        return Err(format!("the list is empty: is this the list from {source}?"));
    }
    let mut networks = IpNet::aggregate(&networks);
    networks.sort();
    let mut file = format!("# vendor: {proper_name}\n# source: {source}\n# as of: {date}\n");
    // Google names its ranges in a page for people; there is no list to fetch.
    let fetch = if *name == "google" { "cat ranges-from-that-page.txt".into() } else { format!("curl -fsS {source}") };
    file.push_str(&format!("# refresh: {fetch} | headwater networks import {name}\n"));
    networks.iter().for_each(|network| file.push_str(&format!("{network}\n")));
    Ok(file)
}

fn from_json(list: &Value) -> Result<Vec<String>, String> {
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
    };
    // Cloudflare's API wraps its answer.
    let list = if list["result"].is_object() { &list["result"] } else { list };
    let mut found = strings(list);
    for key in ["addresses", "ipv6_addresses", "ipv4_cidrs", "ipv6_cidrs"] {
        found.extend(strings(&list[key]));
    }
    for (key, field) in [("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")] {
        for prefix in list[key].as_array().into_iter().flatten() {
            // Amazon's file lists all its services; pulls come from these two.
            if matches!(prefix["service"].as_str(), Some("CLOUDFRONT" | "CLOUDFRONT_ORIGIN_FACING")) {
                found.extend(prefix[field].as_str().map(str::to_string));
            }
        }
    }
    if found.is_empty() { Err("this JSON holds no list of networks in a form that is known".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(file: &str) -> Vec<&str> {
        file.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn every_vendors_form_is_read() {
        for (vendor, text) in [
            ("fastly", r#"{"addresses":["192.0.2.0/25","192.0.2.128/25"],"ipv6_addresses":["2001:db8::/32"]}"#),
            (
                "cloudflare",
                r#"{"result":{"ipv4_cidrs":["192.0.2.0/24"],"ipv6_cidrs":["2001:db8::/32"],"etag":"x"},"success":true}"#,
            ),
            (
                "cloudfront",
                r#"{"prefixes":[{"ip_prefix":"192.0.2.0/24","service":"CLOUDFRONT_ORIGIN_FACING"},{"ip_prefix":"198.51.100.0/24","service":"EC2"}],
                "ipv6_prefixes":[{"ipv6_prefix":"2001:db8::/32","service":"CLOUDFRONT"}]}"#,
            ),
            ("bunny", r#"["192.0.2.0/24","2001:db8::/32"]"#),
            ("google", "192.0.2.0/24\n2001:db8::/32 # front ends\n"),
        ] {
            let file = import(vendor, text, "2026-11-23").unwrap();
            assert_eq!(networks(&file), ["192.0.2.0/24", "2001:db8::/32"], "{vendor}");
            assert!(file.contains("# as of: 2026-11-23\n"));
        }
    }

    #[test]
    fn what_is_no_list_is_refused_whole() {
        for text in ["", "<html>503</html>", "{}", "[]", "192.0.2.0/24\noops", "0.0.0.0/0", r#"["192.0.2.0/24","x"]"#] {
            assert!(import("fastly", text, "2026-11-23").is_err(), "{text}");
        }
        assert!(import("nobody", "192.0.2.0/24", "2026-11-23").is_err());
    }
}
