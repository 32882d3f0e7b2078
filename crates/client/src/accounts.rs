//! Accounts and sessions: the endpoints of the auth service.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use miniapp_types::account::{
    Account, ApiKeys, ChangePassword, CodeSent, CreateApiKey, EmailVerified, NewApiKey,
    PasswordSignIn, Refresh, Register, Secret, SendCode, Sessions, SignIn, TokenInfo, Tokens,
    Validate, VerifyEmail,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::client::RESPONSE_TIMEOUT;
use crate::{Client, Error, Session};

/// Limit for the response to a refresh. Three attempts take less time than the server repeats the
/// response.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);
const REFRESH_DELAY: Duration = Duration::from_millis(100);

impl Client {
    /// Sends a verification code to an e-mail address.
    pub async fn send_code(&self, email: &str) -> Result<CodeSent, Error> {
        self.post("send-verification-code", &SendCode { email: email.to_owned() }).await
    }

    /// Confirms an e-mail address with the code that was sent to it. The result carries the token
    /// that [`register`](Self::register) needs.
    pub async fn verify_email(&self, email: &str, code: &str) -> Result<EmailVerified, Error> {
        let body = VerifyEmail { email: email.to_owned(), code: Secret::new(code) };
        self.post("verify-email", &body).await
    }

    /// Creates an account for an e-mail address that this client confirmed.
    pub async fn register(&self, account: &Register) -> Result<Account, Error> {
        self.post("register", account).await
    }

    /// Signs in with a login or e-mail address, and stores the session.
    pub async fn sign_in(&self, login: &str, password: Secret) -> Result<Session, Error> {
        let client = self.name().map(str::to_owned);
        let body = SignIn::Password(PasswordSignIn { login: login.to_owned(), password, client });
        // Of concurrent sign-ins the last one is stored, which has ended the others.
        let _lock = self.sessions().lock().await.map_err(Error::SessionStore)?;
        let tokens = self.post("sign-in", &body).await?;
        self.store(tokens)
    }

    /// Replaces the session's tokens before they expire.
    ///
    /// Other calls refresh an expired access token by themselves.
    pub async fn refresh(&self) -> Result<Session, Error> {
        let _lock = self.sessions().lock().await.map_err(Error::SessionStore)?;
        let session = self.session().ok_or_else(|| self.not_signed_in())?;
        self.refresh_session(&session).await
    }

    /// Returns what the API key or the access token stands for.
    pub async fn token_info(&self) -> Result<TokenInfo, Error> {
        let token = match self.api_key() {
            Some(key) => key.clone(),
            None => self.session().ok_or_else(|| self.not_signed_in())?.access_token,
        };
        self.post("validate", &Validate { token }).await
    }

    /// Returns the account.
    pub async fn account(&self) -> Result<Account, Error> {
        self.json(self.auth(Method::GET, "users/me")).await
    }

    /// Replaces the password. Every other session ends.
    pub async fn change_password(&self, current: Secret, new: Secret) -> Result<(), Error> {
        let body = ChangePassword { password: current, new_password: new };
        self.empty(self.auth(Method::POST, "users/me/password").json(&body)).await
    }

    /// Returns the sessions of the account.
    pub async fn account_sessions(&self) -> Result<Sessions, Error> {
        self.json(self.auth(Method::GET, "sessions")).await
    }

    /// Ends a session of the account.
    pub async fn end_session(&self, id: Uuid) -> Result<(), Error> {
        self.empty(self.auth(Method::DELETE, &format!("sessions/{id}"))).await
    }

    /// Creates an API key. The result is the only place where the key is shown.
    pub async fn create_api_key(&self, key: &CreateApiKey) -> Result<NewApiKey, Error> {
        self.json(self.auth(Method::POST, "api-keys").json(key)).await
    }

    /// Returns the API keys of the account.
    pub async fn api_keys(&self) -> Result<ApiKeys, Error> {
        self.json(self.auth(Method::GET, "api-keys")).await
    }

    /// Deletes an API key of the account.
    pub async fn delete_api_key(&self, id: Uuid) -> Result<(), Error> {
        self.empty(self.auth(Method::DELETE, &format!("api-keys/{id}"))).await
    }

    /// Ends the session on the server, then removes the stored tokens.
    pub async fn sign_out(&self) -> Result<(), Error> {
        self.empty(self.auth(Method::POST, "sign-out")).await?;
        self.forget_session()
    }

    /// Removes the stored tokens without ending the session on the server.
    pub fn forget_session(&self) -> Result<(), Error> {
        self.sessions().save(None).map_err(Error::SessionStore)
    }

    /// Refreshes `session` and stores the new tokens. A lost answer is requested again at once:
    /// the server repeats it only for a few seconds, and later takes the use of the same token for
    /// theft.
    pub(crate) async fn refresh_session(&self, session: &Session) -> Result<Session, Error> {
        let body = Refresh { refresh_token: session.refresh_token.clone() };
        let refresh = || {
            let request = self.auth(Method::POST, "refresh").json(&body);
            self.public_json(request.timeout(REFRESH_TIMEOUT))
        };
        let may_be_lost = |error: &Error| match error {
            Error::ConnectionRefused(_) => false,
            // The answer was cut off, or a proxy answered.
            Error::UnexpectedResponse { .. } => true,
            error => error.is_transient(),
        };
        let again = ConstantBuilder::new().with_delay(REFRESH_DELAY).with_max_times(2);
        self.store(refresh.retry(again).when(may_be_lost).await?)
    }

    fn store(&self, tokens: Tokens) -> Result<Session, Error> {
        let session = Session {
            auth_url: self.auth_url().to_string(),
            login: tokens.user_name,
            access_token: tokens.auth_token,
            refresh_token: tokens.refresh_token,
        };
        self.sessions().save(Some(session.clone())).map_err(Error::SessionStore)?;
        Ok(session)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.auth(Method::POST, path).json(body);
        self.public_json(request.timeout(RESPONSE_TIMEOUT)).await
    }
}
