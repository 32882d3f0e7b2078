// Claims tasks, runs their functions and settles them.

import { ApiError, backoff, Connection, sleep } from "./http.js";

// The API accepts bodies of 1 MiB.
const [MAX_RESULT, MAX_BATCH_BYTES, MAX_BATCH] = [512 * 1024, 700 * 1024, 100];
// In seconds. Proxies often end a request after 15 s without a response.
const WAIT_SECONDS = 10;
const BATCH_DELAY = 3; // Slots and outcomes that become free within this time share a call.
const [MAX_HEARTBEAT_INTERVAL, HEARTBEAT_TICK, HEARTBEAT_TIMEOUT] = [5000, 250, 5000];
// At the stop: for the response to an open claim call, for functions to stop, for outcomes.
const [CLAIM_TIMEOUT, STOP_TIMEOUT, SETTLE_TIMEOUT] = [2000, 5000, 30_000];
// The API refuses a body, or the key.
const [BODY_REFUSED, KEY_REFUSED] = [[400, 413, 415, 422], [401, 403]];
const RELEASED = '"released":true';
const [MAX_TEXT, MAX_CODE, MAX_DELAY] = [500, 100, 86_400];

/** Fails the attempt. Another one starts after `retryIn` seconds, or a growing delay. */
export class RetryableError extends Error {
  constructor(message, { code = "failed", retryIn } = {}) {
    super(message);
    Object.assign(this, { name: "RetryableError", code, retryIn });
  }
}

/** Fails the task without another attempt. */
export class FinalError extends Error {
  constructor(message, { code = "failed" } = {}) {
    super(message);
    Object.assign(this, { name: "FinalError", code });
  }
}

/** Returns text that the API accepts: without NUL and lone surrogates, of limited length. */
function clean(value, length = MAX_TEXT) {
  const text = String(value).slice(0, 2 * length).toWellFormed().replaceAll("\0", "\ufffd");
  return [...text].slice(0, length).join("");
}

/** Returns the error of an outcome. `code` of other classes than the above means other things. */
function failure(error) {
  const isRetryable = error instanceof RetryableError;
  const failed = { code: "failed", message: "failed", retry: !(error instanceof FinalError) };
  try {
    const name = String(error?.name ?? "error").replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toLowerCase();
    failed.code = clean(isRetryable || !failed.retry ? error.code : name, MAX_CODE) || "failed";
    failed.message = clean(error?.message ?? error);
    const delay = isRetryable && error.retryIn != null ? Number(error.retryIn) : NaN;
    if (!Number.isNaN(delay)) failed.retryInSeconds = Math.ceil(Math.min(MAX_DELAY, Math.max(0, delay)));
  } catch {
    // Text and numbers of the function may not be usable.
  }
  return failed;
}

/** What a function gets beside its data. */
class Attempt {
  #stop = new AbortController();

  constructor(claimed) {
    const { taskId, kind, maxAttempts, generation, ttl, attemptId, traceparent } = claimed;
    Object.assign(this, { taskId, kind, maxAttempts, generation, ttl, attemptId, traceparent });
    // The key is the same for all attempts: for services that must not repeat an effect.
    Object.assign(this, { number: claimed.attempt, idempotencyKey: claimed.idempotencyKey });
    this.identity = { taskId, claim: claimed.claim };
    this.report = null;
    this.stopReason = null;
    this.renewedAt = performance.now();
    // A heartbeat shows the end of the ttl.
    this.deadlineAt = this.renewedAt + ttl * 1000 + 100;
    // By the clock of the platform alone: the one of this machine may be wrong.
    const startedAt = Date.parse(claimed.deadline) - ttl * 1000;
    this.lease = Math.max(500, Date.parse(claimed.leaseUntil) - startedAt);
  }

  /** Aborted when the attempt has to stop: canceled, expired, lost, or a shutdown. */
  get signal() {
    return this.#stop.signal;
  }

  /** Reports progress from 0 to 1. Only the latest report is sent, about once a second. */
  progress(fraction, message) {
    this.report = { progress: Math.min(1, Math.max(0, Number(fraction) || 0)) };
    if (message != null) this.report.message = clean(message);
  }

  /** Whether a heartbeat has to be sent. */
  get isDue() {
    const interval = Math.min(this.report ? 1000 : MAX_HEARTBEAT_INTERVAL, this.lease / 3);
    return performance.now() >= Math.min(this.renewedAt + interval, this.deadlineAt);
  }

  /** Whether the lease has ended without a heartbeat, for example in a frozen process. */
  get isLost() {
    return performance.now() > this.renewedAt + this.lease;
  }

  stop(reason) {
    this.stopReason ??= reason;
    this.#stop.abort(new Error(this.stopReason));
  }
}

export class Worker {
  #connection;
  #options;
  #kinds = new Map();
  #stopping = new AbortController();
  #abandoned = new AbortController();
  #fatal = null;
  // Attempts that run, claims to renew, and outcomes to send.
  #running = new Set();
  #held = new Set();
  #outcomes = [];
  #closed = new AbortController();
  #waiting = new Set();

  constructor(options = {}) {
    this.#connection = new Connection(options);
    this.#options = { concurrency: 10, grace: 30, ...options };
    const host = globalThis.process ? `node-${process.pid}` : "worker";
    this.name = options.name ?? `${host}-${crypto.randomUUID().slice(0, 8)}`;
  }

  /** Adds a kind. What the function resolves to is the result of the task, as JSON. */
  kind(name, run, { description, dataSchema, example, queue } = {}) {
    this.#kinds.set(name, { run, description: { name, description, dataSchema, example, queue } });
    return this;
  }

  /** Begins a graceful stop. */
  stop() {
    this.#stopping.abort();
    this.#notify();
  }

  /** Works until the stop or SIGTERM. Rejects if the API refuses the worker or its key. */
  async run() {
    if (this.#kinds.size === 0) throw new Error("no kinds: add one with worker.kind(name, run)");
    const onSignal = () => this.stop();
    for (const name of ["SIGTERM", "SIGINT"]) globalThis.process?.once?.(name, onSignal);
    const renewing = this.#repeat("renew", () => this.#renew(), this.#closed, 1000);
    const settling = this.#repeat("settle", () => this.#settle(), this.#closed);
    const fatal = [...KEY_REFUSED, ...BODY_REFUSED];
    const claiming = this.#repeat("claim", () => this.#claim(), this.#stopping, 300_000, fatal);
    while (!this.#stopping.signal.aborted) await this.#change(1000);
    await this.#drain(claiming);
    await Promise.all([renewing, settling]);
    for (const name of ["SIGTERM", "SIGINT"]) globalThis.process?.off?.(name, onSignal);
    if (this.#fatal) throw this.#fatal;
  }

  /** Repeats a step until the end, or until the API answers with a fatal status. */
  async #repeat(name, step, ended, longestPause = 300_000, fatal = KEY_REFUSED) {
    for (let failures = 0; !ended.signal.aborted; ) {
      try {
        await step();
        failures = 0;
      } catch (error) {
        if (ended.signal.aborted) return;
        // A 404 or 405 may come from a replica of an older version.
        if (error instanceof ApiError && fatal.includes(error.status)) {
          this.#fatal ??= error;
          return this.stop();
        }
        console.warn(`miniapp: ${name} failed: ${error?.message}`);
        await sleep(backoff(failures++, error, longestPause), ended.signal);
      }
    }
  }

  async #claim() {
    const { concurrency, queues } = this.#options;
    if (this.#running.size >= concurrency) return this.#change(1000);
    if (this.#running.size > 0) await sleep(BATCH_DELAY);
    const kinds = [...this.#kinds.values()].map((kind) => kind.description);
    const request = { worker: this.name, kinds, queues, waitSeconds: WAIT_SECONDS };
    request.max = Math.min(concurrency - this.#running.size, 100);
    const options = { timeout: (WAIT_SECONDS + 20) * 1000, signal: this.#abandoned.signal };
    const { claims } = await this.#post("claims", JSON.stringify(request), options);
    for (const claimed of claims) void this.#start(claimed);
  }

  async #start(claimed) {
    const attempt = new Attempt(claimed);
    this.#held.add(attempt);
    this.#running.add(attempt);
    const isLate = this.#stopping.signal.aborted;
    this.#end(attempt, isLate ? RELEASED : await this.#outcome(attempt, claimed.data));
  }

  /** Runs the function. Resolves to the outcome as JSON. */
  async #outcome(attempt, data) {
    try {
      const result = JSON.stringify((await this.#kinds.get(attempt.kind).run(data, attempt)) ?? null);
      const size = new TextEncoder().encode(result).length;
      if (size > MAX_RESULT) {
        const message = `The result has ${size} bytes of JSON, of ${MAX_RESULT}`;
        throw new FinalError(message, { code: "result_too_large" });
      }
      if (attempt.stopReason === null || attempt.stopReason === "shutdown") {
        return `"result":${result}`;
      }
    } catch (error) {
      if (attempt.stopReason === null) {
        const isOwn = error instanceof FinalError || error instanceof RetryableError;
        if (!isOwn) console.error(`miniapp: ${attempt.kind} of task ${attempt.taskId} failed:`, error);
        return `"error":${JSON.stringify(failure(error))}`;
      }
    }
    return attempt.stopReason === "shutdown" ? RELEASED : '"stopped":true';
  }

  #end(attempt, outcome) {
    if (this.#running.delete(attempt)) {
      const json = `${JSON.stringify(attempt.identity).slice(0, -1)},${outcome}}`;
      this.#outcomes.push({ attempt, json });
    }
    this.#notify();
  }

  async #settle() {
    if (this.#outcomes.length === 0) return this.#change(1000);
    await sleep(BATCH_DELAY);
    const batch = this.#nextBatch();
    if (batch.length > 0) await this.#send(batch);
  }

  #nextBatch() {
    this.#outcomes = this.#outcomes.filter(({ attempt }) => this.#held.has(attempt) && !attempt.isLost);
    let count = 0;
    for (let size = 0; count < Math.min(this.#outcomes.length, MAX_BATCH); count++) {
      size += new TextEncoder().encode(this.#outcomes[count].json).length;
      if (count > 0 && size > MAX_BATCH_BYTES) break;
    }
    return this.#outcomes.slice(0, count);
  }

  async #send(batch) {
    try {
      const outcomes = batch.map(({ json }) => json).join();
      const body = `{"worker":${JSON.stringify(this.name)},"outcomes":[${outcomes}]}`;
      const settled = (await this.#post("outcomes", body)).outcomes;
      for (const [index, { attempt }] of batch.entries()) {
        const { accepted, refusal } = settled[index];
        if (!accepted) console.warn(`miniapp: task ${attempt.taskId}: outcome refused: ${refusal}`);
      }
    } catch (error) {
      if (!(error instanceof ApiError) || !BODY_REFUSED.includes(error.status)) throw error;
      if (batch.length > 1) {
        for (const one of batch) await this.#send([one]);
        return;
      }
      const [{ attempt, json: refused }] = batch;
      console.warn(`miniapp: the outcome of task ${attempt.taskId} is refused: ${error.message}`);
      const { error: original, result } = JSON.parse(refused);
      if (original?.code !== "invalid_result") {
        // A result that the API cannot read fails the task. What may be retried still may.
        const retry = original?.retry ?? result === undefined;
        const failed = { code: "invalid_result", message: clean(error.message), retry };
        return this.#send([{ attempt, json: JSON.stringify({ ...attempt.identity, error: failed }) }]);
      }
    }
    for (const { attempt } of batch) this.#held.delete(attempt);
    this.#notify();
  }

  async #renew() {
    await sleep(HEARTBEAT_TICK, this.#closed.signal);
    for (const attempt of this.#held) if (attempt.isLost) this.#stopAttempt(attempt, "lost");
    const due = [...this.#held].filter((attempt) => attempt.isDue).slice(0, MAX_BATCH);
    if (due.length === 0) return;
    const now = performance.now();
    const reports = due.map(({ identity, report }) => ({ ...identity, ...report }));
    for (const attempt of due) attempt.report = null;
    const renewed = await this.#beat(reports).catch((error) => {
      if (!BODY_REFUSED.includes(error.status)) throw error;
      console.warn(`miniapp: renewing without progress, which is refused: ${error.message}`);
      return this.#beat(due.map(({ identity }) => identity));
    });
    for (const [index, attempt] of due.entries()) {
      const { stop } = renewed[index];
      attempt.renewedAt = now;
      if (attempt.deadlineAt <= now) attempt.deadlineAt = Infinity;
      if (stop) this.#stopAttempt(attempt, stop);
    }
  }

  async #beat(claims) {
    const body = JSON.stringify({ worker: this.name, claims });
    return (await this.#post("heartbeats", body, { timeout: HEARTBEAT_TIMEOUT })).claims;
  }

  #stopAttempt(attempt, reason) {
    attempt.stop(reason);
    if (reason === "lost") this.#held.delete(attempt);
    this.#notify();
  }

  async #drain(claiming) {
    // The response to the open call may be on its way. Its tasks are released.
    const timer = setTimeout(() => this.#abandoned.abort(), CLAIM_TIMEOUT);
    await claiming;
    clearTimeout(timer);
    await this.#until(() => this.#running.size === 0, this.#fatal ? 0 : this.#options.grace * 1000);
    for (const attempt of this.#running) attempt.stop(this.#fatal ? "lost" : "shutdown");
    await this.#until(() => this.#running.size === 0, STOP_TIMEOUT);
    for (const attempt of this.#running) this.#end(attempt, RELEASED);
    await this.#until(() => this.#held.size === 0 || this.#fatal, SETTLE_TIMEOUT);
    this.#closed.abort();
    this.#notify();
  }

  async #until(condition, timeout) {
    const endsAt = performance.now() + timeout;
    while (!condition() && performance.now() < endsAt) await this.#change(Math.min(1000, endsAt - performance.now()));
  }

  /** Resolves at the next change, or after a timeout. */
  #change(timeout) {
    const changed = new AbortController();
    this.#waiting.add(changed);
    return sleep(timeout, changed.signal).finally(() => this.#waiting.delete(changed));
  }

  #notify() {
    for (const changed of this.#waiting) changed.abort();
  }

  #post(path, body, options) {
    return this.#connection.call("POST", `/worker/v1/${path}`, body, options);
  }
}
