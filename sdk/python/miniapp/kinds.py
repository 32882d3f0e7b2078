"""Functions that run tasks, and what they get."""

import contextlib
import math
import re
import threading
import time
from datetime import datetime
from typing import Any, Callable, Dict, Optional, Tuple, cast

from .types import ClaimedTask, WorkerKind

MAX_TEXT, MAX_CODE, MAX_DELAY = 500, 100, 86_400


class RetryableError(Exception):
    """Fails the attempt. Another one starts after `retry_in` seconds, or a growing delay."""

    def __init__(self, message: str, code: str = "failed", retry_in: Optional[float] = None):
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
        self._stop = threading.Event()
        self._identity: Dict[str, Any] = {"taskId": self.task_id, "claim": claimed["claim"]}
        self._report: Dict[str, Any] = {}
        self._renewed_at = time.monotonic()
        # A heartbeat shows the end of the ttl.
        self._deadline = self._renewed_at + self.ttl + 0.1
        # By the clock of the platform alone: the one of this machine may be wrong.
        started_at = _seconds(claimed["deadline"]) - self.ttl
        self._lease = max(0.5, _seconds(claimed["leaseUntil"]) - started_at)

    def progress(self, fraction: float, message: Optional[str] = None) -> None:
        """Reports progress from 0 to 1. Only the latest report is sent, about once a second."""
        report: Dict[str, Any] = {"progress": min(1.0, max(0.0, float(fraction)))}
        self._report = report if message is None else {**report, "message": _clean(message)}

    @property
    def stopped(self) -> bool:
        """Whether the attempt has to stop: canceled, expired, lost, or a shutdown."""
        return self._stop.is_set()

    def sleep(self, seconds: float = 0.0) -> None:
        """Sleeps. Raises `Stopped` as soon as the attempt has to stop."""
        if self._stop.wait(seconds):
            raise Stopped(self.stop_reason)

    def _is_due(self, interval: float) -> bool:
        """Whether a heartbeat has to be sent."""
        now = time.monotonic()
        interval = min(1.0 if self._report else interval, self._lease / 3)
        return now >= min(self._renewed_at + interval, self._deadline)

    @property
    def _is_lost(self) -> bool:
        """Whether the lease has ended without a heartbeat, for example in a frozen process."""
        return time.monotonic() > self._renewed_at + self._lease

    def _end(self, reason: str) -> None:
        self.stop_reason = self.stop_reason or reason
        self._stop.set()


Function = Callable[[Attempt], Any]
registered: Dict[str, Tuple[WorkerKind, Function]] = {}


def kind(name: str, *, data_schema: Any = None, example: Any = None,
         queue: Optional[str] = None) -> Callable[[Function], Function]:
    """Registers a function as a kind. What it returns is the result of the task, as JSON."""

    def register(function: Function) -> Function:
        description = " ".join((function.__doc__ or "").split())[:500] or None
        fields = {"name": name, "description": description, "dataSchema": data_schema,
                  "example": example, "queue": queue}
        given = {key: value for key, value in fields.items() if value is not None}
        registered[name] = cast(WorkerKind, given), function
        return function

    return register


def failure(error: BaseException) -> Dict[str, Any]:
    """Returns the error of an outcome. `code` of other classes than the above means other things."""
    code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(error).__name__).lower()[:MAX_CODE]
    failed = {"code": code, "message": code, "retry": not isinstance(error, FinalError)}
    with contextlib.suppress(Exception):  # Text and numbers of the function may not be usable.
        failed["message"] = _clean(error)
        if isinstance(error, (FinalError, RetryableError)):
            failed["code"] = _clean(error.code, MAX_CODE) or "failed"
        if isinstance(error, RetryableError) and error.retry_in is not None:
            failed["retryInSeconds"] = math.ceil(min(MAX_DELAY, max(0.0, float(error.retry_in))))
    return failed


def _clean(value: Any, length: int = MAX_TEXT) -> str:
    """Returns text that the API accepts: without NUL and lone surrogates, of limited length."""
    utf16 = str(value)[:2 * length].encode("utf-16-le", "surrogatepass")
    return utf16.decode("utf-16-le", "replace").replace("\0", "\ufffd")[:length]


def _seconds(text: str) -> float:
    """Parses an RFC 3339 time in UTC."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
