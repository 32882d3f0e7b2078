//! The OpenAPI document of a service and Swagger UI, without files of another host.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use miniapp_types::problem::Code;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use crate::problem::Problem;

/// Swagger UI needs scripts and styles of the same origin.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);
/// The files change with the version only.
const CACHE_FOR_AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// Serves the document at `/openapi.json` and Swagger UI at `/docs`.
pub fn docs(openapi: &OpenApi) -> serde_json::Result<Router> {
    let document = Bytes::from(serde_json::to_vec(openapi)?);
    // By default, Swagger UI sends the document to a validator of its vendor.
    let config = Config::from("/openapi.json").use_base_layout().validator_url("none");
    let config = Arc::new(config);
    let index = config.clone();
    Ok(Router::new()
        .route("/openapi.json", get(async move || json(document)))
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async move || file("", index)))
        .route("/docs/{*file}", get(async move |Path(path): Path<String>| file(&path, config))))
}

fn json(document: Bytes) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, CACHE_FOR_AN_HOUR)], document).into_response()
}

fn file(path: &str, config: Arc<Config<'static>>) -> Result<Response, Problem> {
    let found = utoipa_swagger_ui::serve(path, config).map_err(|error| {
        Problem::internal(anyhow::anyhow!("a file of the documentation: {error}"))
    })?;
    let file = found.ok_or_else(|| Problem::new(Code::NotFound))?;
    let content_type = HeaderValue::try_from(file.content_type).map_err(Problem::internal)?;
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, CACHE_FOR_AN_HOUR),
    ];
    let mut response = (headers, file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
