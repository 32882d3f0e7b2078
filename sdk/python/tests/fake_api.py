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
        self.lease_seconds = 15.0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def _respond(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                status, answer = api._answer(self.command, self.path, body, self.headers)
                content = json.dumps(answer).encode()
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

    def until(self, condition, seconds=30):
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "timed out"

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
            return 200, answer

    def _claim(self, body):
        self.claim_calls.append(body)
        self.changed.notify_all()
        self.changed.wait_for(lambda: self.waiting, 0.2)
        granted, self.waiting = self.waiting[: body["max"]], self.waiting[body["max"] :]
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
        self.beats.append(body["claims"])
        return {"claims": [
            {"taskId": one["taskId"], "claim": 1, "leaseUntil": None,
             "stop": self.stops.get(one["taskId"])}
            for one in body["claims"]
        ]}

    def _settle(self, body):
        for one in body["outcomes"]:
            self.outcomes.setdefault(one["taskId"], []).append(one)
        return {"outcomes": [
            {"taskId": one["taskId"], "claim": 1, "accepted": True, "refusal": None}
            for one in body["outcomes"]
        ]}

    def _task(self, method, path, body, headers):
        if method == "POST":
            key = headers["Idempotency-Key"]
            self.tasks.setdefault(key, {"taskId": "t", "status": "Awaiting", "polls": 0, **body})
            return self.tasks[key]
        task = next(iter(self.tasks.values()))
        task["polls"] += 1
        if task["polls"] > 2:
            is_failure = task["kind"] == "fail"
            task["status"] = "Failed" if is_failure else "Finished"
            task["result"] = None if is_failure else task["data"]
            task["error"] = {"code": "broken", "message": "it broke"} if is_failure else None
        return task
