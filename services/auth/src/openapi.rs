//! The description of the service.

use miniapp_http::openapi::BearerToken;
use miniapp_types::account::{
    ChangePassword, ConfirmReset, Register, SendCode, UpdateAccount, VerifyEmail,
};
use miniapp_types::problem::{Code, Problem};
use utoipa::OpenApi as _;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MiniApp Auth",
        description = "Accounts, sessions and tokens.\n\nEvery error is a problem document (RFC 9457) with a stable `code`; every answer carries the id of its trace in `x-trace-id`.",
    ),
    components(schemas(
        Problem, Code, SendCode, VerifyEmail, Register, UpdateAccount, ChangePassword, ConfirmReset
    )),
    modifiers(&BearerToken),
    security(("bearer" = [])),
    tags(
        (name = "sign-up", description = "From an address to an account"),
        (name = "tokens", description = "Getting, checking and ending them"),
        (name = "account", description = "What its owner does with it"),
        (name = "admin", description = "For the role `admin`"),
    )
)]
struct Document;

/// The description without its paths.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
