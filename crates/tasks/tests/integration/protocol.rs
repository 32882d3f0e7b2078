//! The task protocol: the facade, the background loops, a broker and a store, under injected
//! failures.

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
