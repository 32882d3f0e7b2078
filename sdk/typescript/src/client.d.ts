import type { SubmitTask, Task } from "./types.js";
import type { ApiError, ConnectionOptions } from "./http.js";

export interface ClientOptions extends ConnectionOptions {
  /** How long requests that fail temporarily are repeated, in milliseconds; 30,000 by default. */
  retryFor?: number;
}

/** Further fields of a task; `ttl` is 300 seconds and `description` the kind by default. */
export type SubmitOptions = Partial<Omit<SubmitTask, "kind" | "data">> & {
  /** Makes the request repeatable; a random key by default. */
  idempotencyKey?: string;
};

/** A task ended without a result. */
export class TaskFailed extends Error {
  readonly task: Task;
  constructor(task: Task);
}

/** A client of the API; it runs in browsers, too. Methods reject with {@link ApiError}. */
export class Client {
  constructor(options?: ClientOptions);
  submit(kind: string, data?: unknown, options?: SubmitOptions): Promise<Task>;
  get(taskId: string): Promise<Task>;
  cancel(taskId: string): Promise<Task>;
  /** Waits until a task has ended, for at most `timeout` milliseconds. */
  wait(taskId: string, options?: { timeout?: number }): Promise<Task>;
  /** Submits a task and resolves to its result. Rejects with {@link TaskFailed} if it has none. */
  run<Result = unknown>(
    kind: string,
    data?: unknown,
    options?: SubmitOptions & { timeout?: number },
  ): Promise<Result>;
}
