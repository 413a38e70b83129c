//! From what the configuration says of an API to the vendor's client.

use headwater_config::{Credentials, EdgeApi, Secret};
use headwater_vendors::{Edge, akamai, bunny, cloudflare, cloudfront, fastly, google};

/// The client.
///
/// # Errors
/// Where the key of a service account is none.
pub(super) fn edge(api: &EdgeApi) -> Result<Edge, google::KeyError> {
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let url = |built_in: &str| api.url.clone().unwrap_or_else(|| built_in.into());
    let properties = api.properties.clone();
    Ok(match &api.credentials {
        Credentials::Fastly { token } => Edge::Fastly(fastly::Fastly::new(&url(fastly::URL), &text(token), properties)),
        Credentials::Cloudflare { token, hosts } => Edge::Cloudflare(cloudflare::Cloudflare::new(
            &url(cloudflare::URL),
            &text(token),
            properties,
            hosts.clone(),
        )),
        Credentials::Bunny { token } => Edge::Bunny(bunny::Bunny::new(&url(bunny::URL), &text(token), properties)),
        Credentials::CloudFront { access_key, secret_key, session_token } => {
            let token = session_token.as_ref().map(text);
            let (access_key, secret_key, url) = (text(access_key), text(secret_key), url(cloudfront::URL));
            Edge::CloudFront(cloudfront::CloudFront::new(&url, &access_key, &secret_key, token.as_deref(), properties))
        }
        Credentials::Akamai { host, client_token, client_secret, access_token, account_switch_key } => {
            let switch = account_switch_key.as_ref().map(text);
            Edge::Akamai(akamai::Akamai::new(
                &url(&format!("https://{host}")),
                &text(client_token),
                &text(client_secret),
                &text(access_token),
                switch.as_deref(),
                properties,
            ))
        }
        Credentials::Google { credentials, project } => {
            Edge::Google(google::Google::new(&url(google::URL), credentials.expose(), project, properties)?)
        }
    })
}
