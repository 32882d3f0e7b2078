// The bodies of the API. Written by sdk/generate.

/** The body of `POST /api/tasks`. */
export interface SubmitTask {
  description: string;
  data: unknown;
  ttl: number;
  kind?: string | null;
  queue?: string | null;
  maxAttempts?: number | null;
  runAt?: string | null;
}

/** The status of a task. */
export type Status = "Awaiting" | "Executing" | "Finished" | "Canceled" | "Failed";

/** Why an attempt failed. */
export interface TaskError {
  code: string;
  message: string;
}

/** A task. */
export interface Task {
  taskId: string;
  kind: string;
  queue: string;
  description: string;
  data: unknown;
  ttl: number;
  status: Status;
  statusMessage: string | null;
  progress: number;
  result: unknown;
  error: TaskError | null;
  attempt: number;
  maxAttempts: number;
  generation: number;
  createdAt: string;
  runAt: string | null;
  executionStartedAt: string | null;
  executionFinishedAt: string | null;
  worker: string | null;
  traceId: string | null;
  owner?: string;
}

/** A page of tasks, newest first. */
export interface TaskPage {
  tasks: Task[];
  nextCursor: string | null;
}

/** An error of a field of a body or query. */
export interface FieldError {
  field: string;
  message: string;
}

/** The body of every error: `application/problem+json`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  code: string;
  traceId: string;
  errors?: FieldError[];
}

/** A kind that a worker runs. */
export interface WorkerKind {
  name: string;
  description?: string | null;
  dataSchema?: unknown;
  example?: unknown;
  queue?: string | null;
}

/** The body of `POST /worker/v1/claims`. */
export interface ClaimRequest {
  worker: string;
  kinds: WorkerKind[];
  queues?: string[] | null;
  max: number;
  waitSeconds: number;
}

/** A task that the worker has to run. */
export interface ClaimedTask {
  taskId: string;
  claim: number;
  kind: string;
  data: unknown;
  attempt: number;
  maxAttempts: number;
  generation: number;
  attemptId: string;
  idempotencyKey: string;
  ttl: number;
  deadline: string;
  leaseUntil: string;
  traceparent: string | null;
}

/** The response of `POST /worker/v1/claims`. */
export interface Claims {
  claims: ClaimedTask[];
}

/** A claim to renew. */
export interface Heartbeat {
  taskId: string;
  claim: number;
  progress?: number | null;
  message?: string | null;
}

/** The body of `POST /worker/v1/heartbeats`. */
export interface HeartbeatRequest {
  worker: string;
  claims: Heartbeat[];
}

/** Why an attempt has to stop. */
export type StopReason = "canceled" | "expired" | "lost";

/** A claim after a heartbeat. */
export interface RenewedClaim {
  taskId: string;
  claim: number;
  leaseUntil: string | null;
  stop: StopReason | null;
}

/** The response of `POST /worker/v1/heartbeats`. */
export interface Heartbeats {
  claims: RenewedClaim[];
}

/** Why an attempt failed. */
export interface AttemptError {
  code: string;
  message: string;
  retry: boolean;
  retryInSeconds?: number | null;
}

/** How an attempt ended: exactly one of `result`, `error`, `released` and `stopped`. */
export interface AttemptOutcome {
  taskId: string;
  claim: number;
  result?: unknown;
  error?: AttemptError | null;
  released?: boolean | null;
  stopped?: boolean | null;
}

/** The body of `POST /worker/v1/outcomes`. */
export interface OutcomeRequest {
  worker: string;
  outcomes: AttemptOutcome[];
}

/** Why an outcome is not accepted. */
export type OutcomeRefusal = "lost" | "already_ended" | "not_stopped";

/** Whether an outcome was accepted. */
export interface SettledOutcome {
  taskId: string;
  claim: number;
  accepted: boolean;
  refusal: OutcomeRefusal | null;
}

/** The response of `POST /worker/v1/outcomes`. */
export interface Outcomes {
  outcomes: SettledOutcome[];
}
