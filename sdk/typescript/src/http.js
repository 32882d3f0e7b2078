// JSON over fetch.

/** The API refused a request. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    const errors = Array.isArray(problem.errors) ? problem.errors : [];
    const fields = errors.map((one) => `${one?.field} ${one?.message}`).join("; ");
    const code = String(problem.code ?? "unknown");
    super(`${status} ${code}: ${problem.detail ?? fields}`);
    Object.assign(this, { name: "ApiError", status, code, problem, retryAfter });
  }

  get isTemporary() {
    return [408, 425, 429].includes(this.status) || this.status >= 500;
  }
}

/** No response of the API came. The request may have been processed. */
export class ConnectionFailed extends Error {
  constructor(cause) {
    super(cause?.cause?.message ?? cause?.message ?? String(cause), { cause });
    Object.assign(this, { name: "ConnectionFailed", isTemporary: true, retryAfter: 0 });
  }
}

/** Returns the milliseconds before the next try, with jitter. */
export function backoff(failures, error, longest = 300_000) {
  const pause = 250 * 2 ** Math.min(failures, 7) * (0.5 + Math.random() / 2);
  return Math.min(longest, Math.max(pause, (error.retryAfter ?? 0) * 1000));
}

/** Resolves after `milliseconds`, or when `signal` is aborted. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}

export class Connection {
  constructor({ url, apiKey } = {}) {
    const environment = globalThis.process?.env ?? {};
    this.url = (url ?? environment.MINIAPP_URL ?? "http://127.0.0.1:8000").replace(/\/+$/, "");
    const key = apiKey ?? environment.MINIAPP_API_KEY;
    if (!key) throw new Error("an API key is needed: set MINIAPP_API_KEY or pass apiKey");
    this.headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    // Browsers keep their own.
    if (globalThis.process) this.headers["user-agent"] = "miniapp-typescript/0.1.0";
  }

  /** Resolves to the JSON of the response. Rejects with ApiError or ConnectionFailed. */
  async call(method, path, body, { headers, timeout = 30_000, signal } = {}) {
    const signals = [AbortSignal.timeout(timeout), ...(signal ? [signal] : [])];
    let response, text;
    try {
      response = await fetch(this.url + path, {
        method,
        body,
        headers: { ...this.headers, ...headers },
        signal: AbortSignal.any(signals),
      });
      text = await response.text();
    } catch (error) {
      throw new ConnectionFailed(error);
    }
    let answer;
    try {
      answer = JSON.parse(text || "{}");
    } catch {
      answer = null;
    }
    // A page of a proxy, for example.
    if (answer === null || typeof answer !== "object" || Array.isArray(answer)) {
      answer = { detail: text.slice(0, 200) };
      if (response.ok) throw new ConnectionFailed(`the response is no JSON object: ${answer.detail}`);
    }
    if (response.ok) return answer;
    throw new ApiError(response.status, answer, Number(response.headers.get("retry-after")) || 0);
  }
}
