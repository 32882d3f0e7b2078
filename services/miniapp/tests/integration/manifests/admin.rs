//! The template for jobs of an administrator.

use miniapp_accounts::TokenConfig;
use miniapp_config::Database;
use serde_json::{Value, json};

use crate::manifests::object::{Object, Pod, list, selects, text};
use crate::manifests::read;
use crate::manifests::rendered::{Rendered, all, production, rendered};
use crate::manifests::settings::{config_of, section};

fn template(it: &Rendered) -> (&Object, Pod<'_>) {
    let object = it.named("CronJob", "admin").expect("the template");
    (object, object.pod().expect("a pod"))
}

#[test]
#[ignore = "needs kubectl or kustomize"]
fn admin_component_has_database_and_secret() {
    let component = all().iter().find(|it| it.name == "components/admin").expect("the component");
    for it in [component, production()] {
        let (object, pod) = template(it);
        assert_eq!(object.at("/spec/suspend"), &json!(true));
        let config = config_of(it, pod);
        let database: Database = section(&config);
        assert_eq!(database.url.scheme(), "postgresql");
        let tokens: TokenConfig = section(&config);
        assert!(tokens.secret.is_some() && tokens.secret_previous.is_none());
        let migrate = it.named("Job", "migrate").and_then(Object::pod).expect("a pod");
        let [image, expected] = [pod, migrate].map(|pod| text(pod.spec(), "/containers/0/image"));
        assert_eq!(image, expected, "{}", it.name);
    }
}

/// While the secret is rotated, commands open what either secret has sealed.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn admin_component_reads_the_previous_secret() {
    let components = ["components/admin", "components/previous-secret"];
    let it = rendered(json!({"resources": ["base"], "components": components}));
    let (_, pod) = template(&it);
    let tokens: TokenConfig = section(&config_of(&it, pod));
    assert!(tokens.secret_previous.is_some());
}

/// As for the migration.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn network_policies_admit_jobs_of_administrators() {
    let it = production();
    let (_, admin) = template(it);
    let migrate = it.named("Job", "migrate").and_then(Object::pod).expect("a pod");
    let admits = |pod: Pod<'_>| {
        let policies = it.of_kind("NetworkPolicy").filter(|policy| {
            let is_selected = selects(policy.at("/spec/podSelector"), pod.labels());
            let rules = list(policy.value(), "/spec/ingress").iter();
            let mut peers = rules.flat_map(|rule| list(rule, "/from"));
            is_selected
                || peers
                    .any(|peer| peer.get("podSelector").is_some_and(|it| selects(it, pod.labels())))
        });
        policies.map(Object::name).collect::<Vec<_>>()
    };
    assert!(admits(admin).contains(&"cloudnative-pg"), "{:?}", admits(admin));
    assert_eq!(admits(admin), admits(migrate));
}

/// The documented patch replaces the command of the template.
#[test]
#[ignore = "needs kubectl or kustomize"]
fn documented_job_runs_a_command() {
    let page = read("docs/guides/kubernetes.md");
    let (_, patch) = page.split_once("--output yaml --patch '").expect("a patch");
    let (patch, _) = patch.split_once('\'').expect("its end");
    let patch: Value = serde_json::from_str(patch).expect("JSON");
    let (object, _) = template(production());
    let job = object.at("/spec/jobTemplate");
    let replaced = job.pointer(text(&patch, "/0/path")).expect("a command");
    assert_eq!(text(&patch, "/0/op"), "replace");
    assert_eq!(replaced[0], patch[0]["value"][0]);
    let files = list(job, "/spec/template/spec/volumes/0/projected/sources").iter();
    let mut files = files.flat_map(|source| list(source, "/configMap/items"));
    assert!(files.any(|item| item["path"] == "deletions.txt"));
    assert!(page.contains("`/run/secrets/miniapp/deletions.txt`"));
}
