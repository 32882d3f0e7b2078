//! Permissions of pods, and secrets.

use serde_json::{Value, json};

use crate::manifests::object::{list, map, text};
use crate::manifests::rendered::{all, overlays, production};

/// The Pod Security Standard "restricted", a read-only root file system, and no API token.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn containers_are_restricted() {
    for it in all() {
        for pod in it.pods() {
            let place = format!("{}: {} {}", it.name, pod.owner.kind(), pod.owner.name());
            let (spec, security) = (pod.spec(), &pod.spec()["securityContext"]);
            assert_eq!(security["runAsNonRoot"], json!(true), "{place}");
            assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "{place}");
            assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{place}");
            assert_eq!(spec["automountServiceAccountToken"], json!(false), "{place}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[host].is_null(), "{place}: {host}");
            }
            let is_of_host = |volume: &Value| !volume["hostPath"].is_null();
            assert!(!list(spec, "/volumes").iter().any(is_of_host), "{place}: hostPath");
            for container in pod.containers() {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                });
                assert_eq!(container["securityContext"], expected, "{place}");
            }
        }
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn workloads_have_separate_service_accounts() {
    for it in all() {
        for pod in it.pods() {
            let account = text(pod.spec(), "/serviceAccountName");
            assert_eq!(account, pod.owner.name(), "{}", it.name);
            let object = it.named("ServiceAccount", account);
            let object = object.unwrap_or_else(|| panic!("{} lacks {account}", it.name));
            assert_eq!(object.at("/automountServiceAccountToken"), &json!(false), "{account}");
        }
    }
}

/// The secrets of the development overlay are public, and in Secret objects all the same.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn secrets_are_only_in_secret_objects() {
    for it in all() {
        for object in it.objects.iter().filter(|object| object.kind() != "Secret") {
            let place = format!("{}: {} {}", it.name, object.kind(), object.name());
            each_text(object.value(), &mut |value| {
                assert!(!has_password(value), "{place} has a password in {value:?}");
            });
        }
        for container in it.pods().flat_map(|pod| pod.containers().collect::<Vec<_>>()) {
            for variable in list(container, "/env") {
                let name = text(variable, "/name");
                let sounds = ["PASS", "SECRET", "TOKEN"].iter().any(|word| name.contains(word));
                let is_hidden = name.ends_with("_FILE") || variable["value"].is_null();
                assert!(!sounds || is_hidden, "{}: {name} is readable", it.name);
            }
        }
    }
    assert_eq!(production().of_kind("Secret").count(), 0, "production's secrets come from outside");
}

fn each_text(value: &Value, seen: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => seen(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, seen)),
        Value::Object(fields) => fields.values().for_each(|field| each_text(field, seen)),
        _ => {}
    }
}

/// Whether a URL in `text` has a password.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = rest.split(['/', '?', '"', ' ', '\n']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

#[test]
fn password_in_url_is_detected() {
    assert!(has_password("see amqp://me:secret@mq:5672/ there"));
    for url in ["http://auth:8005", "smtp://me@host:25", "a@b", "http://h/a:b@c"] {
        assert!(!has_password(url), "{url}");
    }
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn objects_have_common_labels() {
    for it in overlays() {
        for object in &it.objects {
            let place = format!("{}: {} {}", it.name, object.kind(), object.name());
            let labels = map(object.value(), "/metadata/labels").expect(&place);
            assert_eq!(labels.get("app.kubernetes.io/part-of"), Some(&json!("miniapp")), "{place}");
        }
        for pod in it.pods() {
            assert!(!pod.owner.app().is_empty(), "{}: {}", it.name, pod.owner.name());
            let version = pod.labels().get("app.kubernetes.io/version");
            let expected = pod.is_ours().then(|| json!(env!("CARGO_PKG_VERSION")));
            assert_eq!(version, expected.as_ref(), "{}: {}", it.name, pod.owner.name());
        }
    }
}
