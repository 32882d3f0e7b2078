//! The OpenAPI description.

use miniapp_http::openapi::BearerToken;
use miniapp_types::account::{
    ChangePassword, ConfirmReset, Register, SendCode, UpdateAccount, VerifyEmail,
};
use miniapp_types::problem::Problem;
use utoipa::OpenApi as _;

const BEARER: BearerToken = BearerToken("The `authToken` of a sign-in, a JWT");

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MiniApp Auth",
        description = "Accounts, sessions and tokens.\n\nEvery error is a problem document (RFC 9457) with a stable `code`; every response carries the id of its trace in `x-trace-id`.",
    ),
    servers(
        (url = "/", description = "The service that has this document"),
        (url = "http://127.0.0.1:8005", description = "A platform on this machine"),
    ),
    components(schemas(
        Problem, SendCode, VerifyEmail, Register, UpdateAccount, ChangePassword, ConfirmReset
    )),
    modifiers(&BEARER),
    security(("bearer" = [])),
    tags(
        (name = "sign-up", description = "Verifying an address and registering an account"),
        (name = "tokens", description = "Issuing, checking and revoking tokens"),
        (name = "keys", description = "API keys for scripts and workers"),
        (name = "account", description = "The caller's own account"),
        (name = "admin", description = "For the role `admin`"),
    )
)]
struct Document;

/// Returns the description without paths.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
