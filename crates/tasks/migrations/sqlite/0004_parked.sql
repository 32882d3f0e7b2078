-- Tasks that no live worker can run stay in the store. They are due at the end of time, and found
-- by what a new worker runs.
CREATE INDEX tasks_parked ON tasks (kind, queue) WHERE due_at = 253402207200999999;
