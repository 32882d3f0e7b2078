"""The kinds that the tests of workers need, in Python."""

import sys

from miniapp import RetryableError, kind, run


@kind("echo", data_schema={})
def echo(attempt):
    """Returns its data."""
    return attempt.data


@kind("sleep")
def sleep(attempt):
    attempt.progress(0.25, "asleep")
    attempt.sleep(attempt.data["seconds"])
    return attempt.data


@kind("flaky")
def flaky(attempt):
    if attempt.number <= attempt.data["failures"]:
        raise RetryableError("as requested", code="flaky")
    return {"attempt": attempt.number, "key": attempt.idempotency_key}


run(name=sys.argv[1], concurrency=4, grace=float(sys.argv[2]))
