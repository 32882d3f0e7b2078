-- The queue of a task.
ALTER TABLE tasks ADD COLUMN queue TEXT NOT NULL DEFAULT 'default';

-- Waiting tasks of other queues, and those of them that are due: a backlog of the default queue,
-- which most tasks use, delays no other.
CREATE INDEX tasks_queued ON tasks (queue, ready_at)
    WHERE ready_at IS NOT NULL AND queue <> 'default';
CREATE INDEX tasks_due_queued ON tasks (due_at) WHERE due_at IS NOT NULL AND queue <> 'default';
