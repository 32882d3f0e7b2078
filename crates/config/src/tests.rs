use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.push(("HOME".to_owned(), "/home/me".to_owned()));
    Config::load_from(None, variables)
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

fn refusal(loaded: Result<Config, ConfigError>) -> String {
    let text = loaded.expect_err("refused").to_string();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    text
}

fn setting<'a>(config: &'a Config, key: &str) -> &'a Setting {
    config.settings().iter().find(|setting| setting.key == key).expect("a known key")
}

#[test]
fn the_default_file_is_whole_and_valid() {
    let config = load(&[]).expect("valid");
    assert_eq!(config.data_dir, Path::new("/home/me/.local/share/miniapp"));
    assert_eq!(config.database.url.expose(), "sqlite:///home/me/.local/share/miniapp/miniapp.db");
    assert_eq!(config.worker.lease, Duration::from_secs(15));
    assert_eq!(config.limits.body, 1 << 20);
    assert!(config.auth.secret.is_none() && config.admin.listen.is_none());
    assert!(config.settings().iter().all(|setting| setting.source == Source::Default));
    assert_eq!(setting(&config, "database.url").value, config.database.url.expose());
}

#[test]
fn every_key_of_the_default_file_is_explained() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || explained, "no comment above: {line}");
        explained = line.starts_with('#');
    }
}

#[test]
fn data_goes_where_xdg_says() {
    let config = load(&[("XDG_DATA_HOME", "/data")]).expect("valid");
    assert_eq!(config.data_dir, Path::new("/data/miniapp"));
    let config = load(&[("XDG_DATA_HOME", "relative")]).expect("valid");
    assert_eq!(config.data_dir, Path::new("/home/me/.local/share/miniapp"));
    assert!(matches!(Config::load_from(None, []), Err(ConfigError::NoDataDir)));
}

#[test]
fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
    let file = "[worker]\nconcurrency = 8\nlease = 20\n[api]\ncors_origins = [\"https://a\"]\n";
    let environment =
        [("MINIAPP__WORKER__CONCURRENCY", "4"), ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "true")];
    let (path, config) = load_file(file, &environment);
    let config = config.expect("valid");
    assert_eq!(config.worker.concurrency, 4);
    assert_eq!(config.worker.lease, Duration::from_secs(20));
    assert!(config.worker.http_allow_private);
    assert_eq!(config.api.cors_origins, ["https://a"]);
    let variable = "MINIAPP__WORKER__CONCURRENCY".to_owned();
    assert_eq!(setting(&config, "worker.concurrency").source, Source::Variable(variable));
    assert_eq!(setting(&config, "worker.lease").source, Source::File(path.into()));
    assert_eq!(setting(&config, "worker.lease").value, "20");
    assert_eq!(setting(&config, "worker.grace").source, Source::Default);
}

#[test]
fn the_environment_holds_lists_and_numbers_that_are_texts() {
    let config = load(&[
        ("MINIAPP__API__CORS_ORIGINS", "https://a, https://b"),
        ("MINIAPP__WORKER__NAME", "123"),
        ("MINIAPP__LIMITS__BODY", "2MiB"),
        ("MINIAPP__ADMIN__LISTEN", "[::1]:9"),
    ]);
    let config = config.expect("valid");
    assert_eq!(config.api.cors_origins, ["https://a", "https://b"]);
    assert_eq!(config.worker.name.as_deref(), Some("123"));
    assert_eq!(config.limits.body, 2 << 20);
    assert_eq!(config.admin_listen(9005).to_string(), "[::1]:9");
    let config = load(&[]).expect("valid");
    assert_eq!(config.admin_listen(9005).to_string(), "127.0.0.1:9005");
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let text = refusal(load(&[("MINIAPP__WORKER__CONCURENCY", "4")]));
    assert!(text.contains("unknown setting MINIAPP__WORKER__CONCURENCY"), "{text}");
    assert!(text.contains("did you mean MINIAPP__WORKER__CONCURRENCY?"), "{text}");
    let text = refusal(load(&[("MINIAPP_API__LISTEN", "x")]));
    assert!(text.contains("did you mean MINIAPP__API__LISTEN?"), "{text}");
    let (path, config) = load_file("[api]\nlisten_on = \"x\"\n", &[]);
    let text = refusal(config);
    assert!(text.contains("api.listen_on") && text.contains(&path), "{text}");
    assert!(text.contains("did you mean api.listen?"), "{text}");
    let (_, config) = load_file("concurrency = 3\n", &[]);
    assert!(refusal(config).contains("did you mean worker.concurrency?"));
    let text = refusal(load(&[("MINIAPP__ZZZ__QQQ", "4")]));
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn what_kubernetes_sets_is_left_alone() {
    assert!(load(&[("MINIAPP_SERVICE_HOST", "10.0.0.1"), ("MINIAPP_URL", "x")]).is_ok());
}

#[test]
fn opentelemetrys_own_names_count() {
    let config = load(&[
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
    ]);
    let config = config.expect("valid");
    assert_eq!(config.telemetry.sampler, "always_on");
    let telemetry = &config.telemetry;
    assert_eq!((telemetry.otlp_timeout, telemetry.queue_size), (Duration::from_millis(2500), 7));
    assert_eq!(telemetry.otlp_protocol, Some(OtlpProtocol::Http));
    assert_eq!(setting(&config, "telemetry.otlp_headers").value, "[hidden]");
    assert!(!format!("{config:?}").contains("Bearer"));
    let source = Source::Variable("OTEL_TRACES_SAMPLER".to_owned());
    assert_eq!(setting(&config, "telemetry.sampler").source, source);
    let text = refusal(load(&[("OTEL_TRACES_SAMPLER", "sometimes")]));
    assert!(text.contains("OTEL_TRACES_SAMPLER") && text.contains("always_on"), "{text}");
}

#[test]
fn a_wrong_value_is_told_with_its_key_and_where_it_stands() {
    let cases = [
        ("MINIAPP__API__LISTEN", "localhost", "api.listen"),
        ("MINIAPP__WORKER__CONCURRENCY", "many", "worker.concurrency"),
        ("MINIAPP__WORKER__CONCURRENCY", "0", "worker.concurrency"),
        ("MINIAPP__WORKER__CONCURRENCY", "99999999", "worker.concurrency"),
        ("MINIAPP__WORKER__LEASE", "soon", "worker.lease"),
        ("MINIAPP__WORKER__LEASE", "0s", "worker.lease"),
        ("MINIAPP__WORKER__HTTP_ALLOW_PRIVATE", "perhaps", "worker.http_allow_private"),
        ("MINIAPP__DATABASE__URL", "mongodb://x", "database.url"),
        ("MINIAPP__DATABASE__SYNCHRONOUS", "never", "database.synchronous"),
        ("MINIAPP__DATABASE__CONNECTIONS", "0", "database.connections"),
        ("MINIAPP__BROKER__URL", "", "broker.url"),
        ("MINIAPP__BROKER__CA_FILE", "/ca.pem", "broker.ca_file"),
        ("MINIAPP__LIMITS__TRUSTED_PROXIES", "10.0.0.1/99", "limits.trusted_proxies"),
        ("MINIAPP__MAIL__URL", "pop3://host", "mail.url"),
        ("MINIAPP__MAIL__FROM", "nobody", "mail.from"),
        ("MINIAPP__MAIL__TIMEOUT", "1m", "mail.timeout"),
        ("MINIAPP__AUTH__URL", "http://a/", "auth.url"),
        ("MINIAPP__AUTH__URL", "auth:8005", "auth.url"),
        ("MINIAPP__AUTH__SECRET", "short", "auth.secret"),
        ("MINIAPP__AUTH__ACCESS_TTL", "2d", "auth.access_ttl"),
        ("MINIAPP__AUTH__KEY_OVERLAP", "1m", "auth.key_overlap"),
        ("MINIAPP__ADMIN__LISTEN", ":9000", "admin.listen"),
        ("MINIAPP__API__CORS_ORIGINS", "a.example", "api.cors_origins"),
        ("MINIAPP__LOG__LEVEL", "info,=", "log.level"),
        ("MINIAPP__LOG__FORMAT", "xml", "log.format"),
        ("MINIAPP__TELEMETRY__SAMPLER_ARG", "x", "telemetry.sampler_arg"),
        ("MINIAPP__TELEMETRY__OTLP_ENDPOINT", "localhost:4317", "telemetry.otlp_endpoint"),
        ("MINIAPP__TELEMETRY__OTLP_PROTOCOL", "http/json", "telemetry.otlp_protocol"),
        ("MINIAPP__TELEMETRY__OTLP_COMPRESSION", "zip", "telemetry.otlp_compression"),
        ("MINIAPP__TELEMETRY__BATCH_SIZE", "0", "telemetry.batch_size"),
        ("MINIAPP__TELEMETRY__JAEGER_URL", "jaeger", "telemetry.jaeger_url"),
    ];
    for (variable, value, key) in cases {
        let text = refusal(load(&[(variable, value)]));
        assert!(text.starts_with(&format!("{key} ({variable}) ")), "{text}");
        assert!(text.ends_with(&format!("the environment ({variable})")), "{text}");
    }
    let (path, config) = load_file("api = 3\n", &[]);
    let text = refusal(config);
    assert!(text.starts_with("api ") && text.contains(&path), "{text}");
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_told() {
    let (path, config) = load_file("a = \n", &[]);
    let text = refusal(config);
    assert!(text.contains(&path) && text.contains("line 1"), "{text}");
    let text = refusal(load(&[("MINIAPP_CONFIG", "/nowhere/x.toml")]));
    assert!(text.contains("/nowhere/x.toml"), "{text}");
}

#[test]
fn a_secret_may_come_from_a_file_and_is_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("secret");
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(&path, format!("{secret}\n")).expect("written");
    let file = path.display().to_string();
    let config = load(&[("MINIAPP__AUTH__SECRET_FILE", &file)]).expect("valid");
    assert_eq!(config.auth.secret.as_ref().expect("set").expose_secret(), secret);
    assert!(!format!("{config:?}").contains(secret));
    let shown = setting(&config, "auth.secret");
    assert_eq!(shown.value, "[hidden]");
    assert!(matches!(&shown.source, Source::SecretFile { path: found, .. } if *found == path));
    let text =
        refusal(load(&[("MINIAPP__AUTH__SECRET_FILE", &file), ("MINIAPP__AUTH__SECRET", secret)]));
    assert!(text.contains("both set") && !text.contains(secret), "{text}");
    let text = refusal(load(&[("MINIAPP__API__LISTEN_FILE", &file)]));
    assert!(text.contains("unknown setting"), "{text}");
    let (_, config) = load_file("[auth]\nsecret = 123456789\n", &[]);
    assert!(!refusal(config).contains("123456789"));
}
