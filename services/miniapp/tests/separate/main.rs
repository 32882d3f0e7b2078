//! The services as processes of their own, on one RabbitMQ and one PostgreSQL: what they
//! are to each other, and what they do when one of them, the broker or the database is away
//! or otherwise than it should be.

mod clocks;
mod database;
mod messages;
mod outages;
mod settings;
mod support;
mod tasks;
mod tokens;
