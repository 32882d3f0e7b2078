SET LOCAL lock_timeout = '2s';

-- When an administrator disabled the account. The previous release leaves it null.
ALTER TABLE accounts ADD COLUMN disabled_at bigint;
CREATE INDEX accounts_admins ON accounts (id)
    WHERE disabled_at IS NULL AND (',' || roles || ',') LIKE '%,admin,%';

-- Who acted, and the roles that a change is about. The previous release leaves them null.
ALTER TABLE audit ADD COLUMN actor uuid;
ALTER TABLE audit ADD COLUMN actor_login text;
ALTER TABLE audit ADD COLUMN session uuid;
ALTER TABLE audit ADD COLUMN roles_before text;
ALTER TABLE audit ADD COLUMN roles_after text;

-- The previous release does not check whether an account is disabled. It takes a session that
-- was not inserted for a password that has just changed. A later release drops the trigger.
CREATE FUNCTION skip_session_of_disabled_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM accounts WHERE id = NEW.account AND disabled_at IS NOT NULL;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER skip_session_of_disabled_account BEFORE INSERT ON sessions
    FOR EACH ROW EXECUTE FUNCTION skip_session_of_disabled_account();
