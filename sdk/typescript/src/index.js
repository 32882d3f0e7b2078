export { Client, TaskFailed } from "./client.js";
export { ApiError, ConnectionFailed } from "./http.js";
export { FinalError, RetryableError, Worker } from "./worker.js";
