"""The main flow with the clients that openapi-python-client generates."""

from generated.api import AuthenticatedClient
from generated.api.api.events import list_task_events
from generated.api.api.tasks import get_task, list_tasks, submit_task
from generated.api.models import Problem as ApiProblem
from generated.api.models import Status, SubmitTask, Task, TaskPage, Timeline
from generated.auth import Client
from generated.auth.api.tokens import refresh_tokens, sign_in
from generated.auth.models import PasswordSignIn, Problem, Refresh, Tokens


def signed_in(login: str, password: str) -> str:
    auth = Client(base_url="http://127.0.0.1:8005")
    body = PasswordSignIn(login=login, password=password, client="example")
    tokens = sign_in.sync(client=auth, body=body)
    if not isinstance(tokens, Tokens):
        raise RuntimeError(tokens.title if tokens else "unexpected")
    refreshed = refresh_tokens.sync(
        client=auth, body=Refresh(refresh_token=tokens.refresh_token)
    )
    if isinstance(refreshed, Problem):
        code: str = refreshed.code
        raise RuntimeError(code)
    return tokens.auth_token


def run(token: str) -> Task:
    api = AuthenticatedClient(base_url="http://127.0.0.1:8000", token=token)
    # Optional fields are optional.
    body = SubmitTask(description="An example", data={"hello": "world"}, ttl=30)
    submitted = submit_task.sync(client=api, body=body, idempotency_key="example")
    if not isinstance(submitted, Task):
        raise RuntimeError(describe(submitted))
    timeline = list_task_events.sync(submitted.task_id, client=api)
    if isinstance(timeline, Timeline):
        print([event.progress for event in timeline.events])
    task = get_task.sync(submitted.task_id, client=api)
    if not isinstance(task, Task):
        raise RuntimeError("unexpected")
    worker: str | None = task.worker
    failure = task.error
    if failure is not None:
        raise RuntimeError(f"{worker}: {failure.code}")
    page = list_tasks.sync(client=api, status=Status.FINISHED, limit=10)
    if isinstance(page, TaskPage):
        print(len(page.tasks), page.next_cursor)
    return task


def describe(problem: ApiProblem | None) -> str:
    return f"{problem.code}: {problem.title}" if problem else "unexpected"
