export * from "./client.js";
export { ApiError, ConnectionFailed, type ConnectionOptions } from "./http.js";
export type * from "./types.js";
export * from "./worker.js";
