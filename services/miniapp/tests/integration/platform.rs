//! The whole platform from its outside: the real program, started on free ports, asked
//! over HTTP, killed, stopped, starved and lied to.

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
