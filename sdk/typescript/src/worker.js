// Claims tasks, runs their functions and settles them.

import { ApiError, backoff, Connection, sleep } from "./http.js";

const MAX_RESULT = 512 * 1024;
// The API accepts bodies of 1 MiB.
const MAX_BATCH_BYTES = 700 * 1024;
const MAX_BATCH = 100;
// Proxies often end a request after 15 s without a response.
const WAIT_SECONDS = 10;
// Slots and outcomes that become free within this time share a call.
const BATCH_DELAY = 3;
const MAX_HEARTBEAT_INTERVAL = 5000;
const HEARTBEAT_TICK = 250;
// How long functions may take to stop, and outcomes to be sent, at the end.
const STOP_TIMEOUT = 5000;
const SETTLE_TIMEOUT = 30_000;

/** Fails the attempt. Another one starts after `retryIn` seconds, or a growing delay. */
export class RetryableError extends Error {
  constructor(message, { code = "failed", retryIn } = {}) {
    super(message);
    this.name = "RetryableError";
    this.code = code;
    this.retryIn = retryIn;
  }
}

/** Fails the task without another attempt. */
export class FinalError extends Error {
  constructor(message, { code = "failed" } = {}) {
    super(message);
    this.name = "FinalError";
    this.code = code;
  }
}

/** What a function gets beside its data. */
class Attempt {
  #stop = new AbortController();

  constructor(claimed) {
    const { taskId, kind, maxAttempts, generation, ttl, attemptId, traceparent } = claimed;
    Object.assign(this, { taskId, kind, maxAttempts, generation, ttl, attemptId, traceparent });
    this.number = claimed.attempt;
    // The same for all attempts: for services that must not repeat an effect.
    this.idempotencyKey = claimed.idempotencyKey;
    this.identity = { taskId, claim: claimed.claim };
    this.report = null;
    this.stopReason = null;
    this.renewedAt = this.beatAt = performance.now();
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
    this.report = { progress: Math.min(1, Math.max(0, fraction)), message };
  }

  /** Whether a heartbeat has to be sent. */
  isDue() {
    const now = performance.now();
    const since = now - this.beatAt;
    const hasReport = this.report !== null && since >= 1000;
    return hasReport || since >= Math.min(MAX_HEARTBEAT_INTERVAL, this.lease / 3) || this.deadlineAt <= now;
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
    const renewing = this.#renew();
    const settling = this.#settle();
    await this.#claim();
    await this.#drain();
    const ended = new AbortController();
    const ending = Promise.all([renewing, settling]).then(() => ended.abort());
    await Promise.race([ending, sleep(SETTLE_TIMEOUT, ended.signal)]);
    for (const name of ["SIGTERM", "SIGINT"]) globalThis.process?.off?.(name, onSignal);
    if (this.#fatal) throw this.#fatal;
  }

  async #claim() {
    const { concurrency, queues } = this.#options;
    const kinds = [...this.#kinds.values()].map((kind) => kind.description);
    let failures = 0;
    while (!this.#stopping.signal.aborted) {
      if (this.#running.size >= concurrency) {
        await this.#change(1000);
        continue;
      }
      if (this.#running.size > 0) await sleep(BATCH_DELAY);
      const max = Math.min(concurrency - this.#running.size, 100);
      const request = { worker: this.name, kinds, queues, max, waitSeconds: WAIT_SECONDS };
      try {
        const { claims } = await this.#post("claims", JSON.stringify(request), {
          timeout: (WAIT_SECONDS + 20) * 1000,
          signal: this.#stopping.signal,
        });
        failures = 0;
        for (const claimed of claims) void this.#start(claimed);
      } catch (error) {
        if (this.#stopping.signal.aborted || this.#isFatal(error)) return;
        console.warn(`miniapp: claiming failed: ${error.message}`);
        await sleep(backoff(failures++, error), this.#stopping.signal);
      }
    }
  }

  async #start(claimed) {
    const attempt = new Attempt(claimed);
    this.#held.add(attempt);
    this.#running.add(attempt);
    this.#end(attempt, await this.#outcome(attempt, claimed.data));
  }

  /** Runs the function. Resolves to the outcome as JSON, or null if the claim is lost. */
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
        const name = String(error?.name ?? "error").replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_");
        const failed = {
          code: isOwn ? error.code : name.toLowerCase(),
          message: String(error?.message ?? error),
          retry: !(error instanceof FinalError),
          retryInSeconds: error?.retryIn,
        };
        return `"error":${JSON.stringify(failed)}`;
      }
    }
    if (attempt.stopReason === "lost") return null;
    return attempt.stopReason === "shutdown" ? '"released":true' : '"stopped":true';
  }

  #end(attempt, outcome) {
    if (this.#running.delete(attempt) && outcome !== null && this.#held.has(attempt)) {
      const json = `${JSON.stringify(attempt.identity).slice(0, -1)},${outcome}}`;
      this.#outcomes.push({ attempt, json });
    }
    this.#notify();
  }

  async #settle() {
    let failures = 0;
    for (;;) {
      while (this.#outcomes.length === 0) {
        if (this.#closed.signal.aborted) return;
        await this.#change(1000);
      }
      await sleep(BATCH_DELAY);
      const batch = this.#nextBatch();
      try {
        if (batch.length > 0) await this.#send(batch);
        failures = 0;
      } catch (error) {
        if (this.#isFatal(error)) return;
        console.warn(`miniapp: settling ${batch.length} tasks failed: ${error.message}`);
        this.#outcomes.unshift(...batch);
        await sleep(backoff(failures++, error));
      }
    }
  }

  #nextBatch() {
    // Without the claims that were lost in the meantime.
    this.#outcomes = this.#outcomes.filter(({ attempt }) => this.#held.has(attempt));
    let count = 0;
    for (let size = 0; count < Math.min(this.#outcomes.length, MAX_BATCH); count++) {
      size += new TextEncoder().encode(this.#outcomes[count].json).length;
      if (count > 0 && size > MAX_BATCH_BYTES) break;
    }
    return this.#outcomes.splice(0, count);
  }

  async #send(batch) {
    const outcomes = batch.map(({ json }) => json).join();
    try {
      const body = `{"worker":${JSON.stringify(this.name)},"outcomes":[${outcomes}]}`;
      const settled = (await this.#post("outcomes", body)).outcomes;
      for (const [index, { attempt }] of batch.entries()) {
        this.#held.delete(attempt);
        const { accepted, refusal } = settled[index];
        if (!accepted) console.warn(`miniapp: task ${attempt.taskId}: outcome refused: ${refusal}`);
      }
      this.#notify();
    } catch (error) {
      if (!(error instanceof ApiError) || ![400, 413, 422].includes(error.status)) throw error;
      if (batch.length > 1) {
        for (const one of batch) await this.#send([one]);
        return;
      }
      // The API cannot read this outcome, so the task fails with the reason.
      const [{ attempt, json: refused }] = batch;
      const failed = { code: "invalid_result", message: error.message, retry: false };
      const json = JSON.stringify({ ...attempt.identity, error: failed });
      if (json === refused) throw error;
      await this.#send([{ attempt, json }]);
    }
  }

  async #renew() {
    while (!this.#closed.signal.aborted) {
      await sleep(HEARTBEAT_TICK, this.#closed.signal);
      const due = [...this.#held].filter((attempt) => attempt.isDue());
      for (let start = 0; start < due.length; start += 1000) {
        await this.#heartbeat(due.slice(start, start + 1000));
      }
    }
  }

  async #heartbeat(attempts) {
    const now = performance.now();
    const claims = attempts.map(({ identity, report }) => ({ ...identity, ...report }));
    for (const attempt of attempts) {
      attempt.report = null;
      attempt.beatAt = now;
      if (attempt.deadlineAt <= now) attempt.deadlineAt = Infinity;
    }
    try {
      const body = JSON.stringify({ worker: this.name, claims });
      const renewed = (await this.#post("heartbeats", body, { timeout: 10_000 })).claims;
      for (const [index, attempt] of attempts.entries()) {
        attempt.renewedAt = now;
        if (renewed[index].stop) this.#stopAttempt(attempt, renewed[index].stop);
      }
    } catch (error) {
      console.warn(`miniapp: heartbeat failed: ${error.message}`);
      this.#isFatal(error);
      const lost = attempts.filter((one) => performance.now() > one.renewedAt + one.lease);
      for (const attempt of lost) this.#stopAttempt(attempt, "lost");
    }
  }

  #stopAttempt(attempt, reason) {
    attempt.stop(reason);
    if (reason === "lost") this.#held.delete(attempt);
    this.#notify();
  }

  /** Whether the API refuses the worker, because of its key or a kind. Then it stops. */
  #isFatal(error) {
    if (error.isTemporary) return false;
    this.#fatal ??= error;
    this.stop();
    return true;
  }

  async #drain() {
    this.#stopping.abort();
    await this.#until(() => this.#running.size === 0, this.#fatal ? 0 : this.#options.grace * 1000);
    for (const attempt of this.#running) attempt.stop(this.#fatal ? "lost" : "shutdown");
    await this.#until(() => this.#running.size === 0, STOP_TIMEOUT);
    for (const attempt of this.#running) this.#end(attempt, '"released":true');
    await this.#until(() => this.#held.size === 0 || this.#fatal, SETTLE_TIMEOUT);
    this.#closed.abort();
    this.#notify();
  }

  async #until(condition, timeout) {
    const endsAt = performance.now() + timeout;
    while (!condition() && performance.now() < endsAt) await this.#change(endsAt - performance.now());
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
