//! Tests of the auth service and of its API description.

mod openapi;
mod service;
