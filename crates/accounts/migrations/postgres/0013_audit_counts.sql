SET LOCAL lock_timeout = '2s';

-- How many equal requests an entry stands for. The previous release records each request.
ALTER TABLE audit ADD COLUMN count bigint NOT NULL DEFAULT 1;
