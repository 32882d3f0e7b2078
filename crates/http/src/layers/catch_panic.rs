//! Turns panics of handlers into problems.
//!
//! The layer of tower-http boxes the body of every response once more.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{CatchUnwind, Map};
use miniapp_types::problem::Code;
use tower::{Layer, Service};

use crate::problem::Problem;

#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct CatchPanic<S>(S);

type HandlerResult = Result<Response, Infallible>;
type Caught = Result<HandlerResult, Box<dyn Any + Send>>;

impl<S> Service<Request> for CatchPanic<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Map<CatchUnwind<AssertUnwindSafe<S::Future>>, fn(Caught) -> HandlerResult>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The future is not polled again after a panic, so its state is not observed.
        AssertUnwindSafe(self.0.call(request)).catch_unwind().map(|caught| {
            caught.unwrap_or_else(|_| Ok(Problem::new(Code::Internal).into_response()))
        })
    }
}
