//! `POST /worker/v1/outcomes`: ends attempts.

use axum::extract::State;
use axum::response::Response;
use miniapp_http::{Body, Problem};
use miniapp_types::limits::MAX_RESULT_BYTES;
use miniapp_types::problem::Code;
use miniapp_types::worker::{OutcomeRequest, Outcomes};

use super::{response, worker_claims};
use crate::error::store_problem;
use crate::state::Api;
use crate::token::AuthenticatedBody;

pub(super) const PROBLEMS: &[Code] = worker_claims::PROBLEMS;

/// End attempts
///
/// Commits how attempts ended. An outcome of a claim that is lost or has ended otherwise is not
/// accepted and changes nothing; repeating an accepted outcome is accepted. After a 503, the
/// request can be repeated.
#[utoipa::path(
    post,
    path = "/worker/v1/outcomes",
    tag = "worker",
    request_body = OutcomeRequest,
    responses((status = 200, description = "The outcomes in the order of the request", body = Outcomes))
)]
pub(super) async fn end_attempts(
    State(api): State<Api>,
    AuthenticatedBody { body: Body(request), .. }: AuthenticatedBody<Body<OutcomeRequest>>,
) -> Result<Response, Problem> {
    for (index, outcome) in request.outcomes.iter().enumerate() {
        let size = outcome.result.as_ref().map_or(0, |result| result.get().len());
        if size > MAX_RESULT_BYTES {
            let detail =
                format!("outcomes[{index}].result may have {MAX_RESULT_BYTES} bytes of JSON");
            return Err(Problem::new(Code::BodyTooLarge).detail(detail));
        }
    }
    let outcomes = api.remote.settle(request.outcomes).await.map_err(store_problem)?;
    response::json(outcomes.len() * 128, &Outcomes { outcomes })
}
