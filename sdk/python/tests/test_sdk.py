import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock
import urllib.error
from decimal import Decimal

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fake_api import FakeApi  # noqa: E402
from miniapp import (  # noqa: E402
    ApiError, Client, FinalError, RetryableError, Stopped, TaskFailed, Worker, kind,
)

stopped = []


@kind("echo", data_schema={"type": "object"}, queue="fast")
def echo(attempt):
    """Returns its data."""
    return attempt.data


@kind("fails")
def fails(attempt):
    raise {"final": FinalError("no", "never"), "later": RetryableError("wait", retry_in=7),
           "bug": KeyError("x")}[attempt.data]


@kind("large")
def large(attempt):
    return "x" * attempt.data


@kind("not_json")
def not_json(attempt):
    return {1, 2}


@kind("sleeps")
def sleeps(attempt):
    attempt.progress(0.5, "halfway")
    try:
        attempt.sleep(60)
    except Stopped:
        stopped.append(attempt.stop_reason)
        raise


class Nameless(Exception):
    def code(self):
        return "never"

    def __str__(self):
        raise ValueError("no text")


ODD_ERRORS = {
    "http": urllib.error.HTTPError("http://localhost", 503, "Busy \0 \ud800", {}, None),
    "nameless": Nameless(),
    "half": RetryableError("x" * 1000, code="a\0" + "b" * 200, retry_in=0.5),
    "long": RetryableError("\ud83d\ude00", code="", retry_in=1e9),
    "negative": RetryableError("early", retry_in=-1),
    "infinite": RetryableError("late", retry_in=math.inf),
    "text": RetryableError("soon", retry_in="tomorrow"),
}


@kind("odd_errors")
def odd_errors(attempt):
    raise ODD_ERRORS[attempt.data]


@kind("reports")
def reports(attempt):
    attempt.progress(Decimal("0.25"), ["\ud83d\ude00", "\0", "\ud800" + "x" * 1000][attempt.data])
    attempt.sleep(60)


@kind("waits")
def waits(attempt):
    attempt.sleep(3600)


class WorkerTest(unittest.TestCase):
    def setUp(self):
        self.api = FakeApi()
        self.worker = None

    def tearDown(self):
        if self.worker is not None:
            self.worker.stop()
            self.thread.join(30)
            self.assertFalse(self.thread.is_alive())
        self.api.close()

    def start(self, **options):
        self.error = None
        self.worker = Worker(self.api.url, "key", name="w", **{"concurrency": 4, **options})

        def work():
            try:
                self.worker.run()
            except ApiError as error:
                self.error = error

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def spawn(self, program):
        environment = {**os.environ, "MINIAPP_URL": self.api.url, "MINIAPP_API_KEY": "key",
                       "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", program], env=environment,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def outcome(self, task_id):
        self.api.until(lambda: task_id in self.api.outcomes)
        [outcome] = self.api.outcomes[task_id]
        return {key: value for key, value in outcome.items() if key not in ("taskId", "claim")}

    def test_results_and_errors(self):
        self.api.add("a", "echo", {"b": [1, None, "é"]})
        for data in ("final", "later", "bug"):
            self.api.add(data, "fails", data)
        self.api.add("set", "not_json", None)
        self.start()
        self.assertEqual(self.outcome("a"), {"result": {"b": [1, None, "é"]}})
        failed = {"code": "never", "message": "no", "retry": False}
        self.assertEqual(self.outcome("final"), {"error": failed})
        failed = {"code": "failed", "message": "wait", "retry": True, "retryInSeconds": 7}
        self.assertEqual(self.outcome("later"), {"error": failed})
        failed = {"code": "key_error", "message": "'x'", "retry": True}
        self.assertEqual(self.outcome("bug"), {"error": failed})
        self.assertEqual(self.outcome("set")["error"]["code"], "type_error")
        call = self.api.claim_calls[0]
        self.assertEqual((call["worker"], call["max"]), ("w", 4))
        described = {"name": "echo", "description": "Returns its data.",
                     "dataSchema": {"type": "object"}, "queue": "fast"}
        self.assertEqual(call["kinds"][0], described)

    def test_results_are_bounded_and_batched(self):
        self.api.add("over", "large", 512 * 1024 - 1)
        for number in range(4):
            self.api.add(number, "large", 400 * 1024)
        self.start()
        self.assertEqual(self.outcome("over")["error"]["code"], "result_too_large")
        for number in range(4):
            self.assertEqual(len(self.outcome(str(number))["result"]), 400 * 1024)

    def test_stop_reasons(self):
        self.api.lease_seconds = 6.0
        stopped.clear()
        for reason in ("canceled", "expired", "lost"):
            self.api.stops[reason] = reason
            self.api.add(reason, "sleeps", None)
        self.start()
        self.assertEqual(self.outcome("canceled"), {"stopped": True})
        self.assertEqual(self.outcome("expired"), {"stopped": True})
        self.api.until(lambda: len(stopped) == 3)
        self.assertNotIn("lost", self.api.outcomes)

    def test_reports_reach_the_api_in_a_form_that_it_accepts(self):
        for number in range(3):
            self.api.add(number, "reports", number)
        self.start(grace=0)
        reported = {}
        self.api.until(lambda: len(reported) == 3 or reported.update(
            {one["taskId"]: one for beat in self.api.beats for one in beat if "progress" in one}))
        self.assertEqual({one["progress"] for one in reported.values()}, {0.25})
        messages = [reported[str(number)]["message"] for number in range(3)]
        self.assertEqual(messages, ["\U0001f600", "\ufffd", "\ufffd" + "x" * 499])

    def test_claims_are_renewed_without_reports_that_the_api_refuses(self):
        self.api.lease_seconds = 15.0
        for status in (400, 413, 422):
            with self.api.changed:
                self.api.failures.append(("heartbeats", status, {"code": "invalid_fields"}))
        self.api.add("a", "sleeps", None)
        self.start(grace=0)
        self.api.until(lambda: not self.api.failures and self.api.beats)
        self.assertNotIn("progress", self.api.beats[0][0])
        self.assertIsNone(self.error)

    def test_heartbeat_is_sent_at_the_end_of_the_ttl(self):
        self.api.lease_seconds = 3600.0
        self.api.stops["short"] = "expired"
        self.api.add("short", "waits", None, ttl=1)
        with unittest.mock.patch("miniapp.worker.MAX_HEARTBEAT_INTERVAL", 3600.0):
            self.start()
            self.assertEqual(self.outcome("short"), {"stopped": True})

    def test_graceful_stop_releases_what_does_not_end(self):
        self.api.add("slow", "sleeps", None)
        self.start(grace=0.1)
        self.api.until(lambda: "slow" in self.api.granted and self.api.beats)
        self.worker.stop()
        self.assertEqual(self.outcome("slow"), {"released": True})

    def test_claims_that_arrive_after_the_stop_are_released(self):
        self.api.sending.clear()
        self.api.add("late", "echo", 1)
        self.start()
        self.api.until(lambda: "late" in self.api.granted)
        with unittest.mock.patch("miniapp.worker.CLAIM_TIMEOUT", 60.0):
            self.worker.stop()
            self.worker._stopping.wait(60)
            self.api.sending.set()
            self.assertEqual(self.outcome("late"), {"released": True})
            self.thread.join(60)
        self.assertEqual(len(self.api.claim_calls), 1)

    def test_stop_does_not_repeat_a_claim_call(self):
        self.api.sending.clear()
        self.start()
        self.api.until(lambda: self.api.claim_calls)
        self.worker.stop()
        self.thread.join(60)
        self.assertFalse(self.thread.is_alive())
        self.assertEqual(len(self.api.claim_calls), 1)
        self.api.sending.set()

    def test_errors_are_described_so_that_they_are_retried(self):
        for name in ODD_ERRORS:
            self.api.add(name, "odd_errors", name)
        self.start()
        errors = {name: self.outcome(name)["error"] for name in ODD_ERRORS}
        self.assertEqual({one["retry"] for one in errors.values()}, {True})
        self.assertEqual(errors["http"]["code"], "httperror")
        self.assertEqual(errors["http"]["message"], "HTTP Error 503: Busy \ufffd \ufffd")
        self.assertEqual((errors["nameless"]["code"], errors["nameless"]["message"]), ("nameless",) * 2)
        self.assertEqual(errors["half"]["code"], "a\ufffd" + "b" * 98)
        self.assertEqual((errors["half"]["message"], errors["half"]["retryInSeconds"]), ("x" * 500, 1))
        self.assertEqual((errors["long"]["code"], errors["long"]["message"]), ("failed", "\U0001f600"))
        delays = [errors[name].get("retryInSeconds") for name in ("long", "negative", "infinite", "text")]
        self.assertEqual(delays, [86_400, 0, 86_400, None])

    def test_result_that_looks_like_an_error_is_not_retried(self):
        for number, data in enumerate([{"error": {"retry": True}}, {"code": "invalid_result"}]):
            self.api.failures = [("outcomes", 422, {"code": "invalid_fields"})]
            self.api.add(number, "echo", data)
            if not number:
                self.start()
            failed = self.outcome(str(number))["error"]
            self.assertEqual((failed["code"], failed["retry"]), ("invalid_result", False))

    def test_error_that_the_api_refuses_is_retried(self):
        self.api.failures = [("outcomes", 422, {"code": "invalid_fields"})]
        self.api.add("later", "fails", "later")
        self.start()
        failed = self.outcome("later")["error"]
        self.assertEqual((failed["code"], failed["retry"]), ("invalid_result", True))

    def test_answers_that_are_not_of_the_api_are_survived(self):
        self.api.lease_seconds = 60.0
        odd = [(502, "[]"), (502, "null"), (502, '"x"'), (502, {"errors": None}), (500, {"errors": [1]}),
               (200, "<html>"), (200, "{}"), (404, {"code": "not_found"}), (405, "<html>")]
        self.api.add("a", "sleeps", None)
        with unittest.mock.patch("miniapp.worker.backoff", lambda *_: 0.01):
            self.start(grace=0)
            self.api.until(lambda: self.api.beats)
            for path in ("heartbeats", "claims"):
                self.api.failures = [(path, *one) for one in odd]
                self.api.until(lambda: not self.api.failures)
            self.api.failures = [("outcomes", *one) for one in odd]
            self.api.add("b", "echo", 1)
            self.assertEqual(self.outcome("b"), {"result": 1})
        self.assertIsNone(self.error)

    def test_result_above_the_limit_fails_alone(self):
        self.api.max_body = 100_000
        self.api.sending.clear()
        self.api.add("over", "large", 200_000)
        for number in range(3):
            self.api.add(number, "large", 10)
        self.start()
        self.api.sending.set()
        failed = self.outcome("over")["error"]
        self.assertEqual((failed["code"], failed["retry"]), ("invalid_result", False))
        for number in range(3):
            self.assertEqual(self.outcome(str(number)), {"result": "x" * 10})

    def test_frozen_worker_drops_its_claim(self):
        # The function ends as soon as the process is continued.
        program = ("import time\nfrom miniapp import kind, run\n"
                   "@kind('waits')\ndef waits(attempt):\n  before = now = time.monotonic()\n"
                   "  while now - before < 2.5:\n"
                   "    before = now; time.sleep(0.02); now = time.monotonic()\n"
                   "@kind('echo')\ndef echo(attempt): return attempt.data\nrun(concurrency=2)")
        self.api.lease_seconds = 6.0
        process = self.spawn(program)
        self.api.add("frozen", "waits", None)
        self.api.until(lambda: self.api.beats)
        process.send_signal(signal.SIGSTOP)
        self.api.until(lambda: self.api._is_lost("frozen"))
        process.send_signal(signal.SIGCONT)
        self.api.add("next", "echo", 1)
        self.assertEqual(self.outcome("next"), {"result": 1})
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)
        self.assertNotIn("frozen", self.api.outcomes)

    def test_calls_are_repeated_after_failures(self):
        busy = {"code": "unavailable", "title": "later"}
        self.api.failures = [("claims", 503, busy), ("outcomes", 503, busy), ("outcomes", 503, busy)]
        self.api.add("a", "echo", {})
        self.start()
        self.assertEqual(self.outcome("a"), {"result": {}})

    def test_outcome_that_the_api_cannot_read_fails_its_task_alone(self):
        refused = {"code": "invalid_fields", "title": "no", "errors": []}
        self.api.failures = [("outcomes", 422, refused)] * 2
        for number in range(2):
            self.api.add(number, "echo", number)
        self.start()
        self.api.until(lambda: len(self.api.outcomes) == 2)
        outcomes = [self.outcome("0"), self.outcome("1")]
        codes = [one.get("error", {}).get("code") for one in outcomes]
        self.assertEqual(sorted(codes, key=str), [None, "invalid_result"])

    def test_revoked_key_stops_the_worker(self):
        revoked = {"code": "token_revoked", "title": "revoked"}
        self.start()
        self.api.until(lambda: self.api.claim_calls)
        self.api.failures = [("claims", 401, revoked)]
        self.thread.join(30)
        self.assertEqual(self.error.code, "token_revoked")

    def test_signal_stops_the_program(self):
        program = ("from miniapp import kind, run\n"
                   "@kind('echo')\ndef echo(attempt): return attempt.data\nrun(concurrency=2)")
        process = self.spawn(program)
        self.api.add("a", "echo", 1)
        self.assertEqual(self.outcome("a"), {"result": 1})
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.api = FakeApi()
        self.client = Client(self.api.url, "key")

    def tearDown(self):
        self.api.close()

    def test_run_returns_the_result(self):
        self.assertEqual(self.client.run("echo", {"a": 1}, maxAttempts=2), {"a": 1})
        [task] = self.api.tasks.values()
        self.assertEqual((task["description"], task["ttl"], task["maxAttempts"]), ("echo", 300, 2))

    def test_failed_task_raises(self):
        with self.assertRaises(TaskFailed) as raised:
            self.client.run("fail")
        self.assertIn("it broke", str(raised.exception))

    def test_submit_is_repeated_with_one_key(self):
        self.api.failures = [("tasks", 503, {"code": "unavailable", "title": "later"})]
        self.client.submit("echo")
        self.assertEqual(len(self.api.tasks), 1)

    def test_repeated_cancel_finds_its_own_effect(self):
        self.client.submit("echo")
        self.api.lost_responses = ["cancel"]
        self.assertEqual(self.client.cancel("t")["status"], "Canceled")
        with self.assertRaises(ApiError) as raised:
            self.client.cancel("t")
        self.assertEqual(raised.exception.code, "task_already_finished")

    def test_refusal_is_not_repeated(self):
        refused = {"code": "invalid_fields", "errors": [{"field": "ttl", "message": "is wrong"}]}
        self.api.failures = [("tasks", 422, refused)]
        with self.assertRaises(ApiError) as raised:
            self.client.submit("echo", ttl=0)
        self.assertEqual(str(raised.exception), "422 invalid_fields: ttl is wrong")

    def test_api_key_is_needed(self):
        os.environ.pop("MINIAPP_API_KEY", None)
        self.assertRaises(ValueError, Client, self.api.url)


if __name__ == "__main__":
    unittest.main()
