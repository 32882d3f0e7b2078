//! Merges defaults, file and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use crate::aliases::ALIASES;
use crate::error::{ConfigError, PREFIX, variable_of};
use crate::references::resolve;
use crate::schema::Schema;
use crate::settings::{Setting, Source};
use crate::values::EngineUrl;

/// The variables of a process.
pub(crate) type Environment = BTreeMap<String, String>;

/// All sources, merged, with every known key.
#[derive(Clone)]
pub(crate) struct Layers {
    figment: Figment,
    known: BTreeMap<String, Value>,
    sources: BTreeMap<String, Source>,
    schemas: Vec<Schema>,
    /// Variables that are ignored, with the reasons.
    warnings: Vec<String>,
}

impl Layers {
    pub(crate) fn new(
        schemas: &[Schema],
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut known = BTreeMap::new();
        let mut figment = Figment::new();
        for schema in schemas {
            let defaults = parse(schema.defaults, Path::new("config.default.toml"))?;
            collect_leaves("", &defaults, &mut known);
            figment = figment.merge(Layer(defaults));
        }
        let (sources, warnings) = (BTreeMap::new(), Vec::new());
        let mut layers = Self { figment, known, sources, schemas: schemas.to_vec(), warnings };
        let named = environment.get("MINIAPP_CONFIG").filter(|path| !path.is_empty());
        if let Some(path) = file.or(named.map(Path::new)) {
            layers.add_file(path)?;
        }
        layers.add_environment(environment)?;
        Ok(layers)
    }

    /// Reads the value at `path`, a section or a key.
    pub(crate) fn extract<T: DeserializeOwned>(&self, path: &str) -> Result<T, ConfigError> {
        let extracted = match self.figment.find_value(path) {
            Ok(value) => value.deserialize(),
            Err(error) => Err(error),
        };
        extracted.map_err(|error| {
            // The elements of a list have no keys of their own.
            let names = error.path.iter().take_while(|part| part.parse::<usize>().is_err());
            let names = std::iter::once(path).chain(names.map(String::as_str));
            let key = names.collect::<Vec<_>>().join(".");
            let message = if self.is_secret(&key) {
                "must be a text".to_owned()
            } else {
                format!("can't be used: {}", error.kind)
            };
            self.invalid(&key, message)
        })
    }

    /// Gives a key that is empty by default its value, without a new source.
    pub(crate) fn fill_in(&mut self, key: &str, value: &str) {
        self.merge(figment::util::nest(key, Value::from(value)).into_dict().unwrap_or_default());
    }

    /// Returns the error for the value of `key`.
    pub(crate) fn invalid(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let origin = self.source(key);
        ConfigError::Invalid { key: key.to_owned(), origin, message: message.into() }
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every key with its value.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let setting = |key: &String| {
            let value = self.figment.find_value(key).ok()?;
            let value = if self.schemas.iter().any(|it| it.secrets.contains(&key.as_str())) {
                hidden(&value)
            } else if self.is_secret(key) {
                value.as_str().map(|url| EngineUrl::new(url).to_string()).unwrap_or_default()
            } else {
                shown(&value)
            };
            Some(Setting { key: key.clone(), value, source: self.source(key) })
        };
        self.known.keys().filter_map(setting).collect()
    }

    fn is_secret(&self, key: &str) -> bool {
        let is_listed = |it: &Schema| it.secrets.contains(&key) || it.secret_urls.contains(&key);
        self.schemas.iter().any(is_listed)
    }

    fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let values = parse(&text, path)?;
        let mut given = BTreeMap::new();
        collect_leaves("", &values, &mut given);
        let origin = Source::File(path.to_owned());
        for key in given.keys() {
            // Reading the section reports that it is no table.
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
        let own_sampler = environment.get(&variable_of("telemetry.sampler")).cloned();
        for alias in ALIASES {
            let text = environment.get(alias.variable).filter(|text| !text.trim().is_empty());
            let Some(text) = text else { continue };
            let sampler = match &own_sampler {
                Some(sampler) => sampler.clone(),
                None => self.extract("telemetry.sampler").unwrap_or_default(),
            };
            let text = resolve(text, environment);
            match alias.read(&text, &sampler) {
                Ok(value) => {
                    self.set(alias.key, &value, Source::Variable(alias.variable.to_owned()));
                }
                Err(message) => {
                    self.warnings.push(format!("{} {message}; it is ignored", alias.variable));
                }
            }
        }
        for (name, text) in environment {
            // One underscore too few is a likely mistake. Other names with this prefix are
            // not for us: Kubernetes sets MINIAPP_SERVICE_HOST.
            if !name.starts_with("MINIAPP_") || !name.contains("__") {
                continue;
            }
            let key = name.strip_prefix(PREFIX).unwrap_or_default();
            let key = key.to_lowercase().replace("__", ".");
            let file_of = key.strip_suffix("_file").filter(|key| self.is_secret(key));
            if let Some(key) = file_of {
                self.set_from_file(key, name, Path::new(text), environment)?;
            } else if self.known.contains_key(&key) {
                self.set(&key, &resolve(text, environment), Source::Variable(name.clone()));
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
        self.set(key, &resolve(text.trim_end_matches(['\r', '\n']), environment), source);
        Ok(())
    }

    /// Sets a known key from a text, which is read as a value of the default's type.
    pub(crate) fn set(&mut self, key: &str, text: &str, source: Source) {
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

    /// Returns the known key that is most similar to `key`. A key of the same name in
    /// another section is similar enough.
    fn nearest(&self, key: &str) -> Option<String> {
        let similarity = |known: &&String| {
            let whole = strsim::normalized_damerau_levenshtein(key, known);
            let same_name = key.rsplit('.').next() == known.rsplit('.').next();
            if same_name { whole.max(0.6) } else { whole }
        };
        let nearest = self.known.keys().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
        (similarity(&nearest) >= 0.6).then(|| nearest.clone())
    }
}

/// Parsed values as a source for figment.
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn parse(text: &str, path: &Path) -> Result<Dict, ConfigError> {
    let values = Toml::from_str::<Dict>(text);
    values.map_err(|error| {
        // The parser's message has several lines, with a pointer to the place.
        let message = error.to_string();
        let message = message.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = message.collect::<Vec<_>>().join(" ");
        ConfigError::Syntax { path: PathBuf::from(path), message }
    })
}

fn collect_leaves(prefix: &str, values: &Dict, into: &mut BTreeMap<String, Value>) {
    for (name, value) in values {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) => collect_leaves(&key, inner, into),
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
