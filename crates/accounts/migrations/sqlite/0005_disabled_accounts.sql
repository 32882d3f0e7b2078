-- When an administrator disabled the account. The previous release leaves it null.
ALTER TABLE accounts ADD COLUMN disabled_at INTEGER;
CREATE INDEX accounts_admins ON accounts (id)
    WHERE disabled_at IS NULL AND (',' || roles || ',') LIKE '%,admin,%';

-- Who acted, and the roles that a change is about. The previous release leaves them null.
ALTER TABLE audit ADD COLUMN actor BLOB;
ALTER TABLE audit ADD COLUMN actor_login TEXT;
ALTER TABLE audit ADD COLUMN session BLOB;
ALTER TABLE audit ADD COLUMN roles_before TEXT;
ALTER TABLE audit ADD COLUMN roles_after TEXT;
