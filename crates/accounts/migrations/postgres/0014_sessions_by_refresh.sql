-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_by_refresh
    ON sessions (last_used_at) WHERE refresh_salt IS NOT NULL;
