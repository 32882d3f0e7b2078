-- What the role `tasks` may do. Runs on PostgreSQL after the last migration, and grants every table
-- to it. Without separate roles, one role owns the tables and uses them.
DO $$
BEGIN
    IF current_user <> 'migrate' THEN
        RETURN;
    END IF;
    GRANT SELECT ON tasks_migrations TO tasks;
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        tasks, task_steps, task_timeline_pages, workers, task_kinds, process_lease
        TO tasks;
END
$$;
