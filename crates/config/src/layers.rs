//! Defaults, file and environment, laid over one another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use super::error::ConfigError;
use super::settings::{Setting, Source};
use super::values::EngineUrl;

/// The variables of a process.
pub(super) type Environment = BTreeMap<String, String>;

/// What stands before every variable of ours.
const PREFIX: &str = "MINIAPP__";

/// Values that are never shown, and that may come from a file named by `..._FILE`.
const SECRETS: [&str; 5] =
    ["auth.secret", "database.url", "broker.url", "mail.url", "telemetry.otlp_headers"];
/// Those among them that aren't URLs, of which a part could be shown.
const HIDDEN: [&str; 2] = ["auth.secret", "telemetry.otlp_headers"];

/// Names that are not ours but mean one of our keys. Of two for the same, the later one wins.
const STANDARD: [(&str, &str); 19] = [
    ("OTEL_TRACES_SAMPLER", "telemetry.sampler"),
    ("OTEL_TRACES_SAMPLER_ARG", "telemetry.sampler_arg"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry.otlp_traces_endpoint"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "telemetry.otlp_metrics_endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp_headers"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "telemetry.otlp_compression"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "telemetry.otlp_timeout"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "telemetry.otlp_timeout"),
    ("OTEL_BSP_SCHEDULE_DELAY", "telemetry.batch_delay"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "telemetry.batch_size"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "telemetry.queue_size"),
    ("OTEL_METRICS_EXPORTER", "telemetry.metrics_exporter"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "telemetry.metric_interval"),
    ("OTEL_RESOURCE_ATTRIBUTES", "telemetry.resource_attributes"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "telemetry.attribute_length"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "telemetry.attribute_length"),
];

/// What OpenTelemetry gives in milliseconds, without saying so.
const MILLISECONDS: [&str; 3] =
    ["telemetry.otlp_timeout", "telemetry.batch_delay", "telemetry.metric_interval"];

/// The environment variable of a key.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// All sources, merged, with every known key.
pub(super) struct Layers {
    figment: Figment,
    known: BTreeMap<String, Value>,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    pub(super) fn new(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let path = Path::new("config.default.toml");
        let defaults = parsed(super::DEFAULTS, path)?;
        let mut known = BTreeMap::new();
        leaves("", &defaults, &mut known);
        let figment = Figment::from(Layer(defaults));
        let mut layers = Self { figment, known, sources: BTreeMap::new() };
        let named = environment.get("MINIAPP_CONFIG").filter(|path| !path.is_empty());
        if let Some(path) = file.or(named.map(Path::new)) {
            layers.add_file(path)?;
        }
        layers.add_environment(environment)?;
        Ok(layers)
    }

    /// The values as `T`.
    pub(super) fn extract<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.figment.extract().map_err(|error| {
            let names = |part: &&String| part.parse::<usize>().is_err();
            // Of a list's element only the list has a setting.
            let key: Vec<&str> = error.path.iter().take_while(names).map(String::as_str).collect();
            let key = key.join(".");
            let message = if SECRETS.contains(&key.as_str()) {
                "must be a text".to_owned()
            } else {
                format!("can't be used: {}", error.kind)
            };
            self.invalid(&key, message)
        })
    }

    /// A refusal of the value that `key` has.
    pub(super) fn invalid(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let origin = self.source(key);
        ConfigError::Invalid { key: key.to_owned(), origin, message: message.into() }
    }

    /// Every key with what is in force.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let setting = |key: &String| {
            let value = self.figment.find_value(key).ok()?;
            let value = if HIDDEN.contains(&key.as_str()) {
                hidden(&value)
            } else if SECRETS.contains(&key.as_str()) {
                value.as_str().map(|url| EngineUrl::new(url).to_string()).unwrap_or_default()
            } else {
                shown(&value)
            };
            Some(Setting { key: key.clone(), value, source: self.source(key) })
        };
        self.known.keys().filter_map(setting).collect()
    }

    fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let values = parsed(&text, path)?;
        let mut given = BTreeMap::new();
        leaves("", &values, &mut given);
        let origin = Source::File(path.to_owned());
        for key in given.keys() {
            // A section that is no table is left to the reader of the section.
            let is_section = self.known.keys().any(|known| known.starts_with(&format!("{key}.")));
            if !self.known.contains_key(key) && !is_section {
                let nearest = self.nearest(key);
                let (name, origin) = (key.clone(), origin.clone());
                return Err(ConfigError::Unknown { name, origin, nearest });
            }
            self.sources.insert(key.clone(), origin.clone());
        }
        self.merge(values);
        Ok(())
    }

    fn add_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for (name, key) in STANDARD {
            if let Some(text) = environment.get(name).filter(|text| !text.is_empty()) {
                let unit = if MILLISECONDS.contains(&key) { "ms" } else { "" };
                self.set(key, &format!("{text}{unit}"), Source::Variable(name.to_owned()));
            }
        }
        for (name, text) in environment {
            // One underscore too few is a slip worth telling; other names that begin
            // like ours are not for us (Kubernetes makes MINIAPP_SERVICE_HOST).
            if !name.starts_with("MINIAPP_") || !name.contains("__") {
                continue;
            }
            let key = name.strip_prefix(PREFIX).unwrap_or_default();
            let key = key.to_lowercase().replace("__", ".");
            let file_of = key.strip_suffix("_file").filter(|key| SECRETS.contains(key));
            if let Some(key) = file_of {
                self.set_from_file(key, name, Path::new(text), environment)?;
            } else if self.known.contains_key(&key) {
                self.set(&key, text, Source::Variable(name.clone()));
            } else {
                let origin = Source::Variable(name.clone());
                let written = name.to_lowercase().replace("__", ".");
                let written = written.trim_start_matches("miniapp").trim_start_matches(['_', '.']);
                let nearest = self.nearest(written).map(|key| variable_of(&key));
                return Err(ConfigError::Unknown { name: name.clone(), origin, nearest });
            }
        }
        Ok(())
    }

    fn set_from_file(
        &mut self,
        key: &str,
        variable: &str,
        path: &Path,
        environment: &Environment,
    ) -> Result<(), ConfigError> {
        let direct = variable_of(key);
        if environment.contains_key(&direct) {
            return Err(ConfigError::Twice { variable: direct });
        }
        let path = path.to_owned();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let source = Source::SecretFile { variable: variable.to_owned(), path };
        self.set(key, text.trim_end_matches(['\r', '\n']), source);
        Ok(())
    }

    /// Sets a known key from a text, read as the kind of value that the default has.
    fn set(&mut self, key: &str, text: &str, source: Source) {
        let value = match &self.known[key] {
            Value::Num(..) => text
                .parse::<i64>()
                .map_or_else(|_| Value::from(text), |number| Value::from(Num::from(number))),
            Value::Bool(..) => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
            Value::Array(..) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(Value::from)
                .collect::<Vec<_>>()
                .into(),
            _ => Value::from(text),
        };
        self.sources.insert(key.to_owned(), source);
        self.merge(figment::util::nest(key, value).into_dict().unwrap_or_default());
    }

    fn merge(&mut self, values: Dict) {
        self.figment = std::mem::take(&mut self.figment).merge(Layer(values));
    }

    /// The known key that looks most like `key`, if any does. The last part alone may
    /// be what was meant, in another section.
    fn nearest(&self, key: &str) -> Option<String> {
        let likeness = |known: &&String| {
            let whole = strsim::normalized_damerau_levenshtein(key, known);
            let same_name = key.rsplit('.').next() == known.rsplit('.').next();
            if same_name { whole.max(0.6) } else { whole }
        };
        let nearest = self.known.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(&nearest) >= 0.6).then(|| nearest.clone())
    }
}

/// Values that are there already, as one source.
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn parsed(text: &str, path: &Path) -> Result<Dict, ConfigError> {
    let values = Toml::from_str::<Dict>(text);
    values.map_err(|error| {
        // The parser draws the line with a pointer below it; here it is one line.
        let message = error.to_string();
        let message = message.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = message.collect::<Vec<_>>().join(" ");
        ConfigError::Syntax { path: PathBuf::from(path), message }
    })
}

fn leaves(prefix: &str, values: &Dict, into: &mut BTreeMap<String, Value>) {
    for (name, value) in values {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) => leaves(&key, inner, into),
            leaf => {
                into.insert(key, leaf.clone());
            }
        }
    }
}

fn hidden(value: &Value) -> String {
    let is_empty = value.as_str().is_none_or(str::is_empty);
    if is_empty { String::new() } else { "[hidden]".to_owned() }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => {
            number.to_i128().map_or_else(String::new, |number| number.to_string())
        }
        Value::Array(_, items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        _ => String::new(),
    }
}
