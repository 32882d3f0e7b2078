"""An API in memory with the worker protocol, for tests."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeApi:
    """Grants the tasks that a test adds, and records the calls."""

    def __init__(self):
        self.changed = threading.Condition()
        self.waiting, self.outcomes, self.claim_calls, self.beats = [], {}, [], []
        self.stops, self.failures, self.tasks = {}, [], {}
        self.lease_seconds, self.max_body = 15.0, 1024 * 1024
        # Granted claims are sent while this is set. Losing a response closes the connection.
        self.sending = threading.Event()
        self.sending.set()
        self.lost_responses = []
        self.renewed_at, self.granted = {}, []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def _respond(self):
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                if length > api.max_body:
                    status, answer = 413, {"code": "body_too_large"}
                else:
                    body = json.loads(content or b"null")
                    status, answer = api._answer(self.command, self.path, body, self.headers)
                if "claims" in self.path:
                    api.sending.wait(60)
                if api._loses(self.path):
                    self.close_connection = True
                    return
                # Text is a page of a proxy.
                content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _respond

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def add(self, number, kind, data, ttl=60):
        with self.changed:
            self.waiting.append((str(number), kind, data, ttl))
            self.changed.notify_all()

    def until(self, condition, seconds=60):
        with self.changed:
            ends_at = time.monotonic() + seconds
            while not condition():
                assert time.monotonic() < ends_at, "timed out"
                self.changed.wait(0.1)

    def _loses(self, path):
        with self.changed:
            if self.lost_responses and self.lost_responses[0] in path:
                return self.lost_responses.pop(0)

    def _answer(self, method, path, body, headers):
        with self.changed:
            if headers["Authorization"] != "Bearer key":
                return 401, {"code": "token_invalid", "title": "The token is not valid"}
            if self.failures and self.failures[0][0] in path:
                return self.failures.pop(0)[1:]
            answer = {
                "/worker/v1/claims": self._claim,
                "/worker/v1/heartbeats": self._renew,
                "/worker/v1/outcomes": self._settle,
            }.get(path, lambda body: self._task(method, path, body, headers))(body)
            self.changed.notify_all()
            return answer if isinstance(answer, tuple) else (200, answer)

    def _claim(self, body):
        self.claim_calls.append(body)
        self.changed.notify_all()
        self.changed.wait_for(lambda: self.waiting, 0.2)
        granted, self.waiting = self.waiting[: body["max"]], self.waiting[body["max"] :]
        self.granted += [one[0] for one in granted]
        self.renewed_at.update({one[0]: time.monotonic() for one in granted})
        self.changed.notify_all()
        return {"claims": [self._claimed(*one) for one in granted]}

    def _claimed(self, task_id, kind, data, ttl):
        # A clock that is a day ahead of the worker's.
        now = time.time() + 86_400

        def at(seconds):
            moment = time.gmtime(seconds)
            return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(seconds % 1 * 1e6):06}Z"

        return {
            "taskId": task_id, "claim": 1, "kind": kind, "data": data, "attempt": 1,
            "maxAttempts": 3, "generation": 1, "attemptId": f"{task_id}-1",
            "idempotencyKey": f"{task_id}.1", "ttl": ttl, "deadline": at(now + ttl),
            "leaseUntil": at(now + self.lease_seconds), "traceparent": None,
        }

    def _renew(self, body):
        if not all(_is_report(one) for one in body["claims"]):
            return 422, {"code": "invalid_fields"}
        self.beats.append(body["claims"])
        return {"claims": [
            {"taskId": one["taskId"], "claim": 1, "leaseUntil": None, "stop": self._stop(one["taskId"])}
            for one in body["claims"]
        ]}

    def _stop(self, task_id):
        if self._is_lost(task_id):
            return "lost"
        self.renewed_at[task_id] = time.monotonic()
        return self.stops.get(task_id)

    def _is_lost(self, task_id):
        return time.monotonic() > self.renewed_at[task_id] + self.lease_seconds

    def _settle(self, body):
        if not all(_is_error(one["error"]) for one in body["outcomes"] if "error" in one):
            return 422, {"code": "invalid_fields"}
        settled = []
        for one in body["outcomes"]:
            is_lost = self._is_lost(one["taskId"])
            if not is_lost:
                self.outcomes.setdefault(one["taskId"], []).append(one)
            settled.append({"taskId": one["taskId"], "claim": 1, "accepted": not is_lost,
                            "refusal": "lost" if is_lost else None})
        return {"outcomes": settled}

    def _task(self, method, path, body, headers):
        if path.endswith("/cancel"):
            [task] = self.tasks.values()
            if task["status"] == "Canceled":
                return 409, {"code": "task_already_finished"}
            task["status"] = "Canceled"
            return task
        if method == "POST":
            key = headers["Idempotency-Key"]
            self.tasks.setdefault(key, {"taskId": "t", "status": "Awaiting", "polls": 0, **body})
            return self.tasks[key]
        task = next(iter(self.tasks.values()))
        task["polls"] += 1
        if task["polls"] > 2 and task["status"] == "Awaiting":
            is_failure = task["kind"] == "fail"
            task["status"] = "Failed" if is_failure else "Finished"
            task["result"] = None if is_failure else task["data"]
            task["error"] = {"code": "broken", "message": "it broke"} if is_failure else None
        return task


def _is_text(value, limit):
    return (isinstance(value, str) and len(value) <= limit and "\0" not in value
            and not any("\ud800" <= one <= "\udfff" for one in value))


def _is_report(claim):
    progress = claim.get("progress", 0)
    return (isinstance(progress, (int, float)) and 0 <= progress <= 1
            and _is_text(claim.get("message", ""), 100_000))


def _is_error(error):
    delay = error.get("retryInSeconds", 0)
    return (_is_text(error["code"], 100) and error["code"] and _is_text(error["message"], 100_000)
            and isinstance(error["retry"], bool) and isinstance(delay, int) and 0 <= delay <= 86_400)
