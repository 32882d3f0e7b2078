-- The results of steps that kinds remember across the attempts of a generation. Deleted together with
-- their tasks by the constraint, also by processes of the previous release.
SET LOCAL lock_timeout = '2s';

CREATE TABLE task_steps (
    task_id    uuid    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    generation integer NOT NULL,
    name       text    NOT NULL,
    -- JSON
    result     text    NOT NULL,
    PRIMARY KEY (task_id, generation, name)
);
