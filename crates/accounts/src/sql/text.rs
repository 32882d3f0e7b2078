//! The text of every statement that is the same for both databases.
//!
//! Both number their parameters `$1`, `$2`, ...

use super::row::{account_columns, api_key_columns, session_columns};

/// Whether an account has the address with the key `$1` and the lower case `$2`. Accounts of the
/// previous release have no key, and neither has the younger of two with the same key: it is
/// found by its own spelling, before the older one.
macro_rules! has_email {
    () => {
        "(email_key = $1 OR (email_key IS NULL AND email = $2)) ORDER BY email_key IS NULL DESC"
    };
}

/// Whether an account has the login with the folded form `$1` and the lower case `$2`, like
/// `has_email`. The folded form is out of date if the previous release has changed the login.
macro_rules! has_login {
    () => {
        "(login_folded = $1 OR \
         (login_key = $2 AND login_folded_from IS DISTINCT FROM login_key)) \
         ORDER BY login_folded_from IS DISTINCT FROM login_key DESC"
    };
}

/// Defines the statements, and lists them so that a test can prepare each.
macro_rules! statements {
    ($($name:ident = $text:expr;)*) => {
        $(pub(super) const $name: &str = $text;)*

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),*];
    };
}

statements! {
    // Accounts
    INSERT_ACCOUNT = "INSERT INTO accounts \
        (id, login, login_key, login_folded, login_folded_from, email, email_key, mailbox, \
        password, roles, birth_date, phone_number, created_at) \
        VALUES ($1, $2, $3, $4, $3, $5, $6, $7, $8, $9, $10, $11, $12)";
    ACCOUNT = concat!("SELECT ", account_columns!(), " FROM accounts WHERE id = $1");
    ACCOUNTS = concat!(
        "SELECT ", account_columns!(), " FROM accounts WHERE id < $1 ORDER BY id DESC LIMIT $2"
    );
    CREDENTIALS_BY_LOGIN = concat!(
        "SELECT ", account_columns!(), ", coalesce(mailbox, email), password FROM accounts WHERE ",
        has_login!(), " LIMIT 1"
    );
    CREDENTIALS_BY_EMAIL = concat!(
        "SELECT ", account_columns!(), ", coalesce(mailbox, email), password FROM accounts WHERE ",
        has_email!(), " LIMIT 1"
    );
    EMAIL_OWNER = concat!("SELECT id FROM accounts WHERE ", has_email!(), " LIMIT 1");
    LOGIN_OWNER = concat!("SELECT id FROM accounts WHERE ", has_login!(), " LIMIT 1");
    MAILBOX = "SELECT coalesce(mailbox, email) FROM accounts WHERE id = $1";
    UNFOLDED_ACCOUNTS = "SELECT id, login, email, email_key IS NOT NULL FROM accounts \
        WHERE id > $1 AND \
        (email_key IS NULL OR login_folded_from IS DISTINCT FROM login_key) \
        ORDER BY id LIMIT $2";
    EMAIL_KEY_OWNER = "SELECT id FROM accounts WHERE email_key = $1";
    FOLDED_LOGIN_OWNER = "SELECT id FROM accounts WHERE login_folded = $1";
    SET_EMAIL_KEY = "UPDATE accounts SET email_key = $1, mailbox = coalesce(mailbox, $2) \
        WHERE id = $3";
    SET_FOLDED_LOGIN = "UPDATE accounts SET login_folded = $1, login_folded_from = login_key \
        WHERE id = $2";
    SKELETON_OWNER = "SELECT account FROM login_looks WHERE look = $1";
    INSERT_SKELETON = "INSERT INTO login_looks (look, account) VALUES ($1, $2)";
    DELETE_SKELETONS = "DELETE FROM login_looks WHERE account = $1";
    UPDATE_LOGIN = "UPDATE accounts SET login = $1, login_key = $2, login_folded = $3, \
        login_folded_from = $2 WHERE id = $4";
    UPDATE_PROFILE = "UPDATE accounts SET birth_date = $1, phone_number = $2 WHERE id = $3";
    UPDATE_ROLES = "UPDATE accounts SET roles = $1 WHERE id = $2";
    SET_DISABLED_AT = "UPDATE accounts SET disabled_at = $1 WHERE id = $2";
    // With the condition of the index.
    OTHER_ADMIN = "SELECT id FROM accounts WHERE id <> $1 \
        AND disabled_at IS NULL AND (',' || roles || ',') LIKE '%,admin,%' LIMIT 1";
    REPLACE_PASSWORD =
        "UPDATE accounts SET password = $1 WHERE id = $2 AND password = $3 RETURNING id";
    SET_PASSWORD = "UPDATE accounts SET password = $1 WHERE id = $2 RETURNING id";
    // A trigger records the deletion.
    DELETE_ACCOUNT = "DELETE FROM accounts WHERE id = $1 RETURNING id";
    RECORD_DELETION = "INSERT INTO deleted_accounts (account, deleted_at) VALUES ($1, $2) \
        ON CONFLICT (account) DO NOTHING";
    // Not those that a restore has brought back.
    DELETED_SINCE = "SELECT account FROM deleted_accounts \
        WHERE deleted_at > $1 AND NOT EXISTS (SELECT 1 FROM accounts WHERE id = account)";
    RETURNED_ACCOUNTS = "SELECT account FROM deleted_accounts \
        WHERE EXISTS (SELECT 1 FROM accounts WHERE id = account)";
    DELETED_ACCOUNTS =
        "SELECT account FROM deleted_accounts WHERE account > $1 ORDER BY account LIMIT $2";

    // Codes and verified addresses
    CODE_USAGE =
        "SELECT sent_at, counted_since, count FROM codes WHERE email = $1 AND purpose = $2";
    UPSERT_CODE = "INSERT INTO codes \
        (email, purpose, mac, tries, sent_at, expires_at, counted_since, count, mailbox) \
        VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8) \
        ON CONFLICT (email, purpose) DO UPDATE SET mac = excluded.mac, tries = 0, \
        sent_at = excluded.sent_at, expires_at = excluded.expires_at, \
        counted_since = excluded.counted_since, count = excluded.count, \
        mailbox = excluded.mailbox";
    SPEND_CODE_ATTEMPT = "UPDATE codes SET tries = tries + 1 \
        WHERE email = $1 AND purpose = $2 AND mac IS NOT NULL AND expires_at > $3 AND tries < $4 \
        RETURNING mac";
    CONSUME_CODE = "UPDATE codes SET mac = NULL \
        WHERE email = $1 AND purpose = $2 AND mac = $3 RETURNING coalesce(mailbox, email)";
    UPSERT_VERIFIED_EMAIL = "INSERT INTO verified_emails (email, mailbox, token, expires_at) \
        VALUES ($1, $2, $3, $4) \
        ON CONFLICT (email) DO UPDATE SET mailbox = excluded.mailbox, token = excluded.token, \
        expires_at = excluded.expires_at";
    CONSUME_VERIFIED_EMAIL = "DELETE FROM verified_emails \
        WHERE email = $1 AND token = $2 AND expires_at > $3 RETURNING coalesce(mailbox, email)";

    // Sessions and refresh tokens
    INSERT_SESSION = "INSERT INTO sessions \
        (id, account, client, refresh, epoch, created_at, last_used_at, expires_at, ip, \
        user_agent) SELECT $1, id, $2, $3, $4, $5, $6, $7, $8, $9 FROM accounts \
        WHERE id = $10 AND password = $11 AND disabled_at IS NULL RETURNING id";
    SESSION = concat!(
        "SELECT ", session_columns!(), ", ", account_columns!(),
        " FROM sessions JOIN accounts ON accounts.id = sessions.account \
         WHERE sessions.id = $1 AND ended_at IS NULL"
    );
    SESSIONS = concat!(
        "SELECT ", session_columns!(),
        " FROM sessions WHERE account = $1 ORDER BY created_at DESC, id DESC"
    );
    END_CLIENT_SESSIONS = "UPDATE sessions SET ended_at = $1 \
        WHERE account = $2 AND client = $3 AND id <> $4 AND ended_at IS NULL RETURNING id";
    // SQLite takes no OFFSET without a LIMIT.
    END_UNUSED_SESSIONS = "UPDATE sessions SET ended_at = $1 WHERE id IN (SELECT id FROM sessions \
        WHERE account = $2 AND id <> $3 AND ended_at IS NULL AND expires_at > $1 \
        ORDER BY last_used_at DESC, id DESC LIMIT 9223372036854775807 OFFSET $4) RETURNING id";
    END_SESSIONS = "UPDATE sessions SET ended_at = $1 \
        WHERE account = $2 AND id IS DISTINCT FROM $3 AND ended_at IS NULL RETURNING id";
    END_SESSION =
        "UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL RETURNING id";
    END_ACTIVE_SESSION = "UPDATE sessions SET ended_at = $1 \
        WHERE id = $2 AND account = $3 AND ended_at IS NULL AND expires_at > $1 RETURNING id";
    INCREMENT_EPOCHS =
        "UPDATE sessions SET epoch = epoch + 1 WHERE account = $1 AND ended_at IS NULL";
    ROTATE_REFRESH_TOKEN = concat!(
        "UPDATE sessions SET refresh = $1, refresh_salt = $5, epoch = epoch + 1, \
         last_used_at = $2, expires_at = $3 WHERE refresh = $4 AND ended_at IS NULL AND expires_at > $2 RETURNING ",
        session_columns!()
    );
    INSERT_SPENT_TOKEN =
        "INSERT INTO spent_tokens (refresh, session, expires_at) VALUES ($1, $2, $3)";
    SPENT_TOKEN = concat!(
        "SELECT ", session_columns!(), ", sessions.refresh, sessions.refresh_salt",
        " FROM spent_tokens JOIN sessions ON sessions.id = spent_tokens.session \
         WHERE spent_tokens.refresh = $1"
    );
    REFRESH_TOKEN_SESSION =
        concat!("SELECT ", session_columns!(), " FROM sessions WHERE refresh = $1");
    END_REFRESH_GRACE = "UPDATE sessions SET refresh_salt = NULL \
        WHERE refresh_salt IS NOT NULL AND last_used_at > $1";

    // API keys
    INSERT_API_KEY = "INSERT INTO api_keys \
        (id, account, hash, name, prefix, scopes, epoch, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    API_KEY = concat!(
        "SELECT ", api_key_columns!(), ", accounts.id, ", account_columns!(),
        " FROM api_keys LEFT JOIN accounts ON accounts.id = api_keys.account \
         WHERE api_keys.hash = $1"
    );
    API_KEYS = concat!(
        "SELECT ", api_key_columns!(), " FROM api_keys \
         WHERE account = $1 AND (revoked_at IS NULL OR revoked_at > $2) \
         ORDER BY created_at DESC, id DESC"
    );
    API_KEY_USAGE = "SELECT count(*) FILTER (WHERE revoked_at IS NULL), \
        count(*) FILTER (WHERE created_at > $2), min(created_at) FILTER (WHERE created_at > $2) \
        FROM api_keys WHERE account = $1";
    // Repeating the statement after a lost answer does no harm.
    TOUCH_API_KEY = "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 \
        AND (last_used_at IS NULL OR last_used_at <= $3 OR last_used_at > $4)";
    REVOKE_API_KEY = "UPDATE api_keys SET revoked_at = $1 \
        WHERE id = $2 AND account = $3 AND revoked_at IS NULL RETURNING id";
    REVOKE_API_KEYS = "UPDATE api_keys SET revoked_at = $1 \
        WHERE account = $2 AND revoked_at IS NULL RETURNING id";
    REVOKE_API_KEYS_WITHOUT_OWNER = "UPDATE api_keys SET revoked_at = $1 \
        WHERE revoked_at IS NULL AND NOT EXISTS \
        (SELECT 1 FROM accounts WHERE id = api_keys.account AND disabled_at IS NULL)";
    INCREMENT_API_KEY_EPOCHS =
        "UPDATE api_keys SET epoch = epoch + 1 WHERE account = $1 AND revoked_at IS NULL";

    // Failed sign-ins
    INSERT_FAILURE = "INSERT INTO sign_in_failures (key, account, at) VALUES ($1, $2, $3)";
    DELETE_ACCOUNT_FAILURES = "DELETE FROM sign_in_failures WHERE account = $1";
    FAILURES =
        "SELECT at FROM sign_in_failures WHERE key = $1 AND at > $2 AND at <= $3 \
        ORDER BY at DESC LIMIT $4";
    DELETE_FAILURES = "DELETE FROM sign_in_failures WHERE key = $1";

    // Outbox
    INSERT_OUTBOX_MESSAGE = "INSERT INTO duties \
        (id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, attempts) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    DELETE_OUTBOX_MESSAGE = "DELETE FROM duties WHERE id = $1";
    RETAIN_OUTBOX_MESSAGE =
        "UPDATE duties SET due_at = NULL, remembered_until = $1 WHERE id = $2";
    POSTPONE_OUTBOX_MESSAGE = "UPDATE duties SET due_at = $1 WHERE id = $2";
    REOPEN_OUTBOX_MESSAGES = "UPDATE duties \
        SET due_at = $1, remembered_until = NULL, attempts = 0 \
        WHERE kind = $2 AND remembered_until IS NOT NULL RETURNING id";
    OUTBOX_PAYLOADS = "SELECT id, payload FROM duties WHERE id > $1 ORDER BY id LIMIT $2";
    RESEAL_OUTBOX_MESSAGE =
        "UPDATE duties SET payload = $1 WHERE id = $2 AND payload = $3 RETURNING id";
    ADVANCE_OUTBOX_MESSAGES = "UPDATE duties SET due_at = $1 WHERE due_at > $2 RETURNING id";

    // Signing keys
    SIGNING_KEYS = "SELECT kid, follows, public, sealed, signs_from FROM signing_keys";
    INSERT_SIGNING_KEY = "INSERT INTO signing_keys (kid, follows, public, sealed, signs_from) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (follows) DO NOTHING RETURNING kid";
    RESEAL_SIGNING_KEY =
        "UPDATE signing_keys SET sealed = $1 WHERE kid = $2 AND sealed = $3 RETURNING kid";
    DELETE_SIGNING_KEY = "DELETE FROM signing_keys WHERE kid = $1";

    // Inbox
    INSERT_INBOX_MAIL = "INSERT INTO inbox (id, at, address, subject, text, html) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING id";
    INBOX_MAILS =
        "SELECT at, id, address, subject, text, html FROM inbox ORDER BY id DESC LIMIT $1";

    // Audit log. Repeating the insert after a lost answer does no harm.
    INSERT_AUDIT_ENTRY = "INSERT INTO audit (id, at, action, outcome, account, login, actor, \
        actor_login, session, api_key, roles_before, roles_after, ip, count) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
        ON CONFLICT (id) DO NOTHING";
    AUDIT_LOG = "SELECT id, at, action, outcome, account, login, actor, actor_login, session, \
        api_key, roles_before, roles_after, ip, count FROM audit WHERE id < $1 \
        ORDER BY id DESC LIMIT $2";

    // Expired rows. The row of a code also counts the requests of its address.
    DELETE_EXPIRED_CODES = "DELETE FROM codes WHERE counted_since <= $1 AND expires_at <= $1";
    DELETE_EXPIRED_VERIFICATIONS = "DELETE FROM verified_emails WHERE expires_at <= $1";
    DELETE_EXPIRED_SESSIONS = "DELETE FROM sessions WHERE expires_at <= $1";
    DELETE_EXPIRED_TOKENS = "DELETE FROM spent_tokens WHERE expires_at <= $1";
    DELETE_ENDED_API_KEYS = "DELETE FROM api_keys WHERE coalesce(revoked_at, expires_at) <= $1";
    DELETE_RETAINED_MESSAGES = "DELETE FROM duties WHERE remembered_until <= $1";
    DELETE_OLD_FAILURES = "DELETE FROM sign_in_failures WHERE at <= $1";
    DELETE_OLD_AUDIT_ENTRIES = "DELETE FROM audit WHERE at <= $1";
    DELETE_OLD_MAILS = "DELETE FROM inbox WHERE at <= $1";

    // After a restore
    END_ALL_SESSIONS = "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL";
    REVOKE_ALL_API_KEYS = "UPDATE api_keys SET revoked_at = $1 WHERE revoked_at IS NULL";
    DELETE_ALL_SIGNING_KEYS = "DELETE FROM signing_keys";
    // The rows also count the requests of their addresses.
    INVALIDATE_ALL_CODES = "UPDATE codes SET mac = NULL WHERE mac IS NOT NULL";
    DELETE_ALL_VERIFICATIONS = "DELETE FROM verified_emails";
    DELETE_ALL_OUTBOX_MESSAGES = "DELETE FROM duties";
}
