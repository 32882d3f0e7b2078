-- The account of a failed sign-in, if it is known. The previous release leaves it null.
ALTER TABLE sign_in_failures ADD COLUMN account BLOB;
CREATE INDEX sign_in_failures_by_account ON sign_in_failures (account)
    WHERE account IS NOT NULL;
