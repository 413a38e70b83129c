//! A token for Google's APIs, got with the key of a service account (RFC 7523; Google's "Using OAuth 2.0 for Server to
//! Server Applications").

use crate::answer::{self, question, read};
use crate::secret::Secret;
use crate::{Client, VendorError};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// Reading figures is all that it may.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.read";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest that Google takes a claim for.
const CLAIMED: i64 = 3600;
/// A token is not used up to its last moment: questions take time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(120);

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It is no JSON of the known shape.
    #[error("this is no key of a service account: {0}; name the JSON file that Google Cloud gave out with the key")]
    Shape(String),
    /// Its `private_key` is none.
    #[error("the private_key of the service account cannot be used: {0}; make a new key, of type JSON")]
    Key(String),
}

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

/// A service account, and the token that it has at present.
pub struct ServiceAccount {
    email: String,
    key: KeyPair,
    key_id: Option<String>,
    token_uri: String,
    held: Mutex<Option<(Secret, Instant)>>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

impl ServiceAccount {
    /// Reads a key file.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(file: &[u8]) -> Result<Self, KeyError> {
        // serde's messages of data in the wrong place could quote the key: the place is enough.
        let shape = |error: serde_json::Error| {
            KeyError::Shape(format!("line {}: a field is missing or is no text", error.line()))
        };
        let file: KeyFile = serde_json::from_slice(file).map_err(shape)?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| KeyError::Key("it is no PEM of a PKCS #8 key".into()))?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|error| KeyError::Key(error.to_string()))?;
        Ok(Self {
            email: file.client_email,
            key,
            key_id: file.private_key_id,
            token_uri: file.token_uri,
            held: Mutex::default(),
        })
    }

    /// A token that holds for a while: the one at hand, or a new one.
    ///
    /// # Errors
    /// Where Google gives none.
    pub async fn token(&self, client: &Client) -> Result<Secret, VendorError> {
        let mut held = self.held.lock().await;
        if let Some((token, until)) = held.as_ref()
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        *held = None;
        let asked = Instant::now();
        let (token, lifetime) = self.fetch(client).await?;
        let until = asked + lifetime.saturating_sub(MARGIN);
        *held = Some((token.clone(), until));
        Ok(token)
    }

    /// Gives up a token that was refused.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }

    async fn fetch(&self, client: &Client) -> Result<(Secret, Duration), VendorError> {
        let host = answer::host(&self.token_uri);
        let assertion = self.assertion(OffsetDateTime::now_utc().unix_timestamp()).map_err(|()| {
            let why = "the key of the service account signs nothing".into();
            VendorError::Unreachable { host: host.clone(), why }
        })?;
        // Base64 for URLs needs no escape.
        let body = format!("grant_type={}&assertion={assertion}", GRANT.replace(':', "%3A"));
        let request = Request::post(&self.token_uri).header("content-type", "application/x-www-form-urlencoded");
        let answer = client.ask(question(&host, request, Full::new(Bytes::from(body)))?).await;
        let answer = answer.map_err(|error| match error {
            // RFC 6749, section 5.2: a grant that is not taken is a 400.
            VendorError::Failed { host, status: 400, words } => VendorError::Refused { host, status: 400, words },
            error => error,
        })?;
        // An error here must not quote the answer: it may hold a token.
        let answer: Answer = read(&host, answer.body()).map_err(|_| VendorError::Malformed {
            host: host.clone(),
            why: "it has no access_token with an expires_in".into(),
            words: "(not shown: it may hold a token)".into(),
        })?;
        let lifetime = Duration::from_secs(answer.expires_in.min(CLAIMED as u64));
        Ok((answer.access_token.as_str().into(), lifetime))
    }

    /// A claim that this account asks, signed with RS256 (RFC 7515, RFC 7518 section 3.3).
    fn assertion(&self, now: i64) -> Result<String, ()> {
        let mut head = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.key_id {
            head["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + CLAIMED,
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&head), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).map_err(|_| ())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
