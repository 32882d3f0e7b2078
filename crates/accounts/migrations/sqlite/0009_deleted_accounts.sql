-- Accounts that were deleted, for backups that still have them. Rows are never deleted. A trigger
-- records the deletions of every program, also of the previous release.
CREATE TABLE deleted_accounts (
    account     BLOB    NOT NULL PRIMARY KEY,
    deleted_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER record_deleted_account AFTER DELETE ON accounts
BEGIN
    INSERT OR IGNORE INTO deleted_accounts (account, deleted_at)
    VALUES (OLD.id, CAST(unixepoch('subsec') * 1000000 AS INTEGER));
END;

INSERT INTO deleted_accounts (account, deleted_at)
    SELECT account, max(at) FROM audit
    WHERE action = 'delete_account' AND outcome = 'ok' AND account IS NOT NULL GROUP BY account;
