// Submits tasks and waits for them. Runs in browsers, too.

import { backoff, Connection, sleep } from "./http.js";

/** A task ended without a result. */
export class TaskFailed extends Error {
  constructor(task) {
    const reason = task.error?.message ?? task.statusMessage;
    super(`task ${task.taskId} is ${task.status}: ${reason}`);
    this.name = "TaskFailed";
    this.task = task;
  }
}

export class Client {
  #connection;
  #retryFor;

  constructor(options = {}) {
    this.#connection = new Connection(options);
    this.#retryFor = options.retryFor ?? 30_000;
  }

  /** Submits a task. */
  submit(kind, data = null, { idempotencyKey = crypto.randomUUID(), ...fields } = {}) {
    const body = { kind, data, description: kind, ttl: 300, ...fields };
    // With a key, a request whose response was lost can be repeated.
    return this.#call("POST", "/api/tasks", body, { "idempotency-key": idempotencyKey });
  }

  get(taskId) {
    return this.#call("GET", `/api/tasks/${encodeURIComponent(taskId)}`);
  }

  cancel(taskId) {
    return this.#call("POST", `/api/tasks/${encodeURIComponent(taskId)}/cancel`);
  }

  /** Waits until a task has ended. */
  async wait(taskId, { timeout = Infinity } = {}) {
    const endsAt = performance.now() + timeout;
    for (let pause = 50; ; pause = Math.min(2000, pause * 1.5)) {
      const task = await this.get(taskId);
      if (["Finished", "Failed", "Canceled"].includes(task.status)) return task;
      if (performance.now() + pause > endsAt) {
        throw new Error(`task ${taskId} is still ${task.status}`);
      }
      await sleep(pause);
    }
  }

  /** Submits a task, waits and resolves to its result. */
  async run(kind, data = null, { timeout, ...fields } = {}) {
    const submitted = await this.submit(kind, data, fields);
    const task = await this.wait(submitted.taskId, { timeout });
    if (task.status !== "Finished") throw new TaskFailed(task);
    return task.result ?? null;
  }

  async #call(method, path, body, headers) {
    const endsAt = performance.now() + this.#retryFor;
    const encoded = body === undefined ? undefined : JSON.stringify(body);
    for (let failures = 0; ; failures++) {
      try {
        return await this.#connection.call(method, path, encoded, { headers });
      } catch (error) {
        // By an earlier try whose response was lost: only cancellations fail so.
        if (failures > 0 && error.code === "task_already_finished") {
          return this.#call("GET", path.slice(0, -"/cancel".length));
        }
        const pause = backoff(failures, error);
        if (!error.isTemporary || performance.now() + pause > endsAt) throw error;
        await sleep(pause);
      }
    }
  }
}
