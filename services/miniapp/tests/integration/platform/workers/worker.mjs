// The kinds that the tests of workers need, in JavaScript.

const { RetryableError, Worker } = await import(process.env.MINIAPP_SDK);
const [, , name, grace] = process.argv;
const worker = new Worker({ name, concurrency: 4, grace: Number(grace) });

worker.kind("echo", (data) => data, { description: "Returns its data.", dataSchema: {} });
worker.kind("sleep", async (data, attempt) => {
  attempt.progress(0.25, "asleep");
  await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, data.seconds * 1000);
    attempt.signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(attempt.signal.reason);
    });
  });
  return data;
});
worker.kind("flaky", ({ failures }, attempt) => {
  if (attempt.number <= failures) throw new RetryableError("as requested", { code: "flaky" });
  return { attempt: attempt.number, key: attempt.idempotencyKey };
});

await worker.run();
