//! Random histories of sessions agree with a model: clients with several tabs, answers that get
//! lost, and time that passes.
//!
//! `MINIAPP_SIMULATION_SEEDS` sets the number of histories, `MINIAPP_TEST_SEED` runs one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_accounts::mail::MailError;
use miniapp_runtime::clock::Clock as _;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_test_support::eventually;
use miniapp_test_support::postgres::Server;
use miniapp_types::account::{Secret, Tokens};
use miniapp_types::problem::Code;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Platform, caller};

const ACCESS: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(10);
const SESSIONS: usize = 3;
const CLIENTS: [&str; 5] = ["default", "cli", "console", "phone", "tablet"];
const STEPS: u32 = 60;

#[tokio::test]
async fn sqlite_sessions_follow_the_model() {
    histories(None).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_sessions_follow_the_model() {
    let url = Server::shared().await.database().await.expect("a database");
    histories(Some(url.expose().to_owned())).await;
}

/// Also once the clock has caught up.
#[tokio::test]
async fn grace_ends_for_good_when_the_clock_is_set_back() {
    let platform = Platform::new().await;
    platform.register("ada").await;
    let first = platform.sign_in("ada", "cli").await.refresh_token;
    platform.accounts.refresh(&first, &caller()).await.expect("refreshed");
    // A mail that waits for another attempt shows when the step was noticed.
    platform.mailer.fail(MailError::Temporary("down".to_owned()));
    platform.send_code("bob@example.com").await;
    platform.run_once().await;
    platform.mailer.recover();
    let sent = platform.mailer.sent().len();
    let delivered = async |count| {
        eventually("mails are delivered", async || {
            (platform.mailer.sent().len() == sent + count).then_some(())
        })
        .await;
    };
    let shutdown = Shutdown::new();
    let relay = tokio::spawn(platform.accounts.relay().run(shutdown.clone()));
    platform.send_code("cyd@example.com").await;
    delivered(1).await;
    let now = platform.clock.now();
    platform.clock.set(now - Duration::from_hours(1));
    delivered(2).await;
    platform.clock.set(now + Duration::from_secs(1));
    let reused = platform.accounts.refresh(&first, &caller()).await.expect_err("no grace");
    assert_eq!(reused.code(), Some(Code::TokenReused));
    shutdown.begin();
    relay.await.expect("an end");
}

async fn histories(database: Option<String>) {
    let settings = [
        ("MINIAPP__AUTH__ACCESS_TTL", "60s".to_owned()),
        ("MINIAPP__AUTH__REFRESH_GRACE", "10s".to_owned()),
        ("MINIAPP__AUTH__SESSIONS_PER_USER", SESSIONS.to_string()),
    ];
    let database = database.map(|url| ("MINIAPP__DATABASE__URL", url));
    let platform = Platform::with(settings.into_iter().chain(database).collect()).await;
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds: Vec<u64> = match number("MINIAPP_TEST_SEED") {
        Some(seed) => vec![seed],
        // Each takes as long as its sign-ins, which hash passwords.
        None => (0..number("MINIAPP_SIMULATION_SEEDS").unwrap_or(50).div_ceil(10))
            .map(|_| rand::random())
            .collect(),
    };
    for seed in seeds {
        let login = format!("user{seed}");
        platform.register(&login).await;
        let mut history = History {
            platform: &platform,
            login,
            random: SmallRng::seed_from_u64(seed),
            sessions: Vec::new(),
            failure: format!("reproduce with MINIAPP_TEST_SEED={seed}"),
        };
        history.sign_in().await;
        for _ in 0..STEPS {
            history.step().await;
        }
    }
}

/// What the model knows about a session.
struct Session {
    client: &'static str,
    has_ended: bool,
    used_at: Timestamp,
    /// Every refresh token, oldest first.
    refresh: Vec<Secret>,
    access: Vec<Access>,
    /// The number of the token that each tab of the client has. A tab whose answer was lost keeps
    /// its token.
    tabs: [usize; 3],
}

struct Access {
    token: Secret,
    /// The number of the refresh token that was issued with it.
    generation: usize,
    expires_at: Timestamp,
}

struct History<'a> {
    platform: &'a Platform,
    login: String,
    random: SmallRng,
    sessions: Vec<Session>,
    failure: String,
}

impl History<'_> {
    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..3 => self.sign_in().await,
            3..70 => self.refresh_of_a_tab().await,
            70..75 => self.refresh_with_any_token().await,
            75..90 => self.check_access().await,
            _ => {
                let milliseconds = self.random.random_range(0..12_000);
                self.platform.clock.advance(Duration::from_millis(milliseconds));
            }
        }
    }

    async fn sign_in(&mut self) {
        let client = CLIENTS.choose(&mut self.random).copied().expect("clients");
        // Two sessions are not used at the same time.
        self.platform.clock.advance(Duration::from_millis(1));
        let tokens = self.platform.sign_in(&self.login, client).await;
        let now = self.now();
        for session in self.sessions.iter_mut().filter(|it| it.client == client) {
            session.has_ended = true;
        }
        let mut active: Vec<&mut Session> =
            self.sessions.iter_mut().filter(|it| !it.has_ended).collect();
        active.sort_by_key(|session| std::cmp::Reverse(session.used_at));
        for session in active.iter_mut().skip(SESSIONS - 1) {
            session.has_ended = true;
        }
        self.sessions.push(Session {
            client,
            has_ended: false,
            used_at: now,
            refresh: vec![tokens.refresh_token.clone()],
            access: vec![access(&tokens, 0, now)],
            tabs: [0; 3],
        });
        self.check_access().await;
    }

    async fn refresh_of_a_tab(&mut self) {
        let session = self.random.random_range(0..self.sessions.len());
        let tab = self.random.random_range(0..3);
        let number = self.sessions[session].tabs[tab];
        self.refresh(session, number).await;
        let is_lost = self.random.random_bool(0.3);
        if !is_lost {
            // Tabs share what they receive, except for one.
            let latest = self.sessions[session].refresh.len() - 1;
            let tabs = &mut self.sessions[session].tabs;
            if tab == 2 { tabs[2] = latest } else { tabs[..2].fill(latest) }
        }
    }

    async fn refresh_with_any_token(&mut self) {
        let session = self.random.random_range(0..self.sessions.len());
        let number = self.random.random_range(0..self.sessions[session].refresh.len());
        self.refresh(session, number).await;
    }

    /// Refreshes a session with its token of this number, and compares the result.
    async fn refresh(&mut self, index: usize, number: usize) {
        self.platform.clock.advance(Duration::from_millis(1));
        let now = self.now();
        let session = &mut self.sessions[index];
        let latest = session.refresh.len() - 1;
        let result = self.platform.accounts.refresh(&session.refresh[number], &caller()).await;
        let age = now.duration_since(session.used_at);
        let is_new = age < SignedDuration::try_from(GRACE).expect("short");
        let failure = &self.failure;
        if number == latest && !session.has_ended {
            let tokens = result.unwrap_or_else(|error| panic!("{error}; {failure}"));
            assert!(!session.refresh.contains(&tokens.refresh_token), "{failure}");
            session.used_at = now;
            session.refresh.push(tokens.refresh_token.clone());
            session.access.push(access(&tokens, latest + 1, now));
        } else if number + 1 == latest && !session.has_ended && is_new {
            let tokens = result.unwrap_or_else(|error| panic!("{error}; {failure}"));
            assert_eq!(tokens.refresh_token, session.refresh[latest], "{failure}");
            session.access.push(access(&tokens, latest, now));
        } else {
            let code = result.expect_err(failure).code();
            let expected = if number == latest { Code::TokenRevoked } else { Code::TokenReused };
            assert_eq!(code, Some(expected), "{failure}");
            session.has_ended = true;
        }
    }

    /// Checks every access token.
    async fn check_access(&self) {
        let now = self.now();
        for session in &self.sessions {
            let latest = session.refresh.len() - 1;
            for access in &session.access {
                let result = self.platform.accounts.authenticate(access.token.expose()).await;
                let expected = if access.expires_at.as_second() <= now.as_second() {
                    Some(Code::TokenExpired)
                } else if session.has_ended || access.generation != latest {
                    Some(Code::TokenRevoked)
                } else {
                    None
                };
                let found = result.err().map(|error| error.code().expect("a rejection"));
                assert_eq!(found, expected, "{} {}", session.client, self.failure);
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.platform.clock.now()
    }
}

fn access(tokens: &Tokens, generation: usize, now: Timestamp) -> Access {
    Access { token: tokens.auth_token.clone(), generation, expires_at: now + ACCESS }
}
