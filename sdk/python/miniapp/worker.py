"""Claims tasks, runs their functions and settles them."""

import logging
import os
import queue
import re
import signal
import socket
import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from ._http import ApiError, Connection, ConnectionFailed, backoff, encode
from .kinds import Attempt, FinalError, RetryableError, registered

log = logging.getLogger("miniapp")

MAX_RESULT = 512 * 1024
# The API accepts bodies of 1 MiB.
MAX_BATCH_BYTES, MAX_BATCH = 700 * 1024, 100
# Proxies often end a request after 15 s without a response.
WAIT_SECONDS = 10
# Slots and outcomes that become free within this time share a call.
BATCH_DELAY = 0.003
MAX_HEARTBEAT_INTERVAL, HEARTBEAT_TICK = 5.0, 0.25
# How long functions may take to stop, and outcomes to be sent, at the end.
STOP_TIMEOUT, SETTLE_TIMEOUT = 5.0, 30.0

Failure = Union[ApiError, ConnectionFailed]
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
        self._stopping = threading.Event()
        self._jobs: "queue.Queue[Optional[Attempt]]" = queue.Queue()
        self._fatal: Optional[Failure] = None
        # Guards the attempts that run, the claims to renew and the outcomes to send.
        self._changed = threading.Condition()
        self._running: Dict[Tuple[str, int], Attempt] = {}
        self._held: Dict[Tuple[str, int], Attempt] = {}
        self._outcomes: List[Outcome] = []
        self._closed = False

    def stop(self) -> None:
        """Begins a graceful stop. Callable from other threads and signal handlers."""
        self._stopping.set()
        self._claiming.interrupt()

    def run(self) -> None:
        """Works until the stop. Raises `ApiError` if the API refuses the worker or its key."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        work = [self._work] * self._concurrency + [self._renew, self._settle]
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in threads:
            thread.start()
        log.info("worker %s runs %s", self.name, ", ".join(self._kinds))
        try:
            self._claim()
        finally:
            self._drain()
        threads[-1].join(SETTLE_TIMEOUT)
        log.info("worker %s stopped", self.name)
        if self._fatal is not None:
            raise self._fatal

    def _on_signal(self, number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.stop()

    def _claim(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: len(self._running) < self._concurrency, 1)
            if self._running:
                time.sleep(BATCH_DELAY)
            free = min(self._concurrency - len(self._running), 100)
            if free == 0:
                continue
            try:
                body = encode({**self._request, "max": free})
                answer = self._claiming.call("POST", "/worker/v1/claims", body, WAIT_SECONDS + 20)
                failures = 0
            except (ApiError, ConnectionFailed) as error:
                if self._stopping.is_set() or self._is_fatal(error):
                    return
                log.warning("claiming failed: %s", error)
                self._stopping.wait(backoff(failures, error))
                failures += 1
                continue
            for claimed in answer["claims"]:
                attempt = Attempt(claimed)
                with self._changed:
                    self._held[attempt._key] = self._running[attempt._key] = attempt
                if self._stopping.is_set():
                    self._end(attempt, encode({"released": True}))
                else:
                    self._jobs.put(attempt)

    def _work(self) -> None:
        for attempt in iter(self._jobs.get, None):
            self._end(attempt, self._outcome(attempt))

    def _outcome(self, attempt: Attempt) -> Optional[bytes]:
        """Runs the function. Returns the outcome as JSON, or `None` if the claim is lost."""
        try:
            result = encode(self._kinds[attempt.kind][1](attempt))
            if len(result) > MAX_RESULT:
                size = f"{len(result)} bytes of JSON, of {MAX_RESULT}"
                raise FinalError(f"The result has {size}", "result_too_large")
            if attempt.stop_reason in (None, "shutdown"):
                return b'{"result":' + result + b"}"
        except BaseException as error:  # The thread has to survive.
            if attempt.stop_reason is None:
                if not isinstance(error, (FinalError, RetryableError)):
                    log.exception("%s of task %s failed", attempt.kind, attempt.task_id)
                name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(error).__name__).lower()
                failed = {"code": getattr(error, "code", None) or name, "message": str(error),
                          "retry": not isinstance(error, FinalError)}
                if getattr(error, "retry_in", None) is not None:
                    failed["retryInSeconds"] = error.retry_in  # type: ignore[attr-defined]
                return encode({"error": failed})
        if attempt.stop_reason == "lost":
            return None
        return encode({"released" if attempt.stop_reason == "shutdown" else "stopped": True})

    def _end(self, attempt: Attempt, outcome: Optional[bytes]) -> None:
        with self._changed:
            was_running = self._running.pop(attempt._key, None)
            if was_running and outcome and attempt._key in self._held:
                encoded = encode(attempt._identity)[:-1] + b"," + outcome[1:]
                self._outcomes.append((attempt, encoded))
            self._changed.notify_all()

    def _settle(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outcomes or self._closed)
                if not self._outcomes:
                    return
            time.sleep(BATCH_DELAY)
            batch = self._next_batch()
            try:
                self._send(batch)
                failures = 0
            except (ApiError, ConnectionFailed) as error:
                if self._is_fatal(error):
                    return
                log.warning("settling %d tasks failed: %s", len(batch), error)
                with self._changed:
                    self._outcomes[:0] = batch
                time.sleep(backoff(failures, error))
                failures += 1

    def _next_batch(self) -> List[Outcome]:
        with self._changed:
            # Without the claims that were lost in the meantime.
            waiting = [one for one in self._outcomes if one[0]._key in self._held]
            size, count = 0, 0
            while count < min(len(waiting), MAX_BATCH) and (not count or size < MAX_BATCH_BYTES):
                size += len(waiting[count][1])
                count += 1
            self._outcomes = waiting[count:]
            return waiting[:count]

    def _send(self, batch: List[Outcome]) -> None:
        outcomes = b",".join(encoded for _, encoded in batch)
        body = b'{"worker":' + encode(self.name) + b',"outcomes":[' + outcomes + b"]}"
        try:
            answer = self._settling.call("POST", "/worker/v1/outcomes", body)
        except ApiError as error:
            if error.status not in (400, 413, 422):
                raise
            if len(batch) > 1:
                return [self._send([one]) for one in batch][0]
            # The API cannot read this outcome, so the task fails with the reason.
            attempt, refused = batch[0]
            failed = {"code": "invalid_result", "message": str(error), "retry": False}
            replacement = encode({**attempt._identity, "error": failed})
            if replacement == refused:
                raise
            return self._send([(attempt, replacement)])
        with self._changed:
            for (attempt, _), settled in zip(batch, answer["outcomes"]):
                self._held.pop(attempt._key, None)
                if not settled["accepted"]:
                    log.info("task %s: outcome refused: %s", attempt.task_id, settled["refusal"])
            self._changed.notify_all()

    def _renew(self) -> None:
        while not self._closed:
            time.sleep(HEARTBEAT_TICK)
            with self._changed:
                due = [one for one in self._held.values() if one._is_due(MAX_HEARTBEAT_INTERVAL)]
            for start in range(0, len(due), 1000):
                self._heartbeat(due[start:start + 1000])

    def _heartbeat(self, attempts: List[Attempt]) -> None:
        now = time.monotonic()
        claims = [{**one._identity, **one._report} for one in attempts]
        for one in attempts:
            one._report, one._beat_at = {}, now
            if one._deadline <= now:
                one._deadline = float("inf")
        try:
            body = encode({"worker": self.name, "claims": claims})
            renewed = self._beating.call("POST", "/worker/v1/heartbeats", body, 10)["claims"]
        except (ApiError, ConnectionFailed) as error:
            log.warning("heartbeat failed: %s", error)
            self._is_fatal(error)
            for one in attempts:
                if time.monotonic() > one._renewed_at + one._lease:
                    self._stop_attempt(one, "lost")
            return
        for one, answer in zip(attempts, renewed):
            one._renewed_at = now
            if answer["stop"] is not None:
                self._stop_attempt(one, answer["stop"])

    def _stop_attempt(self, attempt: Attempt, reason: str) -> None:
        with self._changed:
            attempt._end(reason)
            if reason == "lost":
                self._held.pop(attempt._key, None)
                self._changed.notify_all()

    def _is_fatal(self, error: Failure) -> bool:
        """Whether the API refuses the worker, because of its key or a kind. Then it stops."""
        if not error.is_temporary and self._fatal is None:
            self._fatal = error
            self.stop()
        return not error.is_temporary

    def _drain(self) -> None:
        self._stopping.set()
        with self._changed:
            grace = 0.0 if self._fatal else self._grace
            self._changed.wait_for(lambda: not self._running, grace)
            for attempt in self._running.values():
                attempt._end("lost" if self._fatal else "shutdown")
            self._changed.wait_for(lambda: not self._running, STOP_TIMEOUT)
            abandoned = list(self._running.values())
        for attempt in abandoned:
            log.warning("task %s is released while its function runs on", attempt.task_id)
            self._end(attempt, encode({"released": True}))
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._fatal, SETTLE_TIMEOUT)
            self._closed = True
            self._changed.notify_all()


def run(**options: Any) -> None:
    """Runs a worker with the options of `Worker` until SIGTERM, with log lines on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Worker(**options).run()
