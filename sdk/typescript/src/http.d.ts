import type { Problem } from "./types.js";

export interface ConnectionOptions {
  /** The address of the API; by default `MINIAPP_URL`, or `http://127.0.0.1:8000`. */
  url?: string;
  /** By default `MINIAPP_API_KEY`. */
  apiKey?: string;
}

/** The API refused a request. */
export class ApiError extends Error {
  readonly status: number;
  /** The stable code of the problem. */
  readonly code: string;
  readonly problem: Partial<Problem>;
  /** In seconds. */
  readonly retryAfter: number;
  readonly isTemporary: boolean;
}

/** No response came. The request may have been processed. */
export class ConnectionFailed extends Error {
  readonly isTemporary: true;
}
