-- The program or device that signed in. The previous release leaves the default.
ALTER TABLE sessions ADD COLUMN client TEXT NOT NULL DEFAULT 'default';

-- The current refresh token is derived from the one before and this value, unless the previous
-- release has replaced it since.
ALTER TABLE sessions ADD COLUMN refresh_salt BLOB;
CREATE INDEX sessions_by_refresh ON sessions (last_used_at) WHERE refresh_salt IS NOT NULL;
