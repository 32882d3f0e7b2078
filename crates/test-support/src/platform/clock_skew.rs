//! A wrong system clock for a program.
//!
//! A preloaded library replaces the C library's functions for the time of day. The monotonic
//! clock stays right, as on a real machine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("clock_skew.c");
/// The offset of the time of day.
pub(super) const SECONDS: &str = "SKEW_SECONDS";

/// Compiles the library in `directory`.
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
