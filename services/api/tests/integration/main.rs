//! Tests of the api program and of its API description.

mod binary;
mod openapi;
