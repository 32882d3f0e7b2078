//! Tests of the whole platform: its processes, pages, manifests, dashboards and traces.

mod manifests;
mod observability;
mod platform;
mod readme;
mod separate;
mod traces;
