import type { ConnectionOptions } from "./http.js";
import type { WorkerKind } from "./types.js";

export interface WorkerOptions extends ConnectionOptions {
  /** The name of the worker in `GET /api/workers`. */
  name?: string;
  /** How many functions run at once; 10 by default. */
  concurrency?: number;
  /** The queues from which it takes tasks; all by default. */
  queues?: string[];
  /** How many seconds running functions have to end at the stop; 30 by default. */
  grace?: number;
}

/** What a function gets beside its data. */
export interface Attempt {
  readonly taskId: string;
  readonly kind: string;
  /** The number of the attempt, starting with 1. */
  readonly number: number;
  readonly maxAttempts: number;
  readonly generation: number;
  readonly ttl: number;
  readonly attemptId: string;
  /** The same for all attempts: for services that must not repeat an effect. */
  readonly idempotencyKey: string;
  readonly traceparent: string | null;
  /** Aborted when the attempt has to stop: canceled, expired, lost, or a shutdown. */
  readonly signal: AbortSignal;
  readonly stopReason: "canceled" | "expired" | "lost" | "shutdown" | null;
  /** Reports progress from 0 to 1. Only the latest report is sent, about once a second. */
  progress(fraction: number, message?: string): void;
}

/** Fails the attempt. Another one starts after `retryIn` seconds, or a growing delay. */
export class RetryableError extends Error {
  constructor(message: string, options?: { code?: string; retryIn?: number });
}

/** Fails the task without another attempt. */
export class FinalError extends Error {
  constructor(message: string, options?: { code?: string });
}

/** Runs functions as kinds of task, in Node and Deno. */
export class Worker {
  readonly name: string;
  constructor(options?: WorkerOptions);
  /** Adds a kind. What the function resolves to is the result of the task, as JSON. */
  kind<Data = unknown>(
    name: string,
    run: (data: Data, attempt: Attempt) => unknown,
    options?: Omit<WorkerKind, "name">,
  ): this;
  /** Works until `stop` or SIGTERM. Rejects if the API refuses the worker or its key. */
  run(): Promise<void>;
  /** Begins a graceful stop. */
  stop(): void;
}
