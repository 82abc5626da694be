//! From the configuration to the model that an agent asks.

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use windlass::{
    agent::model::Model,
    clock::Clock,
    config::{self, Cassette, ModelName, Route},
    secrets::Secrets,
    telemetry::Teller,
};

use crate::{
    cassette::{Recorder, Replayer},
    dialect::Dialect,
    provider::Provider,
    routed::Routed,
    transport::{
        Transport,
        auth::{Auth, KeyCache, Signer, key_cache},
        http::Http,
    },
};

/// What models stand on.
pub struct Ports {
    /// Where the providers' keys are.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What answers as `script`.
    pub script: Arc<dyn Model>,
    /// For Bedrock without a key of its own.
    pub aws: Option<Aws>,
    /// Tells what came of requests.
    pub teller: Option<Arc<Teller>>,
}

/// As whom and where AWS is asked.
#[derive(Clone)]
pub struct Aws {
    /// With whose credentials.
    pub credentials: SharedCredentialsProvider,
    /// In which region.
    pub region: String,
}

/// The configured model, ready to be asked; and the keys that it needs, of which none has been fetched.
pub struct Assembled {
    /// The model.
    pub model: Arc<dyn Model>,
    /// The keys that must be there before it is asked.
    pub keys: Vec<KeyCache>,
}

/// The model cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// Bedrock needs credentials and a region, or a key.
    #[error("`{model}` needs AWS credentials and `AWS_REGION`, or `MODEL_SECRET`")]
    NoAws {
        /// Which model.
        model: String,
    },
}

/// The model of a configuration: one, or one with a fallback. A script alone is asked as it is.
///
/// # Errors
/// When something is missing that the configuration cannot know.
pub fn assemble(config: &config::Model, ports: &Ports) -> Result<Assembled, AssemblyError> {
    let mut keys = Vec::new();
    let first = line(config, &config.first, ports, &mut keys)?;
    // A recording holds the answers of the model that was asked; whatever it lacks must not be answered by another.
    let fallback = config.fallback.as_ref().filter(|_| !matches!(config.cassette, Some(Cassette::Replay(_))));
    if config.first.model == ModelName::Script && fallback.is_none() {
        return Ok(Assembled { model: first, keys });
    }
    let mut models = vec![first];
    if let Some(route) = fallback {
        models.push(line(config, route, ports, &mut keys)?);
    }
    let routed = Routed::new(models, config.last_resort, Arc::clone(&ports.clock));
    let routed = match &ports.teller {
        Some(teller) => routed.told_by(teller),
        None => routed,
    };
    Ok(Assembled { model: Arc::new(routed), keys })
}

fn line(
    config: &config::Model,
    route: &Route,
    ports: &Ports,
    keys: &mut Vec<KeyCache>,
) -> Result<Arc<dyn Model>, AssemblyError> {
    let base_url = route.base_url.as_deref();
    let Some((dialect, model)) = Dialect::of(&route.model, base_url) else { return Ok(Arc::clone(&ports.script)) };
    let region = ports.aws.as_ref().map_or("", |aws| aws.region.as_str());
    let url = dialect.url(base_url, &model, region);
    let transport = transport(config, route, ports, keys)?;
    Ok(Arc::new(Provider {
        name: route.model.to_string(),
        model,
        dialect,
        url,
        transport,
        timeout: config.timeout,
        output_tokens_max: config.output_tokens_max,
        price: route.price,
        renamed: Default::default(),
    }))
}

fn transport(
    config: &config::Model,
    route: &Route,
    ports: &Ports,
    keys: &mut Vec<KeyCache>,
) -> Result<Arc<dyn Transport>, AssemblyError> {
    if let Some(Cassette::Replay(folder)) = &config.cassette {
        return Ok(Arc::new(Replayer { folder: folder.clone() }));
    }
    let key = route.secret.as_deref().map(|name| key_cache(Arc::clone(&ports.secrets), Arc::clone(&ports.clock), name));
    keys.extend(key.clone());
    let auth = match (&route.model, key.clone(), &ports.aws) {
        (ModelName::Anthropic(_), Some(key), _) => Auth::ApiKey(key),
        (_, Some(key), _) => Auth::Bearer(key),
        (ModelName::Bedrock(_), None, Some(aws)) => Auth::Signed(Signer {
            credentials: aws.credentials.clone(),
            region: aws.region.clone(),
            clock: Arc::clone(&ports.clock),
        }),
        (ModelName::Bedrock(_), None, None) => return Err(AssemblyError::NoAws { model: route.model.to_string() }),
        (_, None, _) => Auth::Nobody,
    };
    let http = Arc::new(Http::new(auth, Arc::clone(&ports.clock)));
    Ok(match &config.cassette {
        Some(Cassette::Record(folder)) => Arc::new(Recorder { inner: http, folder: folder.clone(), key }),
        _ => http,
    })
}
