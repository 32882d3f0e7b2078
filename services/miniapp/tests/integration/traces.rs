//! What traces show of the platform: the whole way of each task, and where its time went.
//! They are read where they are sent: from a collector of the tests' own, and from Jaeger
//! where that is installed.

mod accounts;
mod checks;
mod embedded;
mod hostile;
mod jaeger;
mod separate;
mod support;
