//! What a provider knows us by.

use std::{sync::Arc, time::SystemTime};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use secrecy::{ExposeSecret as _, SecretString};
use windlass::{
    clock::Clock,
    secrets::{SecretCache, Secrets},
};

use super::TransportError;

/// The most characters of a provider's key: far more than any has, and what fits into a header.
const KEY_CHARS_MAX: usize = 4_096;

/// A provider's key, as the secret holds it: the key itself, or `{"api_key":"…"}`.
pub struct ModelKey(SecretString);

impl ModelKey {
    /// Reads the text of a secret.
    ///
    /// # Errors
    /// What is wrong with it. The message does not quote it.
    pub fn parse(secret: &SecretString) -> Result<ModelKey, String> {
        let text = secret.expose_secret().trim();
        let json: Option<serde_json::Value> = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten();
        let key = match &json {
            Some(object) => object["api_key"].as_str().unwrap_or_default(),
            None => text,
        };
        let sound = !key.is_empty() && key.len() <= KEY_CHARS_MAX && key.bytes().all(|b| b.is_ascii_graphic());
        if !sound || key.starts_with('{') {
            return Err(r#"neither a key nor {"api_key":"…"}"#.to_owned());
        }
        Ok(ModelKey(SecretString::from(key)))
    }

    /// The key itself, for a header and for making sure that it is nowhere else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A provider's key, cached and refreshed.
pub type KeyCache = Arc<SecretCache<ModelKey>>;

/// A cache of the key in the secret `name`; nothing is fetched yet.
pub fn key_cache(secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>, name: &str) -> KeyCache {
    Arc::new(SecretCache::new(secrets, clock, name, ModelKey::parse))
}

/// What a provider knows us by.
#[derive(Clone)]
pub enum Auth {
    /// Nothing: a server of one's own.
    Nobody,
    /// `Authorization: Bearer KEY`.
    Bearer(KeyCache),
    /// `x-api-key: KEY`.
    ApiKey(KeyCache),
    /// A signature with the function's own role
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
    Signed(Signer),
}

/// Signs requests to Bedrock.
#[derive(Clone)]
pub struct Signer {
    /// With whose credentials.
    pub credentials: SharedCredentialsProvider,
    /// For which region.
    pub region: String,
    /// The time, which is part of a signature.
    pub clock: Arc<dyn Clock>,
}

/// A header that is not to be shown.
pub type SecretHeader = (String, SecretString);

impl Auth {
    /// The key, if there is one.
    pub const fn key(&self) -> Option<&KeyCache> {
        match self {
            Auth::Bearer(key) | Auth::ApiKey(key) => Some(key),
            Auth::Nobody | Auth::Signed(_) => None,
        }
    }

    /// The headers that say who asks.
    ///
    /// # Errors
    /// When there is nothing to say it with. The message holds no secret.
    pub async fn headers(&self, url: &str, body: &[u8]) -> Result<Vec<SecretHeader>, TransportError> {
        match self {
            Auth::Nobody => Ok(Vec::new()),
            Auth::Bearer(key) => {
                let key = fetched(key).await?;
                Ok(vec![("authorization".to_owned(), SecretString::from(format!("Bearer {}", key.expose())))])
            }
            Auth::ApiKey(key) => Ok(vec![("x-api-key".to_owned(), SecretString::from(fetched(key).await?.expose()))]),
            Auth::Signed(signer) => signer.headers(url, body).await,
        }
    }
}

async fn fetched(key: &KeyCache) -> Result<Arc<ModelKey>, TransportError> {
    key.get().await.map_err(|error| TransportError::NotSent { message: error.to_string() })
}

impl Signer {
    async fn headers(&self, url: &str, body: &[u8]) -> Result<Vec<SecretHeader>, TransportError> {
        let unavailable =
            |what: &str| TransportError::NotSent { message: format!("the request was not signed: {what}") };
        let credentials = self.credentials.provide_credentials().await;
        let identity = credentials.map_err(|error| unavailable(&error.to_string()))?.into();
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("bedrock")
            .time(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(millis))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unavailable(&error.to_string()))?;
        let headers = [("content-type", super::http::JSON)].into_iter();
        let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body));
        let signed = request.and_then(|request| sign(request, &params.into()));
        let (instructions, _) = signed.map_err(|error| unavailable(&error.to_string()))?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().map(|header| (header.name().to_owned(), SecretString::from(header.value()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use windlass::{clock::Timestamp, memory::ManualClock};

    use super::*;

    #[tokio::test]
    async fn a_request_to_bedrock_is_signed_for_its_service_region_and_body() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret-access-key", Some("session".into()), None, "test");
        let signer = Signer {
            credentials: SharedCredentialsProvider::new(credentials),
            region: "eu-west-1".to_owned(),
            clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000))),
        };
        let url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a%3A0/converse";
        let signed = async |body: &[u8]| {
            let headers = Auth::Signed(signer.clone()).headers(url, body).await.expect("it is signed");
            let shown = |(name, value): SecretHeader| (name, value.expose_secret().to_owned());
            headers.into_iter().map(shown).collect::<std::collections::BTreeMap<_, _>>()
        };
        let headers = signed(b"{}").await;
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260109/eu-west-1/bedrock/aws4_request, ";
        assert!(headers["authorization"].starts_with(scope), "{headers:?}");
        assert!(headers["authorization"].contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"));
        assert_eq!(
            (headers["x-amz-date"].as_str(), headers["x-amz-security-token"].as_str()),
            ("20260109T230640Z", "session")
        );
        assert!(!format!("{headers:?}").contains("secret-access-key"));
        assert_ne!(headers["authorization"], signed(b"[]").await["authorization"]);
    }

    #[test]
    fn a_key_is_read_bare_or_from_an_object_and_a_malformed_one_is_not_quoted() {
        let read = |text: &str| ModelKey::parse(&SecretString::from(text)).map(|key| key.expose().to_owned());
        assert_eq!(read("sk-1\n").as_deref(), Ok("sk-1"));
        assert_eq!(read(r#"{"api_key":"sk-2"}"#).as_deref(), Ok("sk-2"));
        for text in ["", "hunter2 hunter2", r#"{"key":"hunter2"}"#, "{hunter2", "hunter2\nx: y"] {
            let problem = read(text).expect_err(text);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
