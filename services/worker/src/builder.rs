//! Programs with kinds and settings of their own.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;

use miniapp_config::{Config, ConfigError, PLATFORM, Schema};
use miniapp_kind::Kind;

use crate::config::WorkerConfig;
use crate::kinds::Kinds;
use crate::{PROGRAM, service};

/// Adds kinds to those of a worker. They may depend on the configuration.
type Register = Arc<dyn Fn(&Config, &mut Kinds) -> Result<(), ConfigError> + Send + Sync>;

/// The kinds of a program, and its settings beside those of the platform.
#[derive(Clone)]
pub struct Extension {
    schemas: Vec<Schema>,
    registers: Vec<Register>,
    has_built_in_kinds: bool,
}

impl Default for Extension {
    /// Returns the built-in kinds alone.
    fn default() -> Self {
        Self { schemas: vec![PLATFORM], registers: Vec::new(), has_built_in_kinds: true }
    }
}

impl Extension {
    /// Returns the schemas of all settings.
    pub fn schemas(&self) -> &[Schema] {
        &self.schemas
    }

    /// Creates the kinds. Fails if one of them rejects its settings.
    pub fn kinds(&self, config: &Config) -> Result<Kinds, ConfigError> {
        let mut kinds = if self.has_built_in_kinds {
            let worker: WorkerConfig = config.section()?;
            Kinds::standard(&worker)
        } else {
            Kinds::none()
        };
        self.registers.iter().try_for_each(|register| register(config, &mut kinds))?;
        Ok(kinds)
    }
}

impl Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extension")
            .field("registers", &self.registers.len())
            .finish_non_exhaustive()
    }
}

/// A program that runs kinds.
pub trait Launch {
    /// Runs the program from its arguments to its exit code.
    fn launch(extension: Extension) -> ExitCode;
}

/// Builds a program from kinds and settings.
///
/// ```no_run
/// use miniapp_kind::{Context, Kind, KindError};
/// use miniapp_worker::Worker;
///
/// struct Reverse;
///
/// impl Kind for Reverse {
///     const NAME: &'static str = "reverse";
///     type Input = String;
///     type Output = String;
///
///     async fn run(&self, _: &Context, text: String) -> Result<String, KindError> {
///         Ok(text.chars().rev().collect())
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     Worker::builder().kind(Reverse).main()
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder<P> {
    extension: Extension,
    program: PhantomData<P>,
}

impl<P> Default for Builder<P> {
    fn default() -> Self {
        Self { extension: Extension::default(), program: PhantomData }
    }
}

impl<P: Launch> Builder<P> {
    /// Adds a kind. It replaces an earlier one of the same name.
    pub fn kind(self, kind: impl Kind) -> Self {
        let mut own = Kinds::none();
        own.register(kind);
        self.register(move |_, kinds| {
            kinds.extend(own.clone());
            Ok(())
        })
    }

    /// Adds a kind that is created from the configuration, for example from a section of the
    /// program's own [`settings`](Self::settings).
    pub fn kind_from<K: Kind>(
        self,
        create: impl Fn(&Config) -> Result<K, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        self.register(move |config, kinds| {
            kinds.register(create(config)?);
            Ok(())
        })
    }

    /// Adds settings to those of the platform. They are read from the same file and environment, and
    /// a key without a default in one of the schemas is refused.
    pub fn settings(mut self, schema: Schema) -> Self {
        self.extension.schemas.push(schema);
        self
    }

    /// Leaves out the built-in kinds.
    pub fn without_built_in_kinds(mut self) -> Self {
        self.extension.has_built_in_kinds = false;
        self
    }

    /// Runs the program from its arguments to its exit code.
    pub fn main(self) -> ExitCode {
        P::launch(self.extension)
    }

    fn register(
        mut self,
        register: impl Fn(&Config, &mut Kinds) -> Result<(), ConfigError> + Send + Sync + 'static,
    ) -> Self {
        self.extension.registers.push(Arc::new(register));
        self
    }
}

/// The worker as a program.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    pub fn builder() -> Builder<Self> {
        Builder::default()
    }
}

impl Launch for Worker {
    fn launch(extension: Extension) -> ExitCode {
        let schemas = extension.schemas.clone();
        miniapp_program::run(PROGRAM, &schemas, |context| async move {
            let kinds = extension.kinds(&context.config)?;
            service::serve(context, kinds).await
        })
    }
}

#[cfg(test)]
mod tests {
    use miniapp_config::Section;
    use miniapp_kind::{Context, KindError};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Greeting {
        word: String,
    }

    impl Section for Greeting {
        const NAME: &'static str = "greeting";

        fn validate(&self, validator: &miniapp_config::Validator<'_>) -> Result<(), ConfigError> {
            validator.ensure("word", !self.word.is_empty(), "must not be empty")
        }
    }

    struct Greet(Greeting);

    impl Kind for Greet {
        const NAME: &'static str = "greet";
        type Input = String;
        type Output = String;

        async fn run(&self, _: &Context, name: String) -> Result<String, KindError> {
            Ok(format!("{} {name}", self.0.word))
        }
    }

    const SETTINGS: Schema =
        Schema { defaults: "[greeting]\nword = \"Hello\"", secret_urls: &[], secrets: &[] };

    fn kinds(builder: &Builder<Worker>, word: &str) -> Result<Vec<String>, ConfigError> {
        let variables = [("HOME", "/unused"), ("MINIAPP__GREETING__WORD", word)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load_schemas(builder.extension.schemas(), None, variables)?;
        Ok(builder.extension.kinds(&config)?.names())
    }

    fn greeting() -> Builder<Worker> {
        let greet = |config: &Config| Ok(Greet(config.section()?));
        Worker::builder().settings(SETTINGS).kind_from(greet)
    }

    #[test]
    fn own_kinds_join_the_built_in_ones() {
        let names = ["echo", "flaky", "greet", "hash", "http", "simulate", "sleep"];
        assert_eq!(kinds(&greeting(), "Hi").expect("valid"), names);
        assert_eq!(kinds(&greeting().without_built_in_kinds(), "Hi").expect("valid"), ["greet"]);
    }

    #[test]
    fn wrong_settings_are_refused() {
        let error = kinds(&greeting(), "").expect_err("refused").to_string();
        assert!(error.starts_with("greeting.word (MINIAPP__GREETING__WORD) "), "{error}");
        let error = kinds(&Worker::builder(), "Hi").expect_err("unknown").to_string();
        assert!(error.contains("MINIAPP__GREETING__WORD"), "{error}");
    }
}
