//! Who asks: the check of access tokens.
//!
//! A token's signature is verified here, with the keys that auth publishes. Whether it is
//! still the newest of its session is known from auth's news, and asked of auth where the
//! news can't tell. A token that was seen before costs a digest and two look-ups.

mod auth;
mod authorized;
mod caller;
mod generations;
mod keys;
mod metrics;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use miniapp_broker::Broker;
use miniapp_http::Problem;
use miniapp_runtime::clock::Clock;
use miniapp_token::{TokenError, UnverifiedToken};
use miniapp_types::problem::Code;
use parking_lot::{Mutex, RwLock};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use self::auth::{Answer, Auth, Unreachable};
use self::generations::Generations;
use self::keys::Keys;
use self::metrics::Source;
use self::sessions::{Sessions, Standing, Verdict};

pub use self::authorized::Authorized;
pub use self::caller::Caller;

/// How many tokens are remembered at least.
const REMEMBERED: usize = 8 * 1024;
/// How long a session that was valid passes for valid while nobody can be asked.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Why a token doesn't open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// It is malformed or forged.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// A newer one replaced it, or its session ended.
    #[error("the token was revoked")]
    Revoked,
    /// It can't be told now.
    #[error("the token can't be checked now")]
    Unavailable,
}

impl From<TokenError> for Refusal {
    fn from(fault: TokenError) -> Self {
        match fault {
            TokenError::Invalid => Self::Invalid,
            TokenError::Expired => Self::Expired,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid => Self::new(Code::TokenInvalid),
            Refusal::Expired => Self::new(Code::TokenExpired),
            Refusal::Revoked => Self::new(Code::TokenRevoked),
            Refusal::Unavailable => Self::new(Code::Unavailable)
                .detail("tokens can't be checked now")
                .retry_after(Duration::from_secs(1)),
        }
    }
}

type Asking = Shared<BoxFuture<'static, Result<Answer, Unreachable>>>;

/// Checks access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Check(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    auth: Arc<Auth>,
    keys: Keys,
    sessions: Sessions,
    /// Tokens whose signature was verified, by their digest.
    seen: RwLock<Generations<[u8; 32], Arc<Caller>>>,
    /// Questions on their way, by session and epoch: many requests ask one.
    asking: Mutex<HashMap<(Uuid, u32), Asking>>,
}

impl Check {
    /// Checks tokens of the auth at `auth_url`.
    pub fn new(auth_url: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let auth = Arc::new(Auth::new(auth_url)?);
        Ok(Self(Arc::new(Inner {
            clock,
            keys: Keys::new(auth.clone()),
            auth,
            sessions: Sessions::new(),
            seen: RwLock::new(Generations::new(REMEMBERED)),
            asking: Mutex::default(),
        })))
    }

    /// Keeps keys and sessions up to date until it is dropped. Without it the check is as
    /// good, but slow: it has to ask auth again and again.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        tokio::join!(self.0.keys.renew(), self.0.sessions.follow(broker)).0
    }

    /// Whether tokens can be checked at all.
    pub async fn health(&self) -> anyhow::Result<()> {
        if !self.0.keys.are_known() {
            self.0.keys.fetch_now().await?;
        }
        Ok(())
    }

    /// Who holds `token`.
    pub async fn check(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        let (source, caller) = match self.seen(token) {
            Ok(caller) => (Source::Cache, Ok(caller)),
            Err(digest) => (Source::Signature, self.verify(token, digest).await),
        };
        let checked = match caller {
            Ok(caller) => self.recheck(&caller).await.map(|()| caller),
            Err(refusal) => Err(refusal),
        };
        metrics::checked(source, checked.as_ref().err());
        checked
    }

    /// Whether a token that was good still is.
    pub async fn recheck(&self, caller: &Arc<Caller>) -> Result<(), Refusal> {
        if caller.expires_at <= self.0.clock.now().as_second() {
            return Err(Refusal::Expired);
        }
        match self.0.sessions.judge(caller.session_id, caller.epoch) {
            Verdict::Valid => Ok(()),
            Verdict::Revoked => Err(Refusal::Revoked),
            Verdict::Aged(age) => self.confirm(caller, age <= TOLERANCE).await,
            Verdict::Unknown => self.confirm(caller, false).await,
        }
    }

    /// The holder of a token that was verified before, or the token's digest.
    fn seen(&self, token: &str) -> Result<Arc<Caller>, [u8; 32]> {
        let digest = sha256(token);
        let (caller, fades) = match self.0.seen.read().get(&digest) {
            Some((caller, fades)) if caller.retirements == self.0.keys.retirements() => {
                (caller.clone(), fades)
            }
            _ => return Err(digest),
        };
        if fades {
            self.0.seen.write().insert(digest, caller.clone());
        }
        Ok(caller)
    }

    async fn verify(&self, token: &str, digest: [u8; 32]) -> Result<Arc<Caller>, Refusal> {
        let unverified = UnverifiedToken::parse(token)?;
        let retirements = self.0.keys.retirements();
        let key = self.0.keys.find(&unverified.kid).await?;
        let claims = unverified.verify(&key, self.0.clock.now())?;
        let caller = Arc::new(Caller::new(token, claims, retirements));
        self.0.seen.write().insert(digest, caller.clone());
        Ok(caller)
    }

    /// Asks auth about a token of which the news can't tell. `is_tolerable`: it was good
    /// not long ago, which is enough while auth can't be asked.
    async fn confirm(&self, caller: &Arc<Caller>, is_tolerable: bool) -> Result<(), Refusal> {
        let asking = self.ask(caller);
        if is_tolerable && self.0.auth.is_failing() {
            // The answer, should there be one, counts for the next request.
            return Ok(());
        }
        match asking.await {
            Ok(Answer::Active) => {
                // News may have overtaken the answer.
                let verdict = self.0.sessions.judge(caller.session_id, caller.epoch);
                if verdict == Verdict::Revoked { Err(Refusal::Revoked) } else { Ok(()) }
            }
            Ok(Answer::Refused(Code::TokenRevoked)) => Err(Refusal::Revoked),
            Ok(Answer::Refused(Code::TokenExpired)) => Err(Refusal::Expired),
            Ok(Answer::Refused(_)) => Err(Refusal::Invalid),
            Err(Unreachable) if is_tolerable => Ok(()),
            Err(Unreachable) => Err(Refusal::Unavailable),
        }
    }

    /// The question that is on its way, or a new one. It is asked to its end even if
    /// nobody waits for it any more.
    fn ask(&self, caller: &Arc<Caller>) -> Asking {
        let question = (caller.session_id, caller.epoch);
        let mut asking = self.0.asking.lock();
        if let Some(asking) = asking.get(&question) {
            return asking.clone();
        }
        let (inner, caller) = (self.0.clone(), caller.clone());
        let asked = async move {
            let answer = inner.settle(&caller).await;
            inner.asking.lock().remove(&question);
            answer
        };
        let asked = tokio::spawn(asked.in_current_span());
        let asked = asked.map(|answered| answered.unwrap_or(Err(Unreachable))).boxed().shared();
        asking.insert(question, asked.clone());
        asked
    }
}

impl Inner {
    /// Asks auth about a token, and remembers the answer.
    async fn settle(&self, caller: &Caller) -> Result<Answer, Unreachable> {
        // What auth says was true at some time after this.
        let at = Instant::now();
        let answer = self.auth.validate(caller.token.expose()).await;
        metrics::asked(answer);
        let answer = answer?;
        let standing = match answer {
            Answer::Active => Standing::Current(caller.epoch),
            Answer::Refused(Code::TokenRevoked) => Standing::Past(caller.epoch),
            Answer::Refused(_) => return Ok(answer),
        };
        self.sessions.learn(caller.session_id, standing, at);
        Ok(answer)
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
