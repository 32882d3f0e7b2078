//! The endpoints, one per file.

mod audit;
mod change_password;
mod confirm_reset;
mod create_api_key;
mod delete_account;
mod delete_api_key;
mod end_session;
mod get_account;
mod jwks;
mod list_accounts;
mod list_api_keys;
mod list_sessions;
mod refresh;
mod register;
mod request_reset;
mod send_code;
mod set_disabled;
mod set_roles;
mod sign_in;
mod sign_out;
mod update_account;
mod validate;
mod verify_email;

#[cfg(test)]
mod tests;

use axum::middleware::from_fn_with_state;
use miniapp_accounts::Accounts;
use miniapp_http::IpRateLimit;
use miniapp_http::openapi::{BODY, TOKEN, complete, with_problems, with_problems_at};
use miniapp_types::limits;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi;

/// All endpoints with their description. Public ones are rate-limited by address.
pub(crate) fn router(per_ip: &IpRateLimit) -> OpenApiRouter<Accounts> {
    let mut router = OpenApiRouter::with_openapi(openapi::document())
        .merge(public().layer(from_fn_with_state(per_ip.clone(), IpRateLimit::limit)))
        .merge(unlimited())
        .merge(authenticated());
    limits::describe(router.get_openapi_mut());
    complete(router.get_openapi_mut());
    router
}

/// Endpoints for clients without a token.
fn public() -> OpenApiRouter<Accounts> {
    OpenApiRouter::new()
        .routes(with_problems(routes!(send_code::send_code), &[BODY, send_code::PROBLEMS]))
        .routes(with_problems(routes!(verify_email::verify_email), &[BODY, verify_email::PROBLEMS]))
        .routes(with_problems(routes!(register::register), &[BODY, register::PROBLEMS]))
        .routes(with_problems(routes!(sign_in::sign_in), &[BODY, sign_in::PROBLEMS]))
        .routes(with_problems(routes!(refresh::refresh), &[BODY, refresh::PROBLEMS]))
        .routes(with_problems(
            routes!(request_reset::request_reset),
            &[BODY, request_reset::PROBLEMS],
        ))
        .routes(with_problems(
            routes!(confirm_reset::confirm_reset),
            &[BODY, confirm_reset::PROBLEMS],
        ))
}

/// Endpoints for services, which send the requests of many users from one address.
fn unlimited() -> OpenApiRouter<Accounts> {
    OpenApiRouter::new()
        .routes(with_problems_at(routes!(validate::validate), validate::problems()))
        .routes(with_problems(routes!(jwks::jwks), &[]))
}

/// Endpoints that require a token.
fn authenticated() -> OpenApiRouter<Accounts> {
    OpenApiRouter::new()
        .routes(with_problems(routes!(sign_out::sign_out), &[TOKEN]))
        .routes(with_problems(routes!(get_account::get_account), &[TOKEN]))
        .routes(with_problems(
            routes!(update_account::update_account),
            &[TOKEN, BODY, update_account::PROBLEMS],
        ))
        .routes(with_problems(
            routes!(delete_account::delete_account),
            &[TOKEN, delete_account::PROBLEMS],
        ))
        .routes(with_problems(
            routes!(change_password::change_password),
            &[TOKEN, BODY, change_password::PROBLEMS],
        ))
        .routes(with_problems(routes!(list_sessions::list_sessions), &[TOKEN]))
        .routes(with_problems(routes!(end_session::end_session), &[TOKEN, end_session::PROBLEMS]))
        .routes(with_problems(
            routes!(create_api_key::create_api_key),
            &[TOKEN, BODY, create_api_key::PROBLEMS],
        ))
        .routes(with_problems(routes!(list_api_keys::list_api_keys), &[TOKEN]))
        .routes(with_problems(
            routes!(delete_api_key::delete_api_key),
            &[TOKEN, delete_api_key::PROBLEMS],
        ))
        .routes(with_problems(
            routes!(list_accounts::list_accounts),
            &[TOKEN, list_accounts::PROBLEMS],
        ))
        .routes(with_problems(routes!(set_roles::set_roles), &[TOKEN, BODY, set_roles::PROBLEMS]))
        .routes(with_problems(
            routes!(set_disabled::set_disabled),
            &[TOKEN, BODY, set_disabled::PROBLEMS],
        ))
        .routes(with_problems(routes!(audit::audit), &[TOKEN, audit::PROBLEMS]))
}
