//! The services as processes of their own, on one RabbitMQ and one PostgreSQL: what they
//! are to each other, and what they do when one of them, the broker or the database is away
//! or otherwise than it should be.
//!
//! Users of task systems complain of some things more than of others. What shows that they
//! don't happen here:
//!
//! | complaint | test |
//! |---|---|
//! | a task runs twice because it took long | `outages::a_task_that_takes_longer_than_a_delivery_may` |
//! | an ack timeout ends long tasks | the same |
//! | a worker is connected again and hears nothing | `outages::connections_closed_by_the_management_api` |
//! | a cancel doesn't cancel | `miniapp_tasks::a_cancel_reaches_whichever_worker_runs_the_task` |
//! | what isn't heard or doesn't listen runs on | `stopping` in the worker's tests |
//! | tasks are running for ever | `miniapp_tasks::a_worker_that_dies_or_sleeps_costs_a_lease_and_nothing_else` |
//! | a lock is lost while the task runs, and it ends twice | the same |
//! | a crash loses tasks | `loss` in the platform's tests |
//! | a restart of the broker loses tasks | `outages::an_outage_of_half_a_minute_with_many_waiting` |
//! | a task that kills its worker is tried for ever | `miniapp_tasks::a_task_that_takes_its_worker_with_it_fails_in_the_end` |
//! | tasks of later take the place of those of now | `miniapp_tasks::tasks_of_later_take_no_worker` |
//! | heartbeats are too much for the database | `database::many_leases_are_one_write` |

mod clocks;
mod database;
mod messages;
mod outages;
mod settings;
mod support;
mod tasks;
mod tokens;
