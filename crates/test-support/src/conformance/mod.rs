//! Tests that every implementation of a port has to pass.
//!
//! Each suite has a macro that defines one test per case, so that a case can be run, skipped
//! and timed by its name: `tasks::conformance::sqlite::keys::a_known_key_is_returned`.

pub mod accounts;
pub mod broker;
pub mod tasks;

/// Defines the tests of a suite, grouped by module.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($suite:ident, $fixture:ident, $attributes:tt, $($module:ident { $($case:ident,)+ })+) => {
        $(mod $module {
            $($crate::conformance_test! { $suite, $module, $case, $fixture, $attributes })+
        })+
    };
}

/// Defines the test of one case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_test {
    ($suite:ident, $module:ident, $case:ident, $fixture:ident, [$($attributes:tt)*]) => {
        #[tokio::test(flavor = "multi_thread")]
        $($attributes)*
        async fn $case() {
            super::$fixture(async |subject| {
                let outcome = $crate::conformance::$suite::$module::$case(subject).await;
                if let Err(error) = outcome {
                    panic!("{error:?}");
                }
            })
            .await;
        }
    };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn suites_list_every_case() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        for suite in ["accounts", "broker", "tasks"] {
            let list = fs::read_to_string(folder.join(format!("{suite}.rs"))).expect("a suite");
            for entry in fs::read_dir(folder.join(suite)).expect("a folder") {
                let path = entry.expect("an entry").path();
                let code = fs::read_to_string(&path).expect("a module");
                let cases = code.split("\npub async fn ").skip(1);
                for case in cases.filter_map(|rest| rest.split('(').next()) {
                    assert!(list.contains(&format!(" {case},\n")), "{suite} lacks {case}");
                }
            }
        }
    }
}
