"""Functions that run tasks, and what they get."""

import threading
import time
from datetime import datetime
from typing import Any, Callable, Dict, Optional, Tuple, cast

from .types import ClaimedTask, WorkerKind


class RetryableError(Exception):
    """Fails the attempt. Another one starts after `retry_in` seconds, or a growing delay."""

    def __init__(self, message: str, code: str = "failed", retry_in: Optional[int] = None):
        super().__init__(message)
        self.code, self.retry_in = code, retry_in


class FinalError(Exception):
    """Fails the task without another attempt."""

    def __init__(self, message: str, code: str = "failed"):
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """The attempt has to stop."""


class Attempt:
    """What a function gets: the data of its task, and the means to report and to stop."""

    def __init__(self, claimed: ClaimedTask):
        self.task_id, self.kind, self.data = claimed["taskId"], claimed["kind"], claimed["data"]
        self.number, self.max_attempts = claimed["attempt"], claimed["maxAttempts"]
        self.generation, self.ttl = claimed["generation"], claimed["ttl"]
        self.attempt_id, self.traceparent = claimed["attemptId"], claimed["traceparent"]
        # The same for all attempts: for services that must not repeat an effect.
        self.idempotency_key = claimed["idempotencyKey"]
        self.stop_reason: Optional[str] = None
        self._claim, self._stop = claimed["claim"], threading.Event()
        self._report: Dict[str, Any] = {}
        self._renewed_at = self._beat_at = time.monotonic()
        # A heartbeat shows the end of the ttl.
        self._deadline = self._renewed_at + self.ttl + 0.1
        # By the clock of the platform alone: the one of this machine may be wrong.
        started_at = _seconds(claimed["deadline"]) - self.ttl
        self._lease = max(0.5, _seconds(claimed["leaseUntil"]) - started_at)

    def progress(self, fraction: float, message: Optional[str] = None) -> None:
        """Reports progress from 0 to 1. Only the latest report is sent, about once a second."""
        report: Dict[str, Any] = {"progress": min(1.0, max(0.0, fraction))}
        self._report = report if message is None else {**report, "message": message}

    @property
    def stopped(self) -> bool:
        """Whether the attempt has to stop: canceled, expired, lost, or a shutdown."""
        return self._stop.is_set()

    def sleep(self, seconds: float = 0.0) -> None:
        """Sleeps. Raises `Stopped` as soon as the attempt has to stop."""
        if self._stop.wait(seconds):
            raise Stopped(self.stop_reason)

    @property
    def _key(self) -> Tuple[str, int]:
        return self.task_id, self._claim

    @property
    def _identity(self) -> Dict[str, Any]:
        return {"taskId": self.task_id, "claim": self._claim}

    def _is_due(self, interval: float) -> bool:
        """Whether a heartbeat has to be sent."""
        since = time.monotonic() - self._beat_at
        has_report = bool(self._report) and since >= 1.0
        return has_report or since >= min(interval, self._lease / 3) or self._deadline <= time.monotonic()

    def _end(self, reason: str) -> None:
        self.stop_reason = self.stop_reason or reason
        self._stop.set()


Function = Callable[[Attempt], Any]
registered: Dict[str, Tuple[WorkerKind, Function]] = {}


def kind(name: str, *, data_schema: Any = None, example: Any = None,
         queue: Optional[str] = None) -> Callable[[Function], Function]:
    """Registers a function as a kind. What it returns is the result of the task, as JSON."""

    def register(function: Function) -> Function:
        description = " ".join((function.__doc__ or "").split())[:500]
        optional = {"description": description or None, "dataSchema": data_schema,
                    "example": example, "queue": queue}
        given = {key: value for key, value in optional.items() if value is not None}
        registered[name] = cast(WorkerKind, {"name": name, **given}), function
        return function

    return register


def _seconds(text: str) -> float:
    """Parses an RFC 3339 time in UTC."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
