//! The admin listener: health, metrics, log filter and traces, on a separate port.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};
use miniapp_types::problem::Code;
use opentelemetry::trace::TraceId;
use tokio::net::TcpListener;

use miniapp_http::{Problem, RequestLog, RouterOptions, ServerOptions};
use miniapp_runtime::health::{Health, Report, Status};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_telemetry as telemetry;
use miniapp_telemetry::metrics::{self, Format};

#[derive(Clone)]
struct Process {
    health: Health,
    shutdown: Shutdown,
}

/// Serves `/livez`, `/readyz`, `/metrics`, `/log-level` and `/traces/{id}`. Once shutdown begins,
/// `/readyz` reports the process as unready. The listener itself runs until shutdown is aborted or
/// the future is dropped.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    // Probes and metrics are served while the program drains, hence a separate shutdown.
    let server_shutdown = Shutdown::new();
    let options = ServerOptions { connections: 256, ..ServerOptions::default() };
    let router = router(health, shutdown.clone());
    let serving = miniapp_http::serve(listener, router, options, server_shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown.aborted() => server_shutdown.abort(),
    }
    serving.await
}

pub fn router(health: Health, shutdown: Shutdown) -> Router {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(encode_metrics))
        .route("/log-level", get(log_filter).put(set_log_filter))
        .route("/traces/{id}", get(trace))
        .with_state(Process { health, shutdown });
    let options = RouterOptions { request_log: RequestLog::Quiet, ..RouterOptions::default() };
    miniapp_http::finish(router, &options)
}

async fn ready(State(process): State<Process>) -> Response {
    let mut report: Report = process.health.report().await;
    if process.shutdown.has_begun() {
        report.status = Status::Stopping;
    }
    let status = match report.status {
        // A degraded process still serves requests, and other replicas are likely degraded too.
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failing | Status::Starting | Status::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(report)).into_response()
}

async fn encode_metrics(headers: HeaderMap) -> Result<Response, Problem> {
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let text = metrics::encode(format).await.map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text).into_response())
}

/// Returns the spans of a trace that this process has kept, as OTLP/JSON.
async fn trace(Path(id): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::NotFound).detail("nothing is kept here of such a trace");
    let id = TraceId::from_hex(&id).map_err(|_| unknown())?;
    let trace = telemetry()?.spans().get(id).ok_or_else(unknown)?;
    Ok(axum::Json(trace.to_json()).into_response())
}

async fn log_filter() -> Result<String, Problem> {
    Ok(telemetry()?.log_filter().get() + "\n")
}

async fn set_log_filter(request: Request) -> Result<String, Problem> {
    let log = telemetry()?;
    let body = miniapp_http::read_body(request).await?;
    let invalid =
        Problem::new(Code::MalformedBody).detail("a filter is like info,miniapp_http=debug");
    let filter = std::str::from_utf8(&body).ok().filter(|filter| !filter.trim().is_empty());
    if filter.is_none_or(|filter| log.log_filter().set(filter).is_err()) {
        return Err(invalid);
    }
    tracing::info!(filter = log.log_filter().get(), "changed the log filter");
    Ok(log.log_filter().get() + "\n")
}

fn telemetry() -> Result<telemetry::Telemetry, Problem> {
    telemetry::installed().ok_or_else(|| Problem::new(Code::NotFound))
}
