//! How tasks live: through their facade, their upkeep, a broker and a store, with
//! everything going wrong that can.

mod batches;
mod crashes;
mod deletions;
mod dispatch;
mod events;
mod faults;
mod leases;
mod outages;
mod random;
mod support;
mod views;
