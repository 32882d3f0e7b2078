"""Claims tasks, runs their functions and settles them."""

import json
import logging
import os
import queue
import signal
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from .client import ApiError, Connection, ConnectionFailed, backoff, encode
from .kinds import Attempt, FinalError, RetryableError, failure, registered

log = logging.getLogger("miniapp")

# The API accepts bodies of 1 MiB.
MAX_RESULT, MAX_BATCH_BYTES, MAX_BATCH = 512 * 1024, 700 * 1024, 100
# Proxies often end a request after 15 s without a response.
WAIT_SECONDS = 10
# Slots and outcomes that become free within this time share a call.
BATCH_DELAY = 0.003
MAX_HEARTBEAT_INTERVAL, HEARTBEAT_TICK, HEARTBEAT_TIMEOUT = 5.0, 0.25, 5.0
# At the stop: for the response to an open claim call, for functions to stop, for outcomes.
CLAIM_TIMEOUT, STOP_TIMEOUT, SETTLE_TIMEOUT = 2.0, 5.0, 30.0
# The API refuses a body, or the key.
BODY_REFUSED, KEY_REFUSED = (400, 413, 415, 422), (401, 403)

RELEASED = b'{"released":true}'
Outcome = Tuple[Attempt, bytes]


class Worker:
    """Runs tasks until `stop` or SIGTERM.

    `url` defaults to `MINIAPP_URL`, `api_key` to `MINIAPP_API_KEY`, `kinds` to all functions with
    the decorator `kind`. Up to `concurrency` functions run at once, each in a thread. At the stop,
    running ones have `grace` seconds to end; then their tasks return to the queue.
    """

    def __init__(self, url: Optional[str] = None, api_key: Optional[str] = None, *,
                 name: Optional[str] = None, concurrency: int = 10,
                 kinds: Optional[Sequence[str]] = None, queues: Optional[Sequence[str]] = None,
                 grace: float = 30.0):
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._kinds = {one: registered[one] for one in (registered if kinds is None else kinds)}
        if not self._kinds:
            raise ValueError("no kinds: decorate a function with @kind(name)")
        self._claiming, self._beating, self._settling = (Connection(url, api_key) for _ in "123")
        self._concurrency, self._grace = concurrency, grace
        self._request: Dict[str, Any] = {
            "worker": self.name, "kinds": [description for description, _ in self._kinds.values()],
            "waitSeconds": WAIT_SECONDS, **({"queues": list(queues)} if queues is not None else {})}
        # Its `put` is safe in signal handlers; `Event.set` may deadlock there.
        self._stops: "queue.SimpleQueue[None]" = queue.SimpleQueue()
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._jobs: "queue.Queue[Optional[Attempt]]" = queue.Queue()
        self._fatal: Optional[ApiError] = None
        # Guards the attempts that run, the claims to renew and the outcomes to send.
        self._changed = threading.Condition()
        self._running: Set[Attempt] = set()
        self._held: Set[Attempt] = set()
        self._outcomes: List[Outcome] = []

    def stop(self) -> None:
        """Begins a graceful stop. Callable from other threads and signal handlers."""
        self._stops.put(None)

    def run(self) -> None:
        """Works until the stop. Raises `ApiError` if the API refuses the worker or its key."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        claim = threading.Thread(target=self._repeat, daemon=True, args=(
            self._claim, self._stopping, 300.0, KEY_REFUSED + BODY_REFUSED))
        renew = threading.Thread(target=self._repeat, daemon=True, args=(self._renew, self._closed, 1.0))
        settle = threading.Thread(target=self._repeat, daemon=True, args=(self._settle, self._closed))
        slots = [threading.Thread(target=self._work, daemon=True) for _ in range(self._concurrency)]
        for thread in (claim, renew, settle, *slots):
            thread.start()
        log.info("worker %s runs %s", self.name, ", ".join(self._kinds))
        self._stops.get()
        self._drain(claim)
        log.info("worker %s stopped", self.name)
        if self._fatal is not None:
            raise self._fatal

    def _on_signal(self, number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.stop()

    def _repeat(self, step: Callable[[], None], ended: threading.Event,
                longest_pause: float = 300.0, fatal: Sequence[int] = KEY_REFUSED) -> None:
        """Repeats a step until the end, or until the API answers with a fatal status."""
        failures = 0
        while not ended.is_set():
            try:
                step()
                failures = 0
            except Exception as error:  # The thread has to survive.
                if ended.is_set():
                    return
                # A 404 or 405 may come from a replica of an older version.
                if isinstance(error, ApiError) and error.status in fatal:
                    self._fatal = self._fatal or error
                    return self.stop()
                is_bug = not isinstance(error, (ApiError, ConnectionFailed))
                log.warning("%s failed: %s", step.__name__.strip("_"), error, exc_info=is_bug)
                ended.wait(backoff(failures, error, longest_pause))
                failures += 1

    def _claim(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._running) < self._concurrency, 1)
        if self._running:
            time.sleep(BATCH_DELAY)
        free = min(self._concurrency - len(self._running), 100)
        if free == 0 or self._stopping.is_set():
            return
        body = encode({**self._request, "max": free})
        answer = self._claiming.call("POST", "/worker/v1/claims", body, WAIT_SECONDS + 20)
        for attempt in [Attempt(claimed) for claimed in answer["claims"]]:
            with self._changed:
                self._held.add(attempt)
                self._running.add(attempt)
            if self._stopping.is_set():
                self._end(attempt, RELEASED)
            else:
                self._jobs.put(attempt)

    def _work(self) -> None:
        for attempt in iter(self._jobs.get, None):
            self._end(attempt, self._outcome(attempt))

    def _outcome(self, attempt: Attempt) -> bytes:
        """Runs the function and returns the outcome as JSON."""
        try:
            result = encode(self._kinds[attempt.kind][1](attempt))
            if len(result) > MAX_RESULT:
                size = f"{len(result)} bytes of JSON, of {MAX_RESULT}"
                raise FinalError(f"The result has {size}", "result_too_large")
            if attempt.stop_reason in (None, "shutdown"):
                return b'{"result":' + result + b"}"
        except BaseException as error:  # The thread has to survive.
            if attempt.stop_reason is None:
                is_own = isinstance(error, (FinalError, RetryableError))
                log.log(logging.INFO if is_own else logging.ERROR, "%s of task %s failed",
                        attempt.kind, attempt.task_id, exc_info=not is_own)
                return encode({"error": failure(error)})
        return encode({"released" if attempt.stop_reason == "shutdown" else "stopped": True})

    def _end(self, attempt: Attempt, outcome: bytes) -> None:
        with self._changed:
            if attempt in self._running:
                self._running.remove(attempt)
                self._outcomes.append((attempt, encode(attempt._identity)[:-1] + b"," + outcome[1:]))
            self._changed.notify_all()

    def _settle(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._outcomes or self._closed.is_set())
        time.sleep(BATCH_DELAY)
        batch, size = [], 0
        with self._changed:
            self._outcomes = [one for one in self._outcomes if one[0] in self._held and not one[0]._is_lost]
            for one in self._outcomes[:MAX_BATCH]:
                size += len(one[1])
                if not batch or size <= MAX_BATCH_BYTES:
                    batch.append(one)
        if batch:
            self._send(batch)

    def _send(self, batch: List[Outcome]) -> None:
        body = b",".join(encoded for _, encoded in batch)
        body = b'{"worker":' + encode(self.name) + b',"outcomes":[' + body + b"]}"
        try:
            settled = self._settling.call("POST", "/worker/v1/outcomes", body)["outcomes"]
        except ApiError as error:
            if error.status not in BODY_REFUSED:
                raise
            if len(batch) > 1:
                for one in batch:
                    self._send([one])
                return
            [(attempt, refused)] = batch
            log.warning("the outcome of task %s is refused: %s", attempt.task_id, error)
            settled, outcome = [], json.loads(refused)
            if outcome.get("error", {}).get("code") != "invalid_result":
                # A result that the API cannot read fails the task. What may be retried still may.
                retry = outcome["error"]["retry"] if "error" in outcome else "result" not in outcome
                failed = {"code": "invalid_result", "message": str(error)[:500], "retry": retry}
                return self._send([(attempt, encode({**attempt._identity, "error": failed}))])
        for (attempt, _), one in zip(batch, settled):
            if not one["accepted"]:
                log.warning("task %s: outcome refused: %s", attempt.task_id, one["refusal"])
        self._forget(attempt for attempt, _ in batch)

    def _renew(self) -> None:
        self._closed.wait(HEARTBEAT_TICK)
        with self._changed:
            held = list(self._held)
        for one in held:
            if one._is_lost:
                self._stop_attempt(one, "lost")
        due = [one for one in held if one._is_due(MAX_HEARTBEAT_INTERVAL)][:MAX_BATCH]
        if not due:
            return
        now, claims = time.monotonic(), [{**one._identity, **one._report} for one in due]
        for one in due:
            one._report = {}
        try:
            renewed = self._beat(claims)
        except ApiError as error:
            if error.status not in BODY_REFUSED:
                raise
            log.warning("renewing without progress, which is refused: %s", error)
            renewed = self._beat([one._identity for one in due])
        for one, answer in zip(due, renewed):
            one._renewed_at = now
            if one._deadline <= now:
                one._deadline = float("inf")
            if answer["stop"] is not None:
                self._stop_attempt(one, answer["stop"])

    def _beat(self, claims: List[Dict[str, Any]]) -> Any:
        body = encode({"worker": self.name, "claims": claims})
        return self._beating.call("POST", "/worker/v1/heartbeats", body, HEARTBEAT_TIMEOUT)["claims"]

    def _stop_attempt(self, attempt: Attempt, reason: str) -> None:
        attempt._end(reason)
        if reason == "lost":
            self._forget([attempt])

    def _forget(self, attempts: Iterable[Attempt]) -> None:
        with self._changed:
            self._held.difference_update(attempts)
            self._changed.notify_all()

    def _drain(self, claim: threading.Thread) -> None:
        self._stopping.set()
        # The response to the open call may be on its way. Its tasks are released.
        claim.join(CLAIM_TIMEOUT)
        self._claiming.interrupt()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, 0.0 if self._fatal else self._grace)
            for attempt in self._running:
                attempt._end("lost" if self._fatal else "shutdown")
            self._changed.wait_for(lambda: not self._running, STOP_TIMEOUT)
            for attempt in list(self._running):
                log.warning("task %s is released while its function runs on", attempt.task_id)
                self._end(attempt, RELEASED)
            self._changed.wait_for(lambda: not self._held or self._fatal, SETTLE_TIMEOUT)
            self._closed.set()
            self._changed.notify_all()
        for _ in range(self._concurrency):
            self._jobs.put(None)


def run(**options: Any) -> None:
    """Runs a worker with the options of `Worker` until SIGTERM, with log lines on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Worker(**options).run()
