//! Names of workers.

use std::sync::atomic::{AtomicU32, Ordering};

/// Returns the name of the next worker of this process: the `configured` one, with a number
/// from the second on, or one of host name and process id.
pub(crate) fn next(configured: Option<&str>) -> String {
    static WORKERS: AtomicU32 = AtomicU32::new(0);
    let number = WORKERS.fetch_add(1, Ordering::Relaxed) + 1;
    numbered(configured, number)
}

fn numbered(configured: Option<&str>, number: u32) -> String {
    match configured {
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
    fn workers_of_a_process_have_unique_names() {
        assert_eq!(numbered(Some("red"), 1), "red");
        assert_eq!(numbered(Some("red"), 2), "red-2");
        assert_ne!(next(None), next(None));
        assert!(numbered(None, 3).ends_with(&format!("-{}-3", std::process::id())));
    }
}
