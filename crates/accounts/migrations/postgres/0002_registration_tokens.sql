SET LOCAL lock_timeout = '2s';

-- The hash of the token that a registration must present. The previous release leaves it null,
-- and its verifications cannot be registered by this one.
ALTER TABLE verified_emails ADD COLUMN token bytea;
