//! Progress messages on standard error.

/// Reports what is measured next.
pub fn progress(phase: &str) {
    eprintln!("Measuring: {phase} ...");
}
