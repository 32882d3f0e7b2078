//! Auth's endpoints.

use miniapp_types::account::{
    Account, CodeSent, EmailVerified, Refresh, Register, Secret, SendCode, SignIn, TokenInfo,
    Tokens, Validate, VerifyEmail,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Session};

impl Client {
    /// Has a code sent to an e-mail address.
    pub async fn send_code(&self, email: &str) -> Result<CodeSent, ClientError> {
        self.post("send-verification-code", &SendCode { email: email.to_owned() }).await
    }

    /// Confirms the address with the code.
    pub async fn verify_email(
        &self,
        email: &str,
        code: &str,
    ) -> Result<EmailVerified, ClientError> {
        let body = VerifyEmail { email: email.to_owned(), code: Secret::new(code) };
        self.post("verify-email", &body).await
    }

    /// Makes an account.
    pub async fn register(&self, account: &Register) -> Result<Account, ClientError> {
        self.post("register", account).await
    }

    /// Signs in and keeps the tokens.
    pub async fn sign_in(&self, login: &str, password: Secret) -> Result<Session, ClientError> {
        let body = SignIn::Password { login: login.to_owned(), password };
        let tokens = self.post("sign-in", &body).await?;
        self.keep(tokens)
    }

    /// Gets the session new tokens, though the old ones may still be good.
    pub async fn renew(&self) -> Result<Session, ClientError> {
        let _turn = self.sessions.turn().await?;
        let session = self.session().ok_or_else(|| self.signed_out())?;
        self.refresh(&session).await
    }

    /// What the access token says.
    pub async fn token_info(&self) -> Result<TokenInfo, ClientError> {
        let session = self.session().ok_or_else(|| self.signed_out())?;
        self.post("validate", &Validate { token: session.access }).await
    }

    /// Ends the session at the platform and forgets its tokens.
    pub async fn sign_out(&self) -> Result<(), ClientError> {
        self.tell(self.auth(Method::POST, "sign-out")).await?;
        self.forget()
    }

    /// Forgets the tokens.
    pub fn forget(&self) -> Result<(), ClientError> {
        self.sessions.keep(None)
    }

    /// Gets the session new tokens and keeps them.
    pub(super) async fn refresh(&self, session: &Session) -> Result<Session, ClientError> {
        let body = Refresh { refresh_token: session.refresh.clone() };
        let tokens = self.post("refresh", &body).await?;
        self.keep(tokens)
    }

    fn keep(&self, tokens: Tokens) -> Result<Session, ClientError> {
        let session = Session {
            auth: self.endpoints.auth.to_string(),
            login: tokens.user_name,
            access: tokens.auth_token,
            refresh: tokens.refresh_token,
        };
        self.sessions.keep(Some(session.clone()))?;
        Ok(session)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask_openly(self.auth(Method::POST, path).json(body)).await
    }
}
