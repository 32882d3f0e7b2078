SET LOCAL lock_timeout = '2s';

-- Accounts that were deleted, for backups that still have them. Rows are never deleted. A trigger
-- records the deletions of every program, also of the previous release.
CREATE TABLE deleted_accounts (
    account     uuid   NOT NULL PRIMARY KEY,
    deleted_at  bigint NOT NULL
);

CREATE FUNCTION record_deleted_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_accounts (account, deleted_at)
    VALUES (OLD.id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER record_deleted_account AFTER DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION record_deleted_account();

INSERT INTO deleted_accounts (account, deleted_at)
    SELECT account, max(at) FROM audit
    WHERE action = 'delete_account' AND outcome = 'ok' AND account IS NOT NULL GROUP BY account;
