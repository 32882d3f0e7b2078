//! The services as separate processes on one RabbitMQ and one PostgreSQL: how they work together,
//! and what they do when a service, the broker or the database is down or misconfigured.
//!
//! Tests for the common complaints of users of task systems:
//!
//! | complaint | test |
//! |---|---|
//! | a long task runs twice | `outages::running_tasks_hold_no_messages` |
//! | an ack timeout ends long tasks | the same |
//! | a worker reconnects and receives nothing | `outages::services_reconnect_after_connections_are_closed` |
//! | a cancel has no effect | `tasks::cancel_reaches_running_worker` |
//! | a task that ignores its cancel runs on | `stopping` in the worker's tests |
//! | tasks stay in the status executing | `tasks::tasks_of_dead_or_frozen_worker_run_again` |
//! | a lock is lost while the task runs, and the task ends twice | the same |
//! | a crash loses tasks | `loss` in the platform's tests |
//! | a restart of the broker loses tasks | `outages::broker_outage_loses_no_waiting_tasks` |
//! | a task that kills its worker is retried forever | `tasks::task_that_kills_its_worker_fails` |
//! | delayed tasks occupy workers | `tasks::delayed_tasks_occupy_no_worker` |
//! | heartbeats overload the database | `database::leases_of_a_worker_are_renewed_by_one_statement` |

mod api_keys;
mod clocks;
mod database;
mod messages;
mod outages;
mod privileges;
mod restore;
mod settings;
mod support;
mod tasks;
mod tokens;
