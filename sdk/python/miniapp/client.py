"""A client of the API, which submits tasks and waits for them."""

import contextlib
import http.client
import json
import os
import random
import socket
import time
import uuid
from typing import Any, Dict, Optional, cast
from urllib.parse import quote, urlsplit

from .types import Task

# Servers and proxies close connections that are idle for longer.
MAX_IDLE = 4.0


class ApiError(Exception):
    """The API refused a request. `problem` is its problem document."""

    def __init__(self, status: int, problem: Dict[str, Any], retry_after: float):
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.code = str(problem.get("code") or "unknown")
        errors = problem.get("errors")
        errors = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
        fields = "; ".join(f"{one.get('field')} {one.get('message')}" for one in errors)
        super().__init__(f"{status} {self.code}: {problem.get('detail') or fields}")

    @property
    def is_temporary(self) -> bool:
        return self.status in (408, 425, 429) or self.status >= 500


class ConnectionFailed(Exception):
    """No response of the API came. The request may have been processed."""

    is_temporary, retry_after, status, code = True, 0.0, 0, "connection_failed"


def backoff(failures: int, error: Exception, longest: float = 300.0) -> float:
    """Returns the seconds before the next try, with jitter."""
    pause = 0.25 * 2.0 ** min(failures, 7) * random.uniform(0.5, 1.0)
    return min(longest, max(pause, getattr(error, "retry_after", 0.0)))


def encode(value: Any) -> bytes:
    """Returns compact JSON. Rejects NaN and infinity, which JSON does not have."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class Connection:
    """A connection to the API. Not for several threads at once."""

    def __init__(self, url: Optional[str], api_key: Optional[str]):
        address = urlsplit(url or os.environ.get("MINIAPP_URL") or "http://127.0.0.1:8000")
        key = api_key or os.environ.get("MINIAPP_API_KEY")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("the URL of the API must begin with http:// or https://")
        if not key:
            raise ValueError("an API key is needed: set MINIAPP_API_KEY or pass api_key")
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[address.scheme]
        self._http, self._prefix = kind(address.hostname, address.port), address.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json",
                         "User-Agent": "miniapp-python/0.1.0"}
        self._used_at = 0.0

    def call(self, method: str, path: str, body: Optional[bytes] = None, timeout: float = 30.0,
             headers: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
        """Returns the JSON of the response. Raises `ApiError` or `ConnectionFailed`."""
        if time.monotonic() > self._used_at + MAX_IDLE:
            self._http.close()
        try:
            self._http.timeout = timeout
            if self._http.sock is None:
                self._http.connect()
            self._http.sock.settimeout(timeout)
            # The API may refuse a large body before its end. Then there is a response.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._http.request(method, self._prefix + path, body, {**self._headers, **(headers or {})})
            response = self._http.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            # The request is not repeated here, because it may have been processed.
            self._http.close()
            raise ConnectionFailed(str(error) or type(error).__name__) from error
        self._used_at = time.monotonic()
        try:
            answer = json.loads(content or b"{}")
        except ValueError:
            answer = None
        if not isinstance(answer, dict):  # A page of a proxy, for example.
            answer = {"detail": content[:200].decode("utf-8", "replace")}
            if response.status < 300:
                raise ConnectionFailed(f"the response is no JSON object: {answer['detail']}")
        if response.status < 300:
            return answer
        after = response.headers.get("Retry-After", "")
        raise ApiError(response.status, answer, float(after) if after.isdecimal() else 0.0)

    def interrupt(self) -> None:
        """Ends the connection, even during a request of another thread."""
        with contextlib.suppress(OSError, AttributeError):  # There may be no connection.
            self._http.sock.shutdown(socket.SHUT_RDWR)


class TaskFailed(Exception):
    """A task ended without a result."""

    def __init__(self, task: Task):
        self.task = task
        error = task.get("error") or {}
        reason = error.get("message") or task.get("statusMessage")
        super().__init__(f"task {task['taskId']} is {task['status']}: {reason}")


class Client:
    """A client of the API. Not for several threads at once.

    `url` defaults to `MINIAPP_URL`, `api_key` to `MINIAPP_API_KEY`. Requests that fail
    temporarily are repeated for up to `retry_for` seconds.
    """

    def __init__(self, url: Optional[str] = None, api_key: Optional[str] = None,
                 retry_for: float = 30.0):
        self._connection, self._retry_for = Connection(url, api_key), retry_for

    def submit(self, kind: str, data: Any = None, *, description: Optional[str] = None,
               ttl: int = 300, idempotency_key: Optional[str] = None, **fields: Any) -> Task:
        """Submits a task. `fields` are further fields of the body, such as `maxAttempts`."""
        body = {"kind": kind, "data": data, "description": description or kind, "ttl": ttl}
        # With a key, a request whose response was lost can be repeated.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._call("POST", "/api/tasks", {**body, **fields}, headers)

    def get(self, task_id: str) -> Task:
        return self._call("GET", f"/api/tasks/{quote(task_id, safe='')}")

    def cancel(self, task_id: str) -> Task:
        return self._call("POST", f"/api/tasks/{quote(task_id, safe='')}/cancel")

    def wait(self, task_id: str, timeout: float = float("inf")) -> Task:
        """Waits until a task has ended and returns it. Raises `TimeoutError`."""
        ends_at, pause = time.monotonic() + timeout, 0.05
        while True:
            task = self.get(task_id)
            if task["status"] in ("Finished", "Failed", "Canceled"):
                return task
            if time.monotonic() + pause > ends_at:
                raise TimeoutError(f"task {task_id} is still {task['status']}")
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)

    def run(self, kind: str, data: Any = None, *, timeout: float = float("inf"),
            **fields: Any) -> Any:
        """Submits a task, waits and returns its result. Raises `TaskFailed` if it has none."""
        task = self.wait(self.submit(kind, data, **fields)["taskId"], timeout)
        if task["status"] != "Finished":
            raise TaskFailed(task)
        return task.get("result")

    def _call(self, method: str, path: str, body: Optional[Dict[str, Any]] = None,
              headers: Optional[Dict[str, str]] = None) -> Task:
        ends_at, failures = time.monotonic() + self._retry_for, 0
        encoded = None if body is None else encode(body)
        while True:
            try:
                return cast(Task, self._connection.call(method, path, encoded, headers=headers))
            except (ApiError, ConnectionFailed) as error:
                if failures and error.code == "task_already_finished":
                    # By an earlier try whose response was lost: only cancellations fail so.
                    return self._call("GET", path[:-len("/cancel")])
                pause = backoff(failures, error)
                if not error.is_temporary or time.monotonic() + pause > ends_at:
                    raise
            failures += 1
            time.sleep(pause)
