//! Bearer tokens: one for a server, or one for each tenant.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::{ExposeSecret as _, SecretString};
use windlass::{
    clock::Clock,
    ids::Tenant,
    secrets::{SecretCache, SecretError, Secrets},
};

/// What stands for the tenant in the name of a secret.
pub const TENANT: &str = "{tenant}";

/// How many tenants' tokens a process keeps. A worker works on ten runs at once.
const KEPT_MAX: usize = 64;

/// For whom a request is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// For nobody in particular: lists of tools.
    Server,
    /// For a tenant's run.
    Of(Tenant),
}

/// Where the token of a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The server wants none.
    None,
    /// One secret for everybody.
    Everybody(String),
    /// One for each tenant, and perhaps one for lists.
    ByTenant {
        /// The names of the tenants' secrets.
        names: TenantSecrets,
        /// The name of the secret that lists are read with; they are read without a token when there is none.
        lists: Option<String>,
    },
}

/// The names of the tenants' secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSecrets {
    /// One name with [`TENANT`] in it.
    Template(String),
    /// Each by itself.
    Named(BTreeMap<Tenant, String>),
}

impl TenantSecrets {
    fn of(&self, tenant: &Tenant) -> Result<String, NoToken> {
        match self {
            TenantSecrets::Template(template) => {
                // A slash would lead into another folder of secrets; Secrets Manager's names know neither `:` nor `|`.
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte);
                if tenant.as_str().bytes().all(plain) {
                    Ok(template.replace(TENANT, tenant.as_str()))
                } else {
                    Err(NoToken(format!("the tenant `{tenant}` cannot be in the name of a secret (`{template}`)")))
                }
            }
            TenantSecrets::Named(names) => {
                let name = names.get(tenant).cloned();
                name.ok_or_else(|| NoToken(format!("`auth_secrets` names no secret for the tenant `{tenant}`")))
            }
        }
    }
}

/// There is no token to make a request with. It says which secret is in the way, and quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoToken(pub(crate) String);

impl From<SecretError> for NoToken {
    fn from(error: SecretError) -> Self {
        NoToken(error.to_string())
    }
}

type Cache = Arc<SecretCache<SecretString>>;

/// The tokens of one server.
pub(crate) struct Tokens {
    source: TokenSource,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<String, Cache>>,
}

impl Tokens {
    pub(crate) fn new(source: TokenSource, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Tokens {
        Tokens { source, secrets, clock, kept: Mutex::default() }
    }

    /// Whose session a request goes in: sessions are shared where the token is.
    pub(crate) fn scope(&self, whose: &Whose) -> Whose {
        match self.source {
            TokenSource::None | TokenSource::Everybody(_) => Whose::Server,
            TokenSource::ByTenant { .. } => whose.clone(),
        }
    }

    /// The token for a request; `None` when the server wants none.
    pub(crate) async fn get(&self, whose: &Whose) -> Result<Option<Arc<SecretString>>, NoToken> {
        match self.cache(whose)? {
            Some(cache) => Ok(Some(cache.get().await?)),
            None => Ok(None),
        }
    }

    /// Reads a token again that the server does not accept: it may have been changed a moment ago.
    pub(crate) async fn refresh(&self, whose: &Whose) {
        if let Ok(Some(cache)) = self.cache(whose) {
            let _ = cache.refresh().await;
        }
    }

    fn cache(&self, whose: &Whose) -> Result<Option<Cache>, NoToken> {
        let name = match (&self.source, whose) {
            (TokenSource::None, _) => return Ok(None),
            (TokenSource::Everybody(name), _) => name.clone(),
            (TokenSource::ByTenant { names, .. }, Whose::Of(tenant)) => names.of(tenant)?,
            (TokenSource::ByTenant { lists, .. }, Whose::Server) => match lists {
                Some(name) => name.clone(),
                None => return Ok(None),
            },
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = kept.get(&name) {
            return Ok(Some(Arc::clone(cache)));
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let cache = SecretCache::new(Arc::clone(&self.secrets), Arc::clone(&self.clock), &name, token);
        let cache = Arc::new(cache);
        kept.insert(name, Arc::clone(&cache));
        Ok(Some(cache))
    }
}

/// A secret's text as a token: what editors and shells leave at its end is not part of it.
fn token(text: &SecretString) -> Result<SecretString, String> {
    let token = text.expose_secret().trim_end_matches(['\r', '\n', ' ', '\t']);
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is one or more visible ASCII characters without blanks".to_owned());
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_at_the_end_of_a_secret_is_not_part_of_its_token() {
        for text in ["tok", "tok\n", "tok\r\n", "tok \t\n"] {
            assert_eq!(token(&text.into()).expect(text).expose_secret(), "tok");
        }
        for text in ["", "\n", "to\nk", "tö", "to k"] {
            assert!(token(&text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_tenant_leads_to_no_other_tenants_secret() {
        let names = TenantSecrets::Template("windlass/shop/{tenant}".to_owned());
        let of = |tenant: &str| names.of(&tenant.parse().expect("a tenant"));
        assert_eq!(of("acme").as_deref(), Ok("windlass/shop/acme"));
        assert!(of("acme/../globex").is_err() && of("globex/token").is_err() && of("a:b").is_err());
        let names = TenantSecrets::Named(BTreeMap::from([("acme".parse().expect("a tenant"), "a".to_owned())]));
        let missing = names.of(&"globex".parse().expect("a tenant")).expect_err("there is none");
        assert!(missing.to_string().contains("`globex`"), "{missing}");
    }
}
