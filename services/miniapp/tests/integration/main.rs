//! Tests of the whole platform: its processes, commands, pages, manifests, dashboards and traces.

mod cli;
mod manifests;
mod observability;
mod platform;
mod readme;
mod separate;
mod traces;
