// An API in memory with the worker protocol, for tests.

import { createServer } from "node:http";

export class FakeApi {
  waiting = [];
  outcomes = new Map();
  claimCalls = [];
  beats = [];
  stops = {};
  failures = [];
  tasks = new Map();
  leaseSeconds = 15;
  maxBody = 1024 * 1024;
  /** Granted claims are sent after this. */
  sending = Promise.resolve();
  /** Paths whose next response is lost. */
  lostResponses = [];
  granted = [];
  renewedAt = new Map();
  #wakers = new Set();

  static async start() {
    const api = new FakeApi();
    api.server = createServer((request, response) => api.#serve(request, response));
    await new Promise((resolve) => api.server.listen(0, "127.0.0.1", resolve));
    api.url = `http://127.0.0.1:${api.server.address().port}`;
    return api;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  add(taskId, kind, data, ttl = 60) {
    this.waiting.push({ taskId, kind, data, ttl });
    this.#wake();
  }

  async until(condition, seconds = 60) {
    const endsAt = performance.now() + seconds * 1000;
    while (!condition()) {
      if (performance.now() > endsAt) throw new Error("timed out");
      await this.#changed(100);
    }
  }

  #changed(timeout) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeout);
      this.#wakers.add(wake);
    });
  }

  #wake() {
    for (const wake of [...this.#wakers]) wake();
  }

  async #serve(request, response) {
    let text = "";
    for await (const chunk of request) text += chunk;
    const isTooLarge = text.length > this.maxBody;
    const [status, answer] = isTooLarge
      ? [413, { code: "body_too_large" }]
      : await this.#answer(request, text ? JSON.parse(text) : null);
    this.#wake();
    if (request.url.includes("claims")) await this.sending;
    if (this.lostResponses.length > 0 && request.url.includes(this.lostResponses[0])) {
      this.lostResponses.shift();
      return request.socket.destroy();
    }
    response.writeHead(status, { "content-type": "application/json" });
    // Text is a page of a proxy.
    response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
    this.#wake();
  }

  async #answer({ method, url, headers }, body) {
    if (headers.authorization !== "Bearer key") return [401, { code: "token_invalid" }];
    if (this.failures.length > 0 && url.includes(this.failures[0][0])) {
      const [, status, problem] = this.failures.shift();
      return [status, problem];
    }
    if (url === "/worker/v1/claims") return [200, await this.#claim(body)];
    if (url === "/worker/v1/heartbeats") {
      if (!body.claims.every(isReport)) return [422, { code: "invalid_fields" }];
      this.beats.push(body.claims);
      const state = ({ taskId }) => ({ taskId, claim: 1, leaseUntil: null, stop: this.#stop(taskId) });
      return [200, { claims: body.claims.map(state) }];
    }
    if (url === "/worker/v1/outcomes") {
      if (!body.outcomes.every(({ error }) => !error || isError(error))) return [422, { code: "invalid_fields" }];
      return [200, { outcomes: body.outcomes.map((outcome) => this.#settle(outcome)) }];
    }
    if (url.endsWith("/cancel")) {
      const [task] = this.tasks.values();
      if (task.status === "Canceled") return [409, { code: "task_already_finished" }];
      task.status = "Canceled";
      return [200, task];
    }
    return [200, this.#task(method, body, headers)];
  }

  isLost(taskId) {
    return performance.now() > this.renewedAt.get(taskId) + this.leaseSeconds * 1000;
  }

  #stop(taskId) {
    if (this.isLost(taskId)) return "lost";
    this.renewedAt.set(taskId, performance.now());
    return this.stops[taskId] ?? null;
  }

  #settle(outcome) {
    const { taskId } = outcome;
    const isLost = this.isLost(taskId);
    if (!isLost) this.outcomes.set(taskId, [...(this.outcomes.get(taskId) ?? []), outcome]);
    return { taskId, claim: 1, accepted: !isLost, refusal: isLost ? "lost" : null };
  }

  async #claim(body) {
    this.claimCalls.push(body);
    this.#wake();
    if (this.waiting.length === 0) await this.#changed(200);
    const granted = this.waiting.splice(0, body.max);
    for (const { taskId } of granted) {
      this.granted.push(taskId);
      this.renewedAt.set(taskId, performance.now());
    }
    // A clock that is a day ahead of the worker's.
    const now = Date.now() + 86_400_000;
    const at = (seconds) => new Date(now + seconds * 1000).toISOString();
    const claimed = ({ taskId, kind, data, ttl }) => ({
      taskId, claim: 1, kind, data, attempt: 1, maxAttempts: 3, generation: 1,
      attemptId: `${taskId}-1`, idempotencyKey: `${taskId}.1`, ttl, deadline: at(ttl),
      leaseUntil: at(this.leaseSeconds), traceparent: null,
    });
    return { claims: granted.map(claimed) };
  }

  #task(method, body, headers) {
    if (method === "POST") {
      const key = headers["idempotency-key"];
      if (!this.tasks.has(key)) this.tasks.set(key, { taskId: "t", status: "Awaiting", polls: 0, ...body });
      return this.tasks.get(key);
    }
    const [task] = this.tasks.values();
    task.polls += 1;
    if (task.polls > 2 && task.status === "Awaiting") {
      const failed = task.kind === "fail";
      task.status = failed ? "Failed" : "Finished";
      task.result = failed ? null : task.data;
      task.error = failed ? { code: "broken", message: "it broke" } : null;
    }
    return task;
  }
}

function isText(value, limit) {
  return typeof value === "string" && value.length <= limit && !value.includes("\0") && value.isWellFormed();
}

function isReport({ progress = 0, message = "" }) {
  return progress >= 0 && progress <= 1 && isText(message, 100_000);
}

function isError({ code, message, retry, retryInSeconds = 0 }) {
  const isDelay = Number.isInteger(retryInSeconds) && retryInSeconds >= 0 && retryInSeconds <= 86_400;
  return isDelay && isText(code, 100) && code !== "" && isText(message, 100_000) && typeof retry === "boolean";
}
