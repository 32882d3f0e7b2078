SET LOCAL lock_timeout = '2s';

-- The program or device that signed in. The previous release leaves the default.
ALTER TABLE sessions ADD COLUMN client text NOT NULL DEFAULT 'default';

-- The current refresh token is derived from the one before and this value, unless the previous
-- release has replaced it since.
ALTER TABLE sessions ADD COLUMN refresh_salt bytea;
