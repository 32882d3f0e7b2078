"""Submits tasks and waits for them."""

import time
import uuid
from typing import Any, Dict, Optional, cast
from urllib.parse import quote

from ._http import ApiError, Connection, ConnectionFailed, backoff, encode
from .types import Task


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

    def _call(self, method: str, path: str, body: Any = None,
              headers: Optional[Dict[str, str]] = None) -> Task:
        ends_at, failures = time.monotonic() + self._retry_for, 0
        encoded = None if body is None else encode(body)
        while True:
            try:
                return cast(Task, self._connection.call(method, path, encoded, headers=headers))
            except (ApiError, ConnectionFailed) as error:
                pause = backoff(failures, error)
                if not error.is_temporary or time.monotonic() + pause > ends_at:
                    raise
            failures += 1
            time.sleep(pause)
