//! A machine whose clock is wrong, as a program sees it.
//!
//! Programs ask the C library for the time, so that a library which is loaded before it
//! can answer instead. The clock that nobody sets stays right, as it does on such a machine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("skew.c");
/// By how much the time of day is off.
pub(super) const SECONDS: &str = "SKEW_SECONDS";

/// The library, made in `directory`.
pub(super) fn library(directory: &Path) -> PathBuf {
    let library = directory.join("skew.so");
    if !library.exists() {
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-x", "c", "-", "-o"])
            .arg(&library)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a C compiler");
        let mut source = compiler.stdin.take().expect("a pipe");
        source.write_all(SOURCE.as_bytes()).expect("it reads");
        drop(source);
        assert!(compiler.wait().expect("an end").success(), "the library doesn't compile");
    }
    library
}
