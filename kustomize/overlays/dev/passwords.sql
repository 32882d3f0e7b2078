-- Public passwords, for development only.
ALTER ROLE migrate PASSWORD 'for-development-only';
ALTER ROLE auth PASSWORD 'for-development-only';
ALTER ROLE tasks PASSWORD 'for-development-only';
