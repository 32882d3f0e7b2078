//! Objects of Kubernetes, and the pods that some of them make.

use serde_json::{Map, Value};

/// One object.
#[derive(Debug)]
pub struct Object(Value);

/// What an object has pods made from.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'o> {
    pub owner: &'o Object,
    template: &'o Value,
}

/// What is at `pointer` as a text; empty where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What is at `pointer` as a list; empty where there is none.
pub fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What is at `pointer` as a map, if there is one.
pub fn map<'v>(value: &'v Value, pointer: &str) -> Option<&'v Map<String, Value>> {
    value.pointer(pointer).and_then(Value::as_object)
}

/// Whether a label selector takes an object with these labels.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let has = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    let plain = map(selector, "/matchLabels").is_none_or(|wanted| wanted.iter().all(has));
    let is_met = |expression: &Value| {
        assert_eq!(text(expression, "/operator"), "In", "{selector}");
        let value = labels.get(text(expression, "/key"));
        value.is_some_and(|value| list(expression, "/values").contains(value))
    };
    plain && list(selector, "/matchExpressions").iter().all(is_met)
}

impl Object {
    /// Reads every document of `yaml`.
    pub fn read_all(yaml: &str) -> Vec<Self> {
        let values: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
        values.into_iter().map(Self).collect()
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn kind(&self) -> &str {
        text(&self.0, "/kind")
    }

    pub fn name(&self) -> &str {
        text(&self.0, "/metadata/name")
    }

    pub fn labels(&self) -> &Value {
        self.at("/metadata/labels")
    }

    /// The name by which it is told from the others of its kind.
    pub fn app(&self) -> &str {
        label(self.labels(), "app.kubernetes.io/name")
    }

    /// What is at `pointer`; null where there is nothing.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Whether it is Kubernetes' own and not an operator's.
    pub fn is_built_in(&self) -> bool {
        let version = text(&self.0, "/apiVersion");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        !group.contains('.') || (group.ends_with(".k8s.io") && group != "gateway.networking.k8s.io")
    }

    pub fn pod(&self) -> Option<Pod<'_>> {
        let makes_pods = matches!(self.kind(), "Deployment" | "StatefulSet" | "DaemonSet" | "Job");
        makes_pods.then(|| Pod { owner: self, template: self.at("/spec/template") })
    }
}

impl<'o> Pod<'o> {
    pub fn spec(self) -> &'o Value {
        &self.template["spec"]
    }

    pub fn labels(self) -> &'o Value {
        &self.template["metadata"]["labels"]
    }

    pub fn containers(self) -> impl Iterator<Item = &'o Value> {
        let spec = self.spec();
        list(spec, "/initContainers").iter().chain(list(spec, "/containers"))
    }

    /// The number of a port of this name.
    pub fn port(self, name: &str) -> Option<u64> {
        let mut ports = self.containers().flat_map(|container| list(container, "/ports"));
        ports.find(|port| text(port, "/name") == name)?["containerPort"].as_u64()
    }

    /// Whether a program of ours runs in it.
    pub fn is_ours(self) -> bool {
        matches!(label(self.labels(), "app.kubernetes.io/component"), "service" | "migration")
    }

    /// Whether it is to run until it is told to stop.
    pub fn is_lasting(self) -> bool {
        self.owner.kind() != "Job"
    }
}

fn label<'v>(labels: &'v Value, key: &str) -> &'v str {
    labels.get(key).and_then(Value::as_str).unwrap_or_default()
}
