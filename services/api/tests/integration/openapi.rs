//! The committed API description matches the served one.

use std::path::Path;

use miniapp_test_support::openapi::Document;

#[test]
fn openapi_json_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let current = miniapp_api::openapi().to_pretty_json().expect("JSON") + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &current).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "services/api/openapi.json is stale; UPDATE_OPENAPI=1 cargo test -p miniapp-api openapi \
         updates it"
    );
}

/// Generators of clients rely on them.
#[test]
fn openapi_follows_the_conventions() {
    let document = serde_json::to_value(miniapp_api::openapi()).expect("JSON");
    let faults = Document::new(document).faults();
    assert!(faults.is_empty(), "{faults:#?}");
}
