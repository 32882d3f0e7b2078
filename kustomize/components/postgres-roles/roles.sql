-- The roles of the services, and the role `migrate`, which owns the tables. A superuser runs this in
-- the database of the platform: before the first migration, or later, to take the tables over from
-- an earlier owner. It may be repeated. Passwords are set separately.
DO $$
DECLARE
    item record;
BEGIN
    PERFORM set_config('lock_timeout', '5s', true);
    FOR item IN SELECT unnest(ARRAY['migrate', 'auth', 'tasks']) AS name LOOP
        IF to_regrole(item.name) IS NULL THEN
            EXECUTE format('CREATE ROLE %I', item.name);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN', item.name);
    END LOOP;

    EXECUTE format('ALTER DATABASE %I OWNER TO migrate', current_database());
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    ALTER SCHEMA public OWNER TO migrate;
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO auth, tasks;

    -- Processes of the previous release still log in as the earlier owner.
    FOR item IN
        SELECT DISTINCT owner.rolname
        FROM pg_class JOIN pg_roles AS owner ON owner.oid = relowner
        WHERE relnamespace = 'public'::regnamespace
            AND owner.rolname <> 'migrate' AND NOT owner.rolsuper
    LOOP
        EXECUTE format('GRANT migrate TO %I', item.rolname);
    END LOOP;

    FOR item IN
        SELECT oid::regclass AS name, relkind
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
            AND relkind IN ('r', 'p', 'v', 'm', 'c')
            AND relowner <> 'migrate'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    LOOP
        EXECUTE format(
            'ALTER %s %s OWNER TO migrate',
            CASE item.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
            item.name
        );
    END LOOP;

    FOR item IN
        SELECT oid::regprocedure AS name
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner <> 'migrate'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO migrate', item.name);
    END LOOP;
END
$$;
