"""The bodies of the API. Written by sdk/generate."""

from typing import Any, Dict, List, Literal, TypedDict, Union


class _SubmitTask(TypedDict):
    description: str
    data: Any
    ttl: int


class SubmitTask(_SubmitTask, total=False):
    """The body of `POST /api/tasks`."""

    kind: Union[str, None]
    queue: Union[str, None]
    maxAttempts: Union[int, None]
    runAt: Union[str, None]


Status = Literal["Awaiting", "Executing", "Finished", "Canceled", "Failed"]


class TaskError(TypedDict):
    """Why an attempt failed."""

    code: str
    message: str


class _Task(TypedDict):
    taskId: str
    kind: str
    queue: str
    description: str
    data: Any
    ttl: int
    status: Status
    statusMessage: Union[str, None]
    progress: float
    result: Any
    error: Union[TaskError, None]
    attempt: int
    maxAttempts: int
    generation: int
    createdAt: str
    runAt: Union[str, None]
    executionStartedAt: Union[str, None]
    executionFinishedAt: Union[str, None]
    worker: Union[str, None]
    traceId: Union[str, None]


class Task(_Task, total=False):
    """A task."""

    owner: str


class TaskPage(TypedDict):
    """A page of tasks, newest first."""

    tasks: List[Task]
    nextCursor: Union[str, None]


class FieldError(TypedDict):
    """An error of a field of a body or query."""

    field: str
    message: str


class _Problem(TypedDict):
    type: str
    title: str
    status: int
    code: str
    traceId: str


class Problem(_Problem, total=False):
    """The body of every error: `application/problem+json`."""

    detail: str
    errors: List[FieldError]


class _WorkerKind(TypedDict):
    name: str


class WorkerKind(_WorkerKind, total=False):
    """A kind that a worker runs."""

    description: Union[str, None]
    dataSchema: Any
    example: Any
    queue: Union[str, None]


class _ClaimRequest(TypedDict):
    worker: str
    kinds: List[WorkerKind]
    max: int
    waitSeconds: int


class ClaimRequest(_ClaimRequest, total=False):
    """The body of `POST /worker/v1/claims`."""

    queues: Union[List[str], None]


class ClaimedTask(TypedDict):
    """A task that the worker has to run."""

    taskId: str
    claim: int
    kind: str
    data: Any
    attempt: int
    maxAttempts: int
    generation: int
    attemptId: str
    idempotencyKey: str
    ttl: int
    deadline: str
    leaseUntil: str
    traceparent: Union[str, None]


class Claims(TypedDict):
    """The response of `POST /worker/v1/claims`."""

    claims: List[ClaimedTask]


class _Heartbeat(TypedDict):
    taskId: str
    claim: int


class Heartbeat(_Heartbeat, total=False):
    """A claim to renew."""

    progress: Union[float, None]
    message: Union[str, None]


class HeartbeatRequest(TypedDict):
    """The body of `POST /worker/v1/heartbeats`."""

    worker: str
    claims: List[Heartbeat]


StopReason = Literal["canceled", "expired", "lost"]


class RenewedClaim(TypedDict):
    """A claim after a heartbeat."""

    taskId: str
    claim: int
    leaseUntil: Union[str, None]
    stop: Union[StopReason, None]


class Heartbeats(TypedDict):
    """The response of `POST /worker/v1/heartbeats`."""

    claims: List[RenewedClaim]


class _AttemptError(TypedDict):
    code: str
    message: str
    retry: bool


class AttemptError(_AttemptError, total=False):
    """Why an attempt failed."""

    retryInSeconds: Union[int, None]


class _AttemptOutcome(TypedDict):
    taskId: str
    claim: int


class AttemptOutcome(_AttemptOutcome, total=False):
    """How an attempt ended: exactly one of `result`, `error`, `released` and `stopped`."""

    result: Any
    error: Union[AttemptError, None]
    released: Union[bool, None]
    stopped: Union[bool, None]


class OutcomeRequest(TypedDict):
    """The body of `POST /worker/v1/outcomes`."""

    worker: str
    outcomes: List[AttemptOutcome]


OutcomeRefusal = Literal["lost", "already_ended", "not_stopped"]


class SettledOutcome(TypedDict):
    """Whether an outcome was accepted."""

    taskId: str
    claim: int
    accepted: bool
    refusal: Union[OutcomeRefusal, None]


class Outcomes(TypedDict):
    """The response of `POST /worker/v1/outcomes`."""

    outcomes: List[SettledOutcome]
