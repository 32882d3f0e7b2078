//! The settings of pods, read by the configuration of the programs.

use std::collections::BTreeMap;
use std::fs;

use miniapp_accounts::TokenConfig;
use miniapp_api::{ApiConfig, AuthServerConfig};
use miniapp_auth::AuthConfig;
use miniapp_config::{Config, Database, Section};
use miniapp_program::AdminConfig;
use serde_json::Value;

use crate::manifests::object::{Object, Pod, list, map, text};
use crate::manifests::rendered::{Rendered, all};

/// Example contents of the Secrets, by the variable that names the file.
const SECRETS: [(&str, &str); 5] = [
    ("MINIAPP__DATABASE__URL_FILE", "postgresql://user:password@postgres-rw.miniapp:5432/miniapp"),
    ("MINIAPP__BROKER__URL_FILE", "amqps://user:password@rabbitmq.miniapp.svc:5671/"),
    ("MINIAPP__MAIL__URL_FILE", "smtp://user:password@mail.example.com:587"),
    ("MINIAPP__AUTH__SECRET_FILE", "at-least-32-characters-of-new_user"),
    ("MINIAPP__AUTH__SECRET_PREVIOUS_FILE", "at-least-32-characters-of-old_user"),
];
/// Variables that are no settings: of the pod, and of PostgreSQL's client.
const OTHERS: [&str; 5] = ["POD_NAME", "POD_NAMESPACE", "NODE_NAME", "PGSSLMODE", "PGSSLROOTCERT"];
/// Variables that contain the name of a Service, to which settings refer.
const SERVICE: &str = "_SERVICE";

#[test]
#[ignore = "needs kubectl or kustomize"]
fn pods_set_known_settings() {
    for it in all() {
        for pod in it.pods().filter(|pod| pod.is_ours()) {
            let place = format!("{}: {}", it.name, pod.owner.name());
            for name in environment(it, pod).keys() {
                let is_ours = name.starts_with("MINIAPP__") || name.starts_with("OTEL_");
                let is_known =
                    is_ours || OTHERS.contains(&name.as_str()) || name.ends_with(SERVICE);
                assert!(is_known, "{place} sets {name}");
            }
            let config = config_of(it, pod);
            // Unknown variables of OpenTelemetry are ignored without a warning.
            let known = config.settings().iter().map(|setting| setting.source.to_string());
            let known: Vec<String> = known.collect();
            for name in environment(it, pod).keys().filter(|name| name.starts_with("OTEL_")) {
                assert!(known.iter().any(|source| source.contains(name)), "{place}: {name}");
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn listen_addresses_match_container_ports() {
    for it in all() {
        for service in [miniapp_auth::PROGRAM, miniapp_api::PROGRAM, miniapp_worker::PROGRAM] {
            let pod = it.named("Deployment", service.name).and_then(Object::pod);
            let pod = pod.unwrap_or_else(|| panic!("{} lacks {}", it.name, service.name));
            let config = config_of(it, pod);
            let admin: AdminConfig = section(&config);
            let http = match service.name {
                "auth" => Some(section::<AuthConfig>(&config).listen),
                "api" => Some(section::<ApiConfig>(&config).listen),
                _ => None,
            };
            for (name, address) in
                [("http", http), ("admin", Some(admin.address(service.admin_port)))]
            {
                let port = address.map(|address| u64::from(address.port()));
                assert_eq!(pod.port(name), port, "{}: {name} of {}", it.name, service.name);
                let is_open = address.is_none_or(|address| address.ip().is_unspecified());
                assert!(is_open, "{}: {address:?} is unreachable", it.name);
            }
            let auth: AuthServerConfig = section(&config);
            assert_eq!(auth.url, "http://auth:8005", "{}", it.name);
        }
    }
}

/// Every client of the database uses the pooler that the component adds.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn pooler_component_is_used_by_all_clients() {
    let it = all().iter().find(|it| it.name == "components/pooler").expect("the component");
    let pooler = it.of_kind("Pooler").next().expect("a pooler");
    assert_eq!(text(pooler.value(), "/spec/pgbouncer/poolMode"), "transaction");
    let mut clients = 0;
    for pod in it.pods().filter(|pod| pod.is_ours()) {
        let database: Database = section(&config_of(it, pod));
        assert_eq!(database.pooler.as_deref(), Some(pooler.name()), "{}", pod.owner.name());
        clients += 1;
    }
    assert_eq!(clients, 4);
}

/// The component adds the second secret, and auth reads both.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn previous_secret_component_is_read_by_auth() {
    for it in all() {
        let pod = it.named("Deployment", "auth").and_then(Object::pod).expect("auth");
        let tokens: TokenConfig = section(&config_of(it, pod));
        let is_rotating = it.name == "components/previous-secret";
        assert_eq!(tokens.secret_previous.is_some(), is_rotating, "{}", it.name);
        assert_eq!(tokens.allow_published_secret, it.name == "overlays/dev", "{}", it.name);
    }
}

pub fn section<T: Section>(config: &Config) -> T {
    config.section().unwrap_or_else(|error| panic!("{error}"))
}

/// The configuration that results from the variables of a pod.
pub fn config_of(it: &Rendered, pod: Pod<'_>) -> Config {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut environment = environment(it, pod);
    for path in environment.values().filter(|value| value.starts_with("/run/secrets/")) {
        assert!(is_mounted(pod, path), "{}: nothing is at {path}", it.name);
    }
    for (variable, content) in SECRETS {
        let Some(path) = environment.get_mut(variable) else { continue };
        let file = scratch.path().join(variable);
        fs::write(&file, content).expect("written");
        *path = file.display().to_string();
    }
    Config::load_from(None, environment)
        .and_then(|config| miniapp::validate(&config).map(|()| config))
        .unwrap_or_else(|error| panic!("{}: {}: {error}", it.name, pod.owner.name()))
}

/// The variables of a pod. As in Kubernetes, later `ConfigMap`s override earlier ones, its own
/// variables override both, and these may refer to the ones before.
pub fn environment(it: &Rendered, pod: Pod<'_>) -> BTreeMap<String, String> {
    let container = &pod.spec()["containers"][0];
    let mut variables = BTreeMap::new();
    for source in list(container, "/envFrom") {
        let name = text(source, "/configMapRef/name");
        let object = it.named("ConfigMap", name);
        let object = object.unwrap_or_else(|| panic!("{} lacks {name}", it.name));
        // It may be empty.
        for (name, value) in map(object.value(), "/data").into_iter().flatten() {
            variables.insert(name.clone(), value.as_str().expect("a text").to_owned());
        }
    }
    for variable in list(container, "/env") {
        let value = variable.get("value").and_then(Value::as_str).unwrap_or("from elsewhere");
        let value = expand(value, &variables);
        variables.insert(text(variable, "/name").to_owned(), value);
    }
    variables
}

/// Replaces each `$(NAME)`, as Kubernetes does.
fn expand(value: &str, variables: &BTreeMap<String, String>) -> String {
    variables.iter().fold(value.to_owned(), |value, (name, content)| {
        value.replace(&format!("$({name})"), content)
    })
}

/// Whether a key of a Secret is mounted at `path`.
fn is_mounted(pod: Pod<'_>, path: &str) -> bool {
    let mounts = list(pod.spec(), "/containers/0/volumeMounts").iter();
    let mut files = mounts.flat_map(|mount| {
        let volumes = list(pod.spec(), "/volumes").iter();
        let volumes = volumes.filter(|volume| volume["name"] == mount["name"]);
        let sources = volumes.flat_map(|volume| list(volume, "/projected/sources"));
        let items = sources.flat_map(|source| list(source, "/secret/items"));
        items.map(|item| format!("{}/{}", text(mount, "/mountPath"), text(item, "/path")))
    });
    files.any(|file| file == path)
}
