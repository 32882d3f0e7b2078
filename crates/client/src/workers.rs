//! The protocol of workers over HTTP.

use miniapp_types::worker::{
    ClaimRequest, Claims, HeartbeatRequest, Heartbeats, OutcomeRequest, Outcomes,
};
use reqwest::Method;

use crate::{Client, Error};

impl Client {
    /// Waits for tasks and claims them. `wait_seconds` must be well below 30, the limit for a
    /// response.
    pub async fn claim_tasks(&self, request: &ClaimRequest) -> Result<Claims, Error> {
        self.json(self.api(Method::POST, "worker/v1/claims").json(request)).await
    }

    /// Renews claims, and returns which attempts have to stop.
    pub async fn renew_claims(&self, request: &HeartbeatRequest) -> Result<Heartbeats, Error> {
        self.json(self.api(Method::POST, "worker/v1/heartbeats").json(request)).await
    }

    /// Ends attempts. Can be repeated.
    pub async fn end_attempts(&self, request: &OutcomeRequest) -> Result<Outcomes, Error> {
        self.json(self.api(Method::POST, "worker/v1/outcomes").json(request)).await
    }
}
