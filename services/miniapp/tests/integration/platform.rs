//! The real program over HTTP: it is started, killed, stopped, starved of resources and sent
//! invalid requests.

mod database;
mod disk;
mod errors;
mod logs;
mod loss;
mod secrets;
mod series;
mod start;
mod stop;
mod support;
mod tasks;
mod tokens;
mod trouble;
mod upgrade;
