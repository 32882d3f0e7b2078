//! Names that the previous release has stored, on both stores.

use std::sync::Arc;

use jiff::Timestamp;
use miniapp_accounts::audit::{Action, AuditEntry};
use miniapp_accounts::maintenance::fold_names;
use miniapp_accounts::operations::{DeleteAccount, RegisterAccount, RegisterOutcome};
use miniapp_accounts::outbox::{OutboxKind, OutboxRow};
use miniapp_accounts::password::PasswordHash;
use miniapp_accounts::store::Identifier;
use miniapp_accounts::{
    Caller, Email, Login, LoginKey, PostgresStore, SqliteStore, Store, TokenHash,
};
use miniapp_runtime::clock;
use miniapp_test_support::postgres::Server;
use miniapp_types::account::{Account, Role, Secret};
use miniapp_types::trace::TraceContext;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

/// Login, what the previous release compares of it, and address; oldest first.
const STORED: [(&str, &str, &str); 3] = [
    ("Straße", "straße", "ada@bücher.example"),
    ("strasse", "strasse", "ada@xn--bcher-kva.example"),
    ("Γιώργοσ", "γιώργοσ", "bob@example.com"),
];

/// The id of a stored account.
fn id(index: usize) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + index as u128)
}

/// A database, and a connection for statements of the previous release.
enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    async fn execute(&mut self, text: &str) {
        let text = AssertSqlSafe(text.to_owned());
        let done = match self {
            Self::Sqlite(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
            Self::Postgres(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
        };
        done.expect("executed");
    }

    fn literal(&self, id: Uuid) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", id.simple()),
            Self::Postgres(_) => format!("'{id}'"),
        }
    }

    /// Verifies an address with the token that [`registered`] presents.
    async fn verify(&mut self, address: &str) {
        let TokenHash(token) = TokenHash::of(&Secret::new("token"));
        let digits = token.map(|byte| format!("{byte:02x}")).concat();
        let token = match self {
            Self::Sqlite(_) => format!("x'{digits}'"),
            Self::Postgres(_) => format!("'\\x{digits}'"),
        };
        let columns = "email, token, expires_at";
        let values = format!("'{address}', {token}, 1");
        self.execute(&format!("INSERT INTO verified_emails ({columns}) VALUES ({values})")).await;
    }

    async fn insert_stored_accounts(&mut self) {
        for (index, (login, key, email)) in STORED.iter().enumerate() {
            let id = self.literal(id(index));
            let columns = "id, login, login_key, email, password, roles, created_at";
            let values = format!("{id}, '{login}', '{key}', '{email}', 'hash', 'user', 0");
            self.execute(&format!("INSERT INTO accounts ({columns}) VALUES ({values})")).await;
        }
    }
}

fn email(text: &str) -> Email {
    Email::parse(text).expect("an address")
}

/// The number of the account with a login or address.
async fn found(store: &dyn Store, name: &str) -> Option<usize> {
    let identifier = match Email::parse(name) {
        Some(email) => Identifier::Email(email),
        None => Identifier::Login(LoginKey::of(name)),
    };
    let found = store.credentials(&identifier).await.expect("a store")?;
    (0..STORED.len()).find(|index| id(*index) == found.account.user_id)
}

async fn registered(store: &dyn Store, login: &str, address: &str) -> RegisterOutcome {
    let email = email(address);
    let now = Timestamp::UNIX_EPOCH;
    let account = Account {
        user_id: clock::id_at(now),
        login: login.to_owned(),
        email: email.to_string(),
        roles: vec![Role::User],
        birth_date: None,
        phone_number: None,
        created_at: now,
        disabled: false,
    };
    let register = RegisterAccount {
        token: TokenHash::of(&Secret::new("token")),
        account,
        email,
        login: Login::parse(login).expect("a login"),
        password: PasswordHash::from_phc("hash"),
        audit: AuditEntry::new(Action::Register, now, &Caller::default()),
    };
    store.transact(&register).await.expect("a store")
}

async fn delete(store: &dyn Store, index: usize) {
    let now = Timestamp::UNIX_EPOCH;
    let row = |kind| OutboxRow {
        id: Uuid::new_v4(),
        kind,
        payload: Vec::new(),
        trace: TraceContext::default(),
        due_at: now,
        not_after: None,
        attempts: 0,
    };
    let audit = AuditEntry::new(Action::DeleteAccount, now, &Caller::default());
    let (event, notice) = (row(OutboxKind::AccountDeleted), row(OutboxKind::Mail));
    let delete = DeleteAccount { account: id(index), now, event, notice, audit };
    assert!(store.transact(&delete).await.expect("a store").is_ok());
}

async fn names_are_folded(store: Arc<dyn Store>, mut raw: Raw) {
    let store = &*store;
    raw.insert_stored_accounts().await;
    // As in the previous release, until they are folded.
    for (index, (login, key, email)) in STORED.into_iter().enumerate() {
        for name in [login, key, email] {
            assert_eq!(found(store, name).await, Some(index), "{name}");
        }
    }
    assert_eq!(found(store, "ΓΙΏΡΓΟΣ").await, None);

    // The older of two accounts gets the name, whenever it runs.
    for _ in 0..2 {
        assert_eq!(fold_names(store).await.expect("a store"), [id(1)]);
        for (name, expected) in [
            ("ΓΙΏΡΓΟΣ", Some(2)),
            ("straße", Some(0)),
            ("STRAßE", Some(0)),
            // The younger one keeps its own spelling.
            ("strasse", Some(1)),
            ("ada@bücher.example", Some(0)),
            ("ADA@BÜCHER.example", Some(0)),
            ("ada@ｂücher.example", Some(0)),
            ("ada@xn--bcher-kva.example", Some(1)),
            ("BOB@example.com", Some(2)),
        ] {
            assert_eq!(found(store, name).await, expected, "{name}");
        }
    }
    // No third account gets either name.
    for address in ["ada@xn--bcher-kva.example", "carol@example.com"] {
        raw.verify(address).await;
    }
    let taken = registered(store, "carol", "ADA@BÜCHER.example").await;
    assert_eq!(taken, RegisterOutcome::EmailTaken);
    let taken = registered(store, "STRASSE", "carol@example.com").await;
    assert_eq!(taken, RegisterOutcome::LoginTaken);

    // The previous release runs beside this one and changes a login.
    let update = format!(
        "UPDATE accounts SET login = 'Σίσυφος', login_key = 'σίσυφος' WHERE id = {}",
        raw.literal(id(2))
    );
    raw.execute(&update).await;
    assert_eq!(found(store, "Σίσυφος").await, Some(2));
    fold_names(store).await.expect("a store");
    assert_eq!(found(store, "ΣΊΣΥΦΟΣ").await, Some(2));
    assert_eq!(found(store, "ΓΙΏΡΓΟΣ").await, None);

    delete(store, 0).await;
    assert!(fold_names(store).await.expect("a store").is_empty());
    for name in ["STRAßE", "ada@BÜCHER.example"] {
        assert_eq!(found(store, name).await, Some(1), "{name}");
    }
}

#[tokio::test]
async fn sqlite_folds_names_of_the_previous_release() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("accounts.db").display());
    let store = SqliteStore::open(&url, false).await.expect("a store");
    let raw = SqliteConnection::connect(&url).await.expect("a connection");
    names_are_folded(Arc::new(store), Raw::Sqlite(raw)).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_folds_names_of_the_previous_release() {
    let server = Server::shared().await;
    let settings = server.settings().await.expect("a database");
    let store = PostgresStore::new(&settings).expect("a store");
    store.ping().await.expect("a store that answers");
    let raw = PgConnection::connect(settings.url.expose()).await.expect("a connection");
    names_are_folded(Arc::new(store), Raw::Postgres(raw)).await;
}
