import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, test } from "node:test";

import { Client, FinalError, RetryableError, TaskFailed, Worker } from "../src/index.js";
import { FakeApi } from "./fake-api.js";

console.warn = console.error = () => {};

let api;
beforeEach(async () => (api = await FakeApi.start()));
afterEach(() => api.close());

/** Resolves when the attempt has to stop. */
const untilStopped = ({ signal }) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });

describe("worker", () => {
  let worker, running;
  const stopped = [];

  function start(options) {
    worker = new Worker({ url: api.url, apiKey: "key", name: "w", concurrency: 4, ...options });
    worker.kind("echo", (data) => data, { description: "Returns its data.", queue: "fast" });
    worker.kind("fails", (data) => {
      if (data === "final") throw new FinalError("no", { code: "never" });
      if (data === "later") throw new RetryableError("wait", { retryIn: 7 });
      throw new TypeError("x");
    });
    worker.kind("large", (data) => "x".repeat(data));
    worker.kind("sleeps", async (_, attempt) => {
      attempt.progress(0.5, "halfway");
      await untilStopped(attempt).catch((error) => {
        stopped.push(attempt.stopReason);
        throw error;
      });
    });
    worker.kind("waits", (_, attempt) => untilStopped(attempt));
    running = worker.run();
    running.catch(() => {});
  }

  afterEach(async () => {
    worker.stop();
    await running.catch(() => {});
  });

  async function outcome(taskId) {
    await api.until(() => api.outcomes.has(taskId));
    const [{ taskId: _, claim: __, ...rest }, ...others] = api.outcomes.get(taskId);
    assert.equal(others.length, 0);
    return rest;
  }

  test("results and errors", async () => {
    api.add("a", "echo", { b: [1, null, "é"] });
    for (const data of ["final", "later", "bug"]) api.add(data, "fails", data);
    start();
    assert.deepEqual(await outcome("a"), { result: { b: [1, null, "é"] } });
    const final = { code: "never", message: "no", retry: false };
    assert.deepEqual(await outcome("final"), { error: final });
    const later = { code: "failed", message: "wait", retry: true, retryInSeconds: 7 };
    assert.deepEqual(await outcome("later"), { error: later });
    const bug = { code: "type_error", message: "x", retry: true };
    assert.deepEqual(await outcome("bug"), { error: bug });
    const [call] = api.claimCalls;
    assert.deepEqual([call.worker, call.max], ["w", 4]);
    const described = { name: "echo", description: "Returns its data.", queue: "fast" };
    assert.deepEqual(call.kinds[0], described);
  });

  test("results are bounded and batched", async () => {
    api.add("over", "large", 512 * 1024 - 1);
    for (const id of ["1", "2", "3"]) api.add(id, "large", 400 * 1024);
    start();
    assert.equal((await outcome("over")).error.code, "result_too_large");
    for (const id of ["1", "2", "3"]) assert.equal((await outcome(id)).result.length, 400 * 1024);
  });

  test("stop reasons", async () => {
    api.leaseSeconds = 1.5;
    for (const reason of ["canceled", "expired", "lost"]) {
      api.stops[reason] = reason;
      api.add(reason, "sleeps", null);
    }
    start();
    assert.deepEqual(await outcome("canceled"), { stopped: true });
    assert.deepEqual(await outcome("expired"), { stopped: true });
    await api.until(() => stopped.length === 3);
    assert.equal(api.outcomes.has("lost"), false);
    const [reported] = api.beats.flat().filter((one) => "progress" in one);
    assert.deepEqual([reported.progress, reported.message], [0.5, "halfway"]);
  });

  test("a heartbeat is sent at the end of the ttl", async () => {
    api.stops.short = "expired";
    api.leaseSeconds = 3600;
    api.add("short", "waits", null, 1);
    start();
    assert.deepEqual(await outcome("short"), { stopped: true });
  });

  test("a graceful stop releases what does not end", async () => {
    api.add("slow", "sleeps", null);
    start({ grace: 0.1 });
    await api.until(() => api.beats.length > 0);
    worker.stop();
    assert.deepEqual(await outcome("slow"), { released: true });
    await running;
  });

  test("calls are repeated after failures", async () => {
    const busy = { code: "unavailable" };
    api.failures = [["claims", 503, busy], ["outcomes", 503, busy], ["outcomes", 503, busy]];
    api.add("a", "echo", {});
    start();
    assert.deepEqual(await outcome("a"), { result: {} });
  });

  test("an outcome that the API cannot read fails its task alone", async () => {
    const refused = { code: "invalid_fields", errors: [] };
    api.failures = [["outcomes", 422, refused], ["outcomes", 422, refused]];
    api.add("0", "echo", 0);
    api.add("1", "echo", 1);
    start();
    const codes = [(await outcome("0")).error?.code, (await outcome("1")).error?.code];
    assert.deepEqual(codes.sort(), ["invalid_result", undefined]);
  });

  test("a revoked key stops the worker", async () => {
    start();
    await api.until(() => api.claimCalls.length > 0);
    api.failures = [["claims", 401, { code: "token_revoked" }]];
    await assert.rejects(running, { code: "token_revoked" });
  });

  test("a signal stops the program", async () => {
    start();
    const program = `
      import { Worker } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
      const worker = new Worker({ concurrency: 2 });
      worker.kind("program", (data) => data);
      await worker.run();`;
    worker.stop();
    await running;
    const env = { ...process.env, MINIAPP_URL: api.url, MINIAPP_API_KEY: "key" };
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { env });
    const exited = once(child, "exit");
    api.add("a", "program", 1);
    assert.deepEqual(await outcome("a"), { result: 1 });
    child.kill("SIGTERM");
    assert.deepEqual(await exited, [0, null]);
  });
});

describe("client", () => {
  let client;
  beforeEach(() => (client = new Client({ url: api.url, apiKey: "key" })));

  test("run resolves to the result", async () => {
    assert.deepEqual(await client.run("echo", { a: 1 }, { maxAttempts: 2 }), { a: 1 });
    const [task] = api.tasks.values();
    assert.deepEqual([task.description, task.ttl, task.maxAttempts], ["echo", 300, 2]);
  });

  test("a failed task rejects", async () => {
    await assert.rejects(client.run("fail"), (error) => error instanceof TaskFailed && /it broke/.test(error));
  });

  test("a submit is repeated with one key", async () => {
    api.failures = [["tasks", 503, { code: "unavailable" }]];
    await client.submit("echo");
    assert.equal(api.tasks.size, 1);
  });

  test("a refusal is not repeated", async () => {
    const refused = { code: "invalid_fields", errors: [{ field: "ttl", message: "is wrong" }] };
    api.failures = [["tasks", 422, refused]];
    await assert.rejects(client.submit("echo", null, { ttl: 0 }), {
      message: "422 invalid_fields: ttl is wrong",
    });
  });
});
