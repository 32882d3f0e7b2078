-- The results of steps that kinds remember across the attempts of a generation. Deleted together with
-- their tasks by the constraint, also by processes of the previous release.
CREATE TABLE task_steps (
    task_id    BLOB    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    -- JSON
    result     TEXT    NOT NULL,
    PRIMARY KEY (task_id, generation, name)
) WITHOUT ROWID;
