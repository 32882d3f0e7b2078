//! The real program over HTTP: it is started, killed, stopped, starved of resources and sent
//! invalid requests.

mod api_keys;
mod backup;
mod database;
mod disabled;
mod disk;
mod errors;
mod exclusive;
mod faults;
mod kills;
mod logs;
mod memory;
mod metric_series;
mod pooler;
mod secrets;
mod silence;
mod silent_peers;
mod slow_clients;
mod start;
mod stop;
mod support;
mod tasks;
mod tokens;
mod upgrade;
mod workers;
