//! The worker's name.

use std::sync::atomic::{AtomicU32, Ordering};

/// The name for the next worker of this process: the one that was `given`, numbered from
/// the second on, or else one made of host and process.
pub(crate) fn next(given: Option<&str>) -> String {
    static WORKERS: AtomicU32 = AtomicU32::new(0);
    let number = WORKERS.fetch_add(1, Ordering::Relaxed) + 1;
    numbered(given, number)
}

fn numbered(given: Option<&str>, number: u32) -> String {
    match given {
        Some(name) if number == 1 => name.to_owned(),
        Some(name) => format!("{name}-{number}"),
        None => {
            let system = rustix::system::uname();
            let host = system.nodename().to_string_lossy();
            format!("{host}-{}-{number}", std::process::id())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_a_process_have_names_of_their_own() {
        assert_eq!(numbered(Some("red"), 1), "red");
        assert_eq!(numbered(Some("red"), 2), "red-2");
        assert_ne!(next(None), next(None));
        assert!(numbered(None, 3).ends_with(&format!("-{}-3", std::process::id())));
    }
}
