-- How many equal requests an entry stands for. The previous release records each request.
ALTER TABLE audit ADD COLUMN count INTEGER NOT NULL DEFAULT 1;
