//! Kubernetes objects and their pod templates.

use serde_json::{Map, Value};

#[derive(Debug)]
pub struct Object(Value);

/// The pod template of an object.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'o> {
    pub owner: &'o Object,
    template: &'o Value,
}

/// The string at `pointer`, or an empty one.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `pointer`, or an empty one.
pub fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at `pointer`.
pub fn map<'v>(value: &'v Value, pointer: &str) -> Option<&'v Map<String, Value>> {
    value.pointer(pointer).and_then(Value::as_object)
}

/// Whether a label selector matches these labels.
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

    /// The name, which is unique among the objects of a kind.
    pub fn app(&self) -> &str {
        label(self.labels(), "app.kubernetes.io/name")
    }

    /// The value at `pointer`, or null.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Whether the kind belongs to Kubernetes and not to an operator.
    pub fn is_built_in(&self) -> bool {
        let version = text(&self.0, "/apiVersion");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        !group.contains('.') || (group.ends_with(".k8s.io") && group != "gateway.networking.k8s.io")
    }

    pub fn pod(&self) -> Option<Pod<'_>> {
        let template = match self.kind() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "/spec/template",
            "CronJob" => "/spec/jobTemplate/spec/template",
            _ => return None,
        };
        Some(Pod { owner: self, template: self.at(template) })
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

    /// The number of the named port.
    pub fn port(self, name: &str) -> Option<u64> {
        let mut ports = self.containers().flat_map(|container| list(container, "/ports"));
        ports.find(|port| text(port, "/name") == name)?["containerPort"].as_u64()
    }

    /// Whether it runs one of our programs.
    pub fn is_ours(self) -> bool {
        matches!(label(self.labels(), "app.kubernetes.io/component"), "service" | "migration")
    }

    /// Whether it runs until it is stopped, unlike a job.
    pub fn is_lasting(self) -> bool {
        !matches!(self.owner.kind(), "Job" | "CronJob")
    }
}

fn label<'v>(labels: &'v Value, key: &str) -> &'v str {
    labels.get(key).and_then(Value::as_str).unwrap_or_default()
}
