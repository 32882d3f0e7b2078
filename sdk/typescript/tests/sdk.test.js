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

const hostile = new Error("x");
Object.defineProperty(hostile, "message", { get: () => { throw new Error("no text"); } });

const oddErrors = {
  http: Object.assign(new Error("Busy \0 \ud800"), { code: 503, retryIn: -1 }),
  method: Object.assign(new Error("x"), { code: () => 1n }),
  hostile,
  half: new RetryableError("x".repeat(1000), { code: "a\0" + "b".repeat(200), retryIn: 0.5 }),
  long: new RetryableError("\ud83d\ude00", { code: "", retryIn: 1e9 }),
  negative: new RetryableError("early", { retryIn: -1 }),
  infinite: new RetryableError("late", { retryIn: Infinity }),
  text: new RetryableError("soon", { retryIn: "tomorrow" }),
  nothing: undefined,
};

/** Resolves when the attempt has to stop. */
const untilStopped = ({ signal }) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });

/** Starts a process that runs a worker with the kinds of the code. */
function spawnWorker(kinds) {
  const program = `
    import { Worker } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    const worker = new Worker({ concurrency: 2 });
    ${kinds}
    await worker.run();`;
  const env = { ...process.env, MINIAPP_URL: api.url, MINIAPP_API_KEY: "key" };
  return spawn(process.execPath, ["--input-type=module", "--eval", program], { env });
}

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
    worker.kind("odd errors", (name) => {
      throw oddErrors[name];
    });
    worker.kind("reports", async (number, attempt) => {
      const messages = ["\ud83d\ude00", ["\0"], "\ud800" + "x".repeat(1000)];
      attempt.progress(["0.25", 0.25, 0.25][number], messages[number]);
      await untilStopped(attempt);
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
    api.leaseSeconds = 6;
    for (const reason of ["canceled", "expired", "lost"]) {
      api.stops[reason] = reason;
      api.add(reason, "sleeps", null);
    }
    start();
    assert.deepEqual(await outcome("canceled"), { stopped: true });
    assert.deepEqual(await outcome("expired"), { stopped: true });
    await api.until(() => stopped.length === 3);
    assert.equal(api.outcomes.has("lost"), false);
  });

  test("reports reach the API in a form that it accepts", async () => {
    for (const number of [0, 1, 2]) api.add(String(number), "reports", number);
    start({ grace: 0 });
    const reported = () => api.beats.flat().filter((one) => "progress" in one);
    await api.until(() => reported().length === 3);
    const messages = Object.fromEntries(reported().map((one) => [one.taskId, one.message]));
    assert.deepEqual(messages, { 0: "\u{1f600}", 1: "\ufffd", 2: "\ufffd" + "x".repeat(499) });
    assert.deepEqual(reported().map(({ progress }) => progress), [0.25, 0.25, 0.25]);
  });

  test("claims are renewed without reports that the API refuses", async () => {
    api.leaseSeconds = 15;
    api.failures = [400, 413, 422].map((status) => ["heartbeats", status, { code: "invalid_fields" }]);
    api.add("a", "sleeps", null);
    start({ grace: 0 });
    await api.until(() => api.failures.length === 0 && api.beats.length > 0);
    assert.equal("progress" in api.beats[0][0], false);
  });

  test("claims that arrive after the stop are released", async () => {
    let send;
    api.sending = new Promise((resolve) => (send = resolve));
    api.add("late", "echo", 1);
    start();
    await api.until(() => api.granted.includes("late"));
    worker.stop();
    send();
    assert.deepEqual(await outcome("late"), { released: true });
    await running;
    assert.equal(api.claimCalls.length, 1);
  });

  test("a stop does not repeat a claim call", async () => {
    api.sending = new Promise(() => {});
    start();
    await api.until(() => api.claimCalls.length > 0);
    worker.stop();
    await running;
    assert.equal(api.claimCalls.length, 1);
  });

  test("errors are described so that they are retried", async () => {
    for (const name of Object.keys(oddErrors)) api.add(name, "odd errors", name);
    start();
    const errors = {};
    for (const name of Object.keys(oddErrors)) errors[name] = (await outcome(name)).error;
    assert.deepEqual([...new Set(Object.values(errors).map(({ retry }) => retry))], [true]);
    assert.deepEqual(errors.http, { code: "error", message: "Busy \ufffd \ufffd", retry: true });
    assert.equal(errors.method.code, "error");
    assert.deepEqual([errors.half.code, errors.half.message], ["a\ufffd" + "b".repeat(98), "x".repeat(500)]);
    assert.deepEqual([errors.long.code, errors.long.message], ["failed", "\u{1f600}"]);
    const delays = ["half", "long", "negative", "infinite", "text"].map((name) => errors[name].retryInSeconds);
    assert.deepEqual(delays, [1, 86_400, 0, 86_400, undefined]);
  });

  test("a result that looks like an error is not retried", async () => {
    start();
    for (const [id, data] of [["1", { error: { retry: true } }], ["2", { code: "invalid_result" }]]) {
      api.failures = [["outcomes", 422, { code: "invalid_fields" }]];
      api.add(id, "echo", data);
      const { error } = await outcome(id);
      assert.deepEqual([error.code, error.retry], ["invalid_result", false]);
    }
  });

  test("an error that the API refuses is retried", async () => {
    api.failures = [["outcomes", 422, { code: "invalid_fields" }]];
    api.add("later", "fails", "later");
    start();
    const { error } = await outcome("later");
    assert.deepEqual([error.code, error.retry], ["invalid_result", true]);
  });

  test("answers that are not of the API are survived", async () => {
    api.leaseSeconds = 60;
    const odd = [
      [502, "[]"], [502, "null"], [502, '"x"'], [502, { errors: null }], [200, "<html>"], [200, "{}"],
      [404, { code: "not_found" }], [405, "<html>"],
    ];
    api.add("a", "sleeps", null);
    start({ grace: 0 });
    await api.until(() => api.beats.length > 0);
    api.failures = odd.map((one) => ["heartbeats", ...one]);
    await api.until(() => api.failures.length === 0);
    // In groups, because the pauses grow.
    for (let first = 0; first < odd.length; first += 3) {
      const group = odd.slice(first, first + 3);
      const calls = api.claimCalls.length;
      api.failures = group.map((one) => ["claims", ...one]);
      await api.until(() => api.claimCalls.length > calls + 1 && api.failures.length === 0);
      api.failures = group.map((one) => ["outcomes", ...one]);
      api.add(`b${first}`, "echo", 1);
      assert.deepEqual(await outcome(`b${first}`), { result: 1 });
    }
    const { length } = api.beats;
    await api.until(() => api.beats.length > length);
  });

  test("a result above the limit fails alone", async () => {
    let send;
    api.maxBody = 100_000;
    api.sending = new Promise((resolve) => (send = resolve));
    api.add("over", "large", 200_000);
    for (const id of ["1", "2", "3"]) api.add(id, "large", 10);
    start();
    send();
    const { error } = await outcome("over");
    assert.deepEqual([error.code, error.retry], ["invalid_result", false]);
    for (const id of ["1", "2", "3"]) assert.deepEqual(await outcome(id), { result: "x".repeat(10) });
  });

  test("a frozen worker drops its claim", async () => {
    start();
    worker.stop();
    await running;
    api.leaseSeconds = 6;
    const child = spawnWorker(`
      worker.kind("program", (data) => data);
      // Ends as soon as the process is continued.
      worker.kind("until frozen", async () => {
        for (let before, now = performance.now(); !(now - before > 2500); now = performance.now()) {
          before = now;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      });`);
    const exited = once(child, "exit");
    api.add("frozen", "until frozen", null);
    await api.until(() => api.beats.length > 0);
    child.kill("SIGSTOP");
    await api.until(() => api.isLost("frozen"));
    child.kill("SIGCONT");
    api.add("next", "program", 1);
    assert.deepEqual(await outcome("next"), { result: 1 });
    child.kill("SIGTERM");
    assert.deepEqual(await exited, [0, null]);
    assert.equal(api.outcomes.has("frozen"), false);
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
    worker.stop();
    await running;
    const child = spawnWorker('worker.kind("program", (data) => data);');
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

  test("a repeated cancel finds its own effect", async () => {
    await client.submit("echo");
    api.lostResponses = ["cancel"];
    assert.equal((await client.cancel("t")).status, "Canceled");
    await assert.rejects(client.cancel("t"), { code: "task_already_finished" });
  });

  test("a refusal is not repeated", async () => {
    const refused = { code: "invalid_fields", errors: [{ field: "ttl", message: "is wrong" }] };
    api.failures = [["tasks", 422, refused]];
    await assert.rejects(client.submit("echo", null, { ttl: 0 }), {
      message: "422 invalid_fields: ttl is wrong",
    });
  });
});
