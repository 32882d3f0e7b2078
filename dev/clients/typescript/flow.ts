// The main flow with the types that openapi-typescript generates.
import createClient from "openapi-fetch";
import type { components, paths as ApiPaths } from "./generated/api";
import type { components as authComponents, paths as AuthPaths } from "./generated/auth";

type Task = components["schemas"]["Task"];
type Event = components["schemas"]["Event"];
type Problem = components["schemas"]["Problem"];

export async function signIn(login: string, password: string): Promise<string> {
  const auth = createClient<AuthPaths>({ baseUrl: "http://127.0.0.1:8005" });
  const { data, error } = await auth.POST("/sign-in", {
    body: { login, password, client: "example" },
  });
  if (error) throw new Error(describe(error));
  const refreshed = await auth.POST("/refresh", { body: { refreshToken: data.refreshToken } });
  return refreshed.data?.authToken ?? data.authToken;
}

export async function run(token: string): Promise<Task> {
  const api = createClient<ApiPaths>({
    baseUrl: "http://127.0.0.1:8000",
    headers: { Authorization: `Bearer ${token}` },
  });
  // Optional fields are optional.
  const submitted = await api.POST("/api/tasks", {
    params: { header: { "Idempotency-Key": "example" } },
    body: { description: "An example", data: { hello: "world" }, ttl: 30 },
  });
  if (submitted.error) throw new Error(describe(submitted.error));
  const id = submitted.data.taskId;

  const stream = await api.GET("/api/tasks/{id}/events", {
    params: { path: { id } },
    headers: { Accept: "text/event-stream" },
    parseAs: "stream",
  });
  if (stream.error) throw new Error(describe(stream.error));

  const { data: task, error } = await api.GET("/api/tasks/{id}", { params: { path: { id } } });
  if (error) throw new Error(describe(error));
  const worker: string | null = task.worker;
  const failure: components["schemas"]["TaskError"] | null = task.error;
  if (failure) throw new Error(`${worker}: ${failure.code}`);

  const page = await api.GET("/api/tasks", { params: { query: { status: "Finished", limit: 10 } } });
  const next: string | null | undefined = page.data?.nextCursor;
  console.log(page.data?.tasks.length, next);
  return task;
}

// The data of each message of a stream.
export function progress(data: string): number {
  const event: Event = JSON.parse(data);
  return event.progress;
}

// Problems of both services have one type, and codes may be added.
function describe(problem: Problem): string {
  const same: authComponents["schemas"]["Problem"] = problem;
  if (same.code === "a_later_code") return same.title;
  const fields = problem.errors?.map((error) => `${error.field} ${error.message}`) ?? [];
  return [problem.detail ?? problem.title, ...fields].join(", ");
}
