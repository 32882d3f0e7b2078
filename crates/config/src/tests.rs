use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::values::{duration, optional, optional_secret, size};
use super::*;

/// Parts of sections, as crates read them.
#[derive(Deserialize)]
struct Worker {
    #[serde(deserialize_with = "optional")]
    name: Option<String>,
    concurrency: u16,
    #[serde(deserialize_with = "duration")]
    lease: Duration,
    http_allow_private: bool,
}

impl Section for Worker {
    const NAME: &'static str = "worker";

    fn validate(&self, validator: &Validator<'_>) -> Result<(), ConfigError> {
        validator.range("concurrency", self.concurrency, 1..=10_000)?;
        validator.range("lease", self.lease, Duration::from_secs(1)..=Duration::from_hours(1))
    }
}

#[derive(Deserialize)]
struct Api {
    listen: std::net::SocketAddr,
    cors_origins: Vec<String>,
}

impl Section for Api {
    const NAME: &'static str = "api";
}

#[derive(Deserialize)]
struct Limits {
    #[serde(deserialize_with = "size")]
    body: usize,
}

impl Section for Limits {
    const NAME: &'static str = "limits";
}

#[derive(Deserialize)]
struct Auth {
    #[serde(deserialize_with = "optional_secret")]
    secret: Option<SecretString>,
}

impl Section for Auth {
    const NAME: &'static str = "auth";
}

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_from(None, environment(variables))
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let variables = variables.iter().chain(&[("HOME", "/home/me")]);
    variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_file(text: &str, variables: &[(&str, &str)]) -> (String, Result<Config, ConfigError>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("miniapp.toml");
    std::fs::write(&path, text).expect("written");
    let path_text = path.display().to_string();
    let mut variables = variables.to_vec();
    variables.push(("MINIAPP_CONFIG", &path_text));
    let loaded = load(&variables);
    (path_text, loaded)
}

/// The error of loading the configuration or of reading a section.
fn error_of<T: Section>(loaded: Result<Config, ConfigError>) -> String {
    let read = loaded.and_then(|config| config.section::<T>());
    let text = read.err().expect("refused").to_string();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    text
}

fn setting<'a>(config: &'a Config, key: &str) -> &'a Setting {
    config.settings().iter().find(|setting| setting.key == key).expect("a known key")
}

#[test]
fn defaults_are_complete() {
    let config = load(&[]).expect("valid");
    assert_eq!(config.data_dir(), Path::new("/home/me/.local/share/miniapp"));
    let database: Database = config.section().expect("valid");
    assert_eq!(database.url.expose(), "sqlite:///home/me/.local/share/miniapp/miniapp.db");
    assert_eq!(config.section::<Worker>().expect("valid").lease, Duration::from_secs(15));
    assert_eq!(config.section::<Limits>().expect("valid").body, 1 << 20);
    assert!(config.section::<Auth>().expect("valid").secret.is_none());
    assert!(config.settings().iter().all(|setting| setting.source == Source::Default));
    assert_eq!(setting(&config, "database.url").value, database.url.expose());
    assert_eq!(setting(&config, "data_dir").value, "/home/me/.local/share/miniapp");
}

#[test]
fn every_default_has_a_comment() {
    let mut has_comment = false;
    for line in PLATFORM.defaults.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || has_comment, "no comment above: {line}");
        has_comment = line.starts_with('#');
    }
}

#[test]
fn data_dir_follows_xdg() {
    let config = load(&[("XDG_DATA_HOME", "/data")]).expect("valid");
    assert_eq!(config.data_dir(), Path::new("/data/miniapp"));
    let config = load(&[("XDG_DATA_HOME", "relative")]).expect("valid");
    assert_eq!(config.data_dir(), Path::new("/home/me/.local/share/miniapp"));
    assert!(matches!(Config::load_from(None, []), Err(ConfigError::NoDataDir)));
}

#[test]
fn environment_overrides_file_and_file_overrides_defaults() {
    let file = "[worker]\nconcurrency = 8\nlease = 20\n[api]\ncors_origins = [\"https://a\"]\n";
    let environment =
        [("MINIAPP__WORKER__CONCURRENCY", "4"), ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "true")];
    let (path, config) = load_file(file, &environment);
    let config = config.expect("valid");
    let worker: Worker = config.section().expect("valid");
    assert_eq!(worker.concurrency, 4);
    assert_eq!(worker.lease, Duration::from_secs(20));
    assert!(worker.http_allow_private);
    assert_eq!(config.section::<Api>().expect("valid").cors_origins, ["https://a"]);
    let variable = "MINIAPP__WORKER__CONCURRENCY".to_owned();
    assert_eq!(setting(&config, "worker.concurrency").source, Source::Variable(variable));
    assert_eq!(setting(&config, "worker.lease").source, Source::File(path.into()));
    assert_eq!(setting(&config, "worker.lease").value, "20");
    assert_eq!(setting(&config, "worker.grace").source, Source::Default);
}

#[test]
fn program_overrides_everything() {
    let config = load(&[("MINIAPP__WORKER__CONCURRENCY", "4")]).expect("valid");
    let config = config.with("worker.concurrency", "5").with("worker.name", "me");
    let worker: Worker = config.section().expect("valid");
    assert_eq!((worker.concurrency, worker.name.as_deref()), (5, Some("me")));
    assert_eq!(setting(&config, "worker.concurrency").source, Source::Program);
}

#[test]
fn variables_hold_lists_and_texts_that_look_like_numbers() {
    let config = load(&[
        ("MINIAPP__API__CORS_ORIGINS", "https://a, https://b"),
        ("MINIAPP__API__LISTEN", "[::1]:9"),
        ("MINIAPP__WORKER__NAME", "123"),
        ("MINIAPP__LIMITS__BODY", "2MiB"),
    ]);
    let config = config.expect("valid");
    let api: Api = config.section().expect("valid");
    assert_eq!(api.cors_origins, ["https://a", "https://b"]);
    assert_eq!(api.listen.to_string(), "[::1]:9");
    assert_eq!(config.section::<Worker>().expect("valid").name.as_deref(), Some("123"));
    assert_eq!(config.section::<Limits>().expect("valid").body, 2 << 20);
}

#[test]
fn unknown_key_is_refused_with_the_nearest_known_one() {
    let text = error_of::<Worker>(load(&[("MINIAPP__WORKER__CONCURENCY", "4")]));
    assert!(text.contains("unknown setting MINIAPP__WORKER__CONCURENCY"), "{text}");
    assert!(text.contains("did you mean MINIAPP__WORKER__CONCURRENCY?"), "{text}");
    let text = error_of::<Api>(load(&[("MINIAPP_API__LISTEN", "x")]));
    assert!(text.contains("did you mean MINIAPP__API__LISTEN?"), "{text}");
    let (path, config) = load_file("[api]\nlisten_on = \"x\"\n", &[]);
    let text = error_of::<Api>(config);
    assert!(text.contains("api.listen_on") && text.contains(&path), "{text}");
    assert!(text.contains("did you mean api.listen?"), "{text}");
    let (_, config) = load_file("concurrency = 3\n", &[]);
    assert!(error_of::<Worker>(config).contains("did you mean worker.concurrency?"));
    let text = error_of::<Worker>(load(&[("MINIAPP__ZZZ__QQQ", "4")]));
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn variables_of_kubernetes_are_ignored() {
    assert!(load(&[("MINIAPP_SERVICE_HOST", "10.0.0.1"), ("MINIAPP_URL", "x")]).is_ok());
}

#[test]
fn values_refer_to_variables() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("url");
    std::fs::write(&file, "postgres://ada:pass@$(POSTGRES_SERVICE)/miniapp\n").expect("written");
    let config = load(&[
        ("AUTH_SERVICE", "staging-auth"),
        ("POSTGRES_SERVICE", "staging-postgres"),
        ("MINIAPP__AUTH__URL", "http://$(AUTH_SERVICE):8005"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://$(COLLECTOR_SERVICE):4317"),
        ("MINIAPP__DATABASE__URL_FILE", &file.display().to_string()),
    ]);
    let config = config.expect("valid");
    assert_eq!(setting(&config, "auth.url").value, "http://staging-auth:8005");
    // The variable is missing.
    let endpoint = setting(&config, "telemetry.otlp_endpoint");
    assert_eq!(endpoint.value, "http://$(COLLECTOR_SERVICE):4317");
    let shown = &setting(&config, "database.url").value;
    assert!(shown.contains("@staging-postgres/miniapp") && !shown.contains("pass@"), "{shown}");
}

#[test]
fn variables_of_opentelemetry_are_aliases() {
    #[derive(Deserialize)]
    struct Telemetry {
        sampler: String,
        #[serde(deserialize_with = "duration")]
        otlp_timeout: Duration,
        queue_size: u32,
    }

    impl Section for Telemetry {
        const NAME: &'static str = "telemetry";
    }

    let config = load(&[
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
    ]);
    let config = config.expect("valid");
    let telemetry: Telemetry = config.section().expect("valid");
    assert_eq!(telemetry.sampler, "always_on");
    assert_eq!((telemetry.otlp_timeout, telemetry.queue_size), (Duration::from_millis(2500), 7));
    assert_eq!(setting(&config, "telemetry.otlp_headers").value, "[hidden]");
    assert!(!format!("{config:?}").contains("Bearer"));
    let source = Source::Variable("OTEL_TRACES_SAMPLER".to_owned());
    assert_eq!(setting(&config, "telemetry.sampler").source, source);
}

#[test]
fn unusable_opentelemetry_variables_are_ignored_with_a_warning() {
    let defaults = load(&[]).expect("valid");
    for (variable, value) in [
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_PROPAGATORS", "tracecontext,b3"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:///socket"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999999999"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "0"),
    ] {
        let config = load(&[(variable, value)]).expect("valid");
        let [warning] = config.warnings() else { panic!("{variable}: {:?}", config.warnings()) };
        assert!(warning.starts_with(&format!("{variable} must ")), "{warning}");
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"), "{variable}");
    }
}

#[test]
fn opentelemetry_names_have_no_case_and_signals_take_precedence() {
    let config = load(&[
        ("OTEL_SDK_DISABLED", " TRUE "),
        ("OTEL_TRACES_EXPORTER", "None"),
        ("OTEL_PROPAGATORS", "Baggage, TraceContext"),
        ("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "GZip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", " "),
    ]);
    let config = config.expect("valid");
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    for (key, value) in [
        ("disabled", "true"),
        ("traces_exporter", "none"),
        ("propagators", "baggage,tracecontext"),
        ("sampler", "parentbased_traceidratio"),
        ("sampler_arg", "0.25"),
        ("otlp_protocol", "http/protobuf"),
        ("otlp_compression", "gzip"),
        ("otlp_timeout", "2000ms"),
        ("otlp_headers", "[hidden]"),
        ("otlp_endpoint", ""),
    ] {
        assert_eq!(setting(&config, &format!("telemetry.{key}")).value, value, "{key}");
    }
    // The argument has to suit the sampler, whichever setting names that.
    for (sampler, argument, is_used) in [
        ("traceidratio", "2", false),
        ("ratelimited", "2", true),
        ("ratelimited", "0.5", false),
        ("always_on", "anything", true),
    ] {
        let own = [("MINIAPP__TELEMETRY__SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        let config = load(&own).expect("valid");
        assert_eq!(config.warnings().is_empty(), is_used, "{sampler} {argument}");
    }
}

#[test]
fn wrong_value_is_refused_with_its_key_and_source() {
    for value in ["many", "0", "99999999"] {
        let text = error_of::<Worker>(load(&[("MINIAPP__WORKER__CONCURRENCY", value)]));
        let start = "worker.concurrency (MINIAPP__WORKER__CONCURRENCY) ";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("the environment (MINIAPP__WORKER__CONCURRENCY)"), "{text}");
    }
    let text = error_of::<Worker>(load(&[("MINIAPP__WORKER__LEASE", "0s")]));
    assert!(text.contains("must be from 1s to 3600s, not 0ns"), "{text}");
    let text = error_of::<Database>(load(&[("MINIAPP__DATABASE__URL", "mongodb://x")]));
    assert!(text.contains("must begin with sqlite:// or postgres://"), "{text}");
    let (path, config) = load_file("api = 3\n", &[]);
    let text = error_of::<Api>(config);
    assert!(text.starts_with("api ") && text.contains(&path), "{text}");
}

#[test]
fn program_validates_the_sections_that_it_uses() {
    let config = load(&[("MINIAPP__WORKER__LEASE", "0s")]).expect("read by a worker alone");
    assert!(config.validate(&[check::<Api>, check::<Database>]).is_ok());
    assert!(config.validate(&[check::<Api>, check::<Worker>]).is_err());
}

#[test]
fn unreadable_file_is_refused() {
    let (path, config) = load_file("a = \n", &[]);
    let text = error_of::<Api>(config);
    assert!(text.contains(&path) && text.contains("line 1"), "{text}");
    let text = error_of::<Api>(load(&[("MINIAPP_CONFIG", "/nowhere/x.toml")]));
    assert!(text.contains("/nowhere/x.toml"), "{text}");
}

#[test]
fn secret_may_come_from_a_file_and_is_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("secret");
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(&path, format!("{secret}\n")).expect("written");
    let file = path.display().to_string();
    let config = load(&[("MINIAPP__AUTH__SECRET_FILE", &file)]).expect("valid");
    let auth: Auth = config.section().expect("valid");
    assert_eq!(auth.secret.as_ref().expect("set").expose_secret(), secret);
    assert!(!format!("{config:?}").contains(secret));
    let shown = setting(&config, "auth.secret");
    assert_eq!(shown.value, "[hidden]");
    assert!(matches!(&shown.source, Source::SecretFile { path: found, .. } if *found == path));
    let text = error_of::<Auth>(load(&[
        ("MINIAPP__AUTH__SECRET_FILE", &file),
        ("MINIAPP__AUTH__SECRET", secret),
    ]));
    assert!(text.contains("both set") && !text.contains(secret), "{text}");
    let text = error_of::<Api>(load(&[("MINIAPP__API__LISTEN_FILE", &file)]));
    assert!(text.contains("unknown setting"), "{text}");
    let (_, config) = load_file("[auth]\nsecret = 123456789\n", &[]);
    assert!(!error_of::<Auth>(config).contains("123456789"));
}

#[test]
fn third_parties_add_sections() {
    #[derive(Deserialize)]
    struct Resize {
        quality: u8,
        api_key: String,
    }

    impl Section for Resize {
        const NAME: &'static str = "resize";
    }

    let schema = Schema {
        defaults: "[resize]\nquality = 80\napi_key = \"\"\n",
        secret_urls: &[],
        secrets: &["resize.api_key"],
    };
    let load = |variables: &[(&str, &str)]| {
        Config::load_schemas(&[PLATFORM, schema], None, environment(variables))
    };
    let config = load(&[("MINIAPP__RESIZE__API_KEY", "abc"), ("MINIAPP__WORKER__NAME", "w")]);
    let config = config.expect("valid");
    let resize: Resize = config.section().expect("valid");
    assert_eq!((resize.quality, resize.api_key.as_str()), (80, "abc"));
    assert_eq!(setting(&config, "resize.api_key").value, "[hidden]");
    let text = error_of::<Resize>(load(&[("MINIAPP__RESIZE__QUALTY", "1")]));
    assert!(text.contains("did you mean MINIAPP__RESIZE__QUALITY?"), "{text}");
}
