//! Header names that have a meaning already, to HTTP, to browsers, to CDNs or to Headwater. Headwater takes the tag and the
//! secrets out of every pull, so under such a name they would break what the name is for.

/// Registered fields (RFC 9110 and those around it), and what apps, frameworks and proxies commonly go by.
const USED: [&str; 100] = [
    "age",
    "allow",
    "alt-svc",
    "alt-used",
    "authorization",
    "baggage",
    "cache-control",
    "cache-status",
    "cdn-cache-control",
    "cdn-loop",
    "cdn-pullzoneid",
    "clear-site-data",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "depth",
    "destination",
    "device-memory",
    "dnt",
    "dpr",
    "downlink",
    "early-data",
    "ect",
    "edge-control",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "nel",
    "origin",
    "overwrite",
    "pragma",
    "prefer",
    "priority",
    "proxy",
    "purpose",
    "range",
    "referer",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "retry-after",
    "rtt",
    "save-data",
    "server",
    "server-timing",
    "set-cookie",
    "signature",
    "signature-input",
    "soapaction",
    "status",
    "strict-transport-security",
    "surrogate-capability",
    "surrogate-control",
    "te",
    "timeout",
    "timing-allow-origin",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "viewport-width",
    "want-content-digest",
    "want-repr-digest",
    "warning",
    "width",
    "www-authenticate",
    "x-amz-cf-id",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-correlation-id",
    "x-csrf-token",
    "x-http-method-override",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
    "x-requested-with",
    "x-xsrf-token",
];

/// Families: every name that begins so.
const FAMILIES: [&str; 12] = [
    "accept",
    "access-control-",
    "akamai-origin-",
    "cf-",
    "cloudflare-",
    "cloudfront-",
    "content-",
    "fastly-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
];

/// Whether the name means something already. `_` counts as `-`: to a CGI program both are one name.
pub(crate) fn has_a_meaning(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    USED.contains(&name.as_str()) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Letters, digits, `-` and `_`: narrower than RFC 9110's token, and what every CDN's console takes.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{Kind, Targeted};

    #[test]
    fn what_http_and_headwater_use_is_taken_and_the_rest_is_free() {
        for taken in [
            "Host",
            "X-Forwarded-For",
            "Accept-Encoding",
            "Cookie",
            "X_Forwarded_For",
            "AUTHORIZATION",
            "X-Request-Id",
            "Fastly-Client-IP",
            "CDN-Cache-Control",
            "Sec-Fetch-Site",
            "Content-Type",
            "If-None-Match",
            "X-Real-IP",
        ] {
            assert!(has_a_meaning(taken), "{taken}");
        }
        for kind in Kind::all() {
            let read = kind.own_headers().iter().copied().chain(kind.client_address_header());
            for taken in read.chain(Targeted::ALL.map(|(_, targeted)| targeted.header())) {
                assert!(has_a_meaning(taken), "{taken}");
            }
        }
        for free in
            ["X-CDN-Provider", "X-CDN-Secret", "X-S", "X-Edge-Secret", "CDN-Secret", "X-Origin-Auth", "X-Client-Secret"]
        {
            assert!(!has_a_meaning(free), "{free}");
        }
    }
}
