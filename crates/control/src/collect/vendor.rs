//! From what the configuration says of an API to the vendor's client.

use headwater_config::{Credentials, EdgeApi, Secret};
use headwater_vendors::{Edge, bunny, cloudflare, fastly};

/// The client; `None` where there is none for this vendor.
pub(super) fn edge(api: &EdgeApi) -> Option<Edge> {
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let url = |built_in: &str| api.url.clone().unwrap_or_else(|| built_in.into());
    let properties = api.properties.clone();
    Some(match &api.credentials {
        Credentials::Fastly { token } => Edge::Fastly(fastly::Fastly::new(&url(fastly::URL), &text(token), properties)),
        Credentials::Cloudflare { token, hosts } => Edge::Cloudflare(cloudflare::Cloudflare::new(
            &url(cloudflare::URL),
            &text(token),
            properties,
            hosts.clone(),
        )),
        Credentials::Bunny { token } => Edge::Bunny(bunny::Bunny::new(&url(bunny::URL), &text(token), properties)),
        _ => return None,
    })
}
