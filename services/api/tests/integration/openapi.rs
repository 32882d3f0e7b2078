//! The committed API description matches the served one.

use std::path::Path;

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
