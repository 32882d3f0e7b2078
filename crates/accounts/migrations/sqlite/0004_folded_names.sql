-- The forms in which names are compared. The previous release leaves them null, and compares
-- login_key and email.
--
-- Case-folded. Out of date unless login_folded_from equals login_key, because the previous
-- release changes logins without it.
ALTER TABLE accounts ADD COLUMN login_folded TEXT;
ALTER TABLE accounts ADD COLUMN login_folded_from TEXT;
-- With a domain in ASCII and a case-folded local part.
ALTER TABLE accounts ADD COLUMN email_key TEXT;
-- Where mail is sent: the local part as it was typed.
ALTER TABLE accounts ADD COLUMN mailbox TEXT;
ALTER TABLE codes ADD COLUMN mailbox TEXT;
ALTER TABLE verified_emails ADD COLUMN mailbox TEXT;

CREATE UNIQUE INDEX accounts_by_folded_login ON accounts (login_folded);
CREATE UNIQUE INDEX accounts_by_email_key ON accounts (email_key);
CREATE INDEX accounts_unfolded ON accounts (id)
    WHERE email_key IS NULL OR login_folded_from IS DISTINCT FROM login_key;
