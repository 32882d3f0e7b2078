//! What exported spans say about the process.

use opentelemetry::KeyValue;
use opentelemetry_sdk::resource::{ResourceDetector as _, TelemetryResourceDetector};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::ProgramInfo;
use crate::config::TelemetryConfig;
use crate::trace::SERVICE;

/// The resources of a process: one per service, which differ by their name alone.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    /// A name that is configured for all services.
    name: Option<String>,
    /// The attributes besides the name.
    attributes: Vec<KeyValue>,
}

impl Resources {
    /// Reads the configured attributes, which take precedence over those of the program.
    pub fn new(program: ProgramInfo, settings: &TelemetryConfig) -> Self {
        let mut configured: Vec<(String, String)> = pairs(&settings.resource_attributes).collect();
        let named = configured.extract_if(.., |(key, _)| key == SERVICE).last();
        let name = settings.service_name.clone().or(named.map(|(_, name)| name));
        let program = [
            ("service.namespace", Some("miniapp".to_owned())),
            ("service.version", Some(program.version.to_owned())),
            // Distinguishes replicas.
            ("service.instance.id", Some(Uuid::new_v4().to_string())),
            ("vcs.ref.head.revision", program.revision.map(ToOwned::to_owned)),
        ];
        let is_configured = |key: &str| configured.iter().any(|(name, _)| name == key);
        let mut attributes: Vec<KeyValue> = program
            .into_iter()
            .filter(|(key, _)| !is_configured(key))
            .filter_map(|(key, value)| Some(KeyValue::new(key, value?)))
            .collect();
        attributes.extend(configured.into_iter().map(|(key, value)| KeyValue::new(key, value)));
        let sdk = TelemetryResourceDetector.detect();
        attributes.extend(sdk.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
        Self { name, attributes }
    }

    /// Returns the attributes of a service's resource.
    pub fn of(&self, service: &str) -> Vec<KeyValue> {
        let name = self.name.as_deref().unwrap_or(service).to_owned();
        let name = [KeyValue::new(SERVICE, name)];
        name.into_iter().chain(self.attributes.iter().cloned()).collect()
    }
}

/// Reads `key=value,key=value` with percent-encoded values, as OpenTelemetry's variables
/// have it.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, value)| {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        (key.trim().to_owned(), value)
    })
}
