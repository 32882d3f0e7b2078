//! Traces show every step of a task and where its time was spent. They are read from a collector
//! in the test process, and from Jaeger.

mod accounts;
mod checks;
mod embedded;
mod hostile;
mod jaeger;
mod separate;
mod strangers;
mod support;
