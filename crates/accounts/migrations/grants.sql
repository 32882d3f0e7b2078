-- What the role `auth` may do. Runs on PostgreSQL after the last migration, and grants every table
-- to it. Without separate roles, one role owns the tables and uses them.
DO $$
BEGIN
    IF current_user <> 'migrate' THEN
        RETURN;
    END IF;
    GRANT SELECT ON accounts_migrations TO auth;
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        accounts, login_looks, codes, verified_emails, sessions, spent_tokens, api_keys,
        sign_in_failures, signing_keys, duties, inbox, deleted_accounts
        TO auth;
    -- Entries are added, and deleted when they are old.
    GRANT SELECT, INSERT, DELETE ON audit TO auth;
    REVOKE UPDATE ON audit FROM auth;
END
$$;
