"""Workers and clients for MiniApp, without dependencies."""

from .client import ApiError, Client, ConnectionFailed, TaskFailed
from .kinds import Attempt, FinalError, RetryableError, Stopped, kind
from .worker import Worker, run

__all__ = [
    "ApiError", "Attempt", "Client", "ConnectionFailed", "FinalError", "RetryableError", "Stopped",
    "TaskFailed", "Worker", "kind", "run",
]
