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

  async until(condition, seconds = 30) {
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
    const [status, answer] = await this.#answer(request, text ? JSON.parse(text) : null);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
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
      this.beats.push(body.claims);
      const state = ({ taskId }) => ({ taskId, claim: 1, leaseUntil: null, stop: this.stops[taskId] ?? null });
      return [200, { claims: body.claims.map(state) }];
    }
    if (url === "/worker/v1/outcomes") {
      for (const one of body.outcomes) {
        this.outcomes.set(one.taskId, [...(this.outcomes.get(one.taskId) ?? []), one]);
      }
      const accept = ({ taskId }) => ({ taskId, claim: 1, accepted: true, refusal: null });
      return [200, { outcomes: body.outcomes.map(accept) }];
    }
    return [200, this.#task(method, body, headers)];
  }

  async #claim(body) {
    this.claimCalls.push(body);
    this.#wake();
    if (this.waiting.length === 0) await this.#changed(200);
    const granted = this.waiting.splice(0, body.max);
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
    if (task.polls > 2) {
      const failed = task.kind === "fail";
      task.status = failed ? "Failed" : "Finished";
      task.result = failed ? null : task.data;
      task.error = failed ? { code: "broken", message: "it broke" } : null;
    }
    return task;
  }
}
