//! One connection: the part of RFC 5321 that clients use.

use std::future::pending;
use std::io::{Error, Result};
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::mail::Envelope;
use super::{Encryption, Fault, PASSWORD, ReceivedMail, Stage, State, USER};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session<'a> {
    stream: BufReader<Box<dyn Stream>>,
    state: &'a State,
    envelope: Envelope,
}

pub(super) async fn serve(stream: TcpStream, state: &State) -> Result<()> {
    let is_encrypted = state.options.encryption == Encryption::Implicit;
    let stream: Box<dyn Stream> =
        if is_encrypted { Box::new(state.tls.accept(stream).await?) } else { Box::new(stream) };
    let envelope = Envelope { is_encrypted, ..Envelope::default() };
    let mut session = Session { stream: BufReader::new(stream), state, envelope };
    session.reply_at(Stage::Connect, "220 localhost ESMTP").await?;
    while let Some(line) = session.line().await? {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => session.hello().await?,
            "STARTTLS" => session = session.start_tls().await?,
            "AUTH" => session.auth(rest).await?,
            "MAIL" => session.sender(rest).await?,
            "RCPT" => session.recipient(rest).await?,
            "DATA" => session.content().await?,
            "RSET" => {
                session.reset();
                session.reply("250 OK").await?;
            }
            "NOOP" => session.reply("250 OK").await?,
            "QUIT" => return session.reply("221 bye").await,
            _ => session.reply("500 unknown command").await?,
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).await?;
        if length > 0 && !line.ends_with("\r\n") {
            return Err(Error::other("an unterminated line"));
        }
        Ok((length > 0).then(|| line.trim_end_matches("\r\n").to_owned()))
    }

    async fn reply(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// Replies with `line`, or with the fault at this stage. Returns whether the command was
    /// accepted.
    async fn reply_at(&mut self, stage: Stage, line: &str) -> Result<bool> {
        match self.state.fault(stage) {
            None => self.reply(line).await.map(|()| true),
            Some(Fault::Reply(fault)) => self.reply(fault).await.map(|()| false),
            Some(Fault::Bytes(bytes)) => {
                self.stream.write_all(bytes).await?;
                self.stream.flush().await.map(|()| true)
            }
            Some(Fault::Endless(bytes)) => loop {
                self.stream.write_all(bytes).await?;
            },
            Some(Fault::Hang) => pending().await,
            Some(Fault::HangUp) => Err(Error::other("a planned disconnect")),
        }
    }

    async fn hello(&mut self) -> Result<()> {
        let options = &self.state.options;
        let mut lines = vec!["localhost".to_owned(), "8BITMIME".to_owned()];
        if options.encryption == Encryption::StartTls && !self.envelope.is_encrypted {
            lines.push("STARTTLS".to_owned());
        }
        if !options.mechanisms.is_empty() {
            lines.push(format!("AUTH {}", options.mechanisms));
        }
        if options.smtputf8 {
            lines.push("SMTPUTF8".to_owned());
        }
        let lines: Vec<String> = lines.iter().map(|line| format!("250-{line}")).collect();
        let reply = format!("{}\r\n250 HELP", lines.join("\r\n"));
        self.reply_at(Stage::Hello, &reply).await?;
        Ok(())
    }

    async fn start_tls(mut self) -> Result<Self> {
        if !self.reply_at(Stage::StartTls, "220 ready").await? {
            return Ok(self);
        }
        let stream = self.state.tls.accept(self.stream.into_inner()).await?;
        let envelope = Envelope { is_encrypted: true, ..Envelope::default() };
        let stream: Box<dyn Stream> = Box::new(stream);
        Ok(Session { stream: BufReader::new(stream), state: self.state, envelope })
    }

    async fn auth(&mut self, request: &str) -> Result<()> {
        self.state.auth_attempts.fetch_add(1, Ordering::SeqCst);
        let (mechanism, initial) = request.split_once(' ').unwrap_or((request, ""));
        if !self.state.options.mechanisms.split(' ').any(|offered| offered == mechanism) {
            return self.reply("504 mechanism not supported").await;
        }
        let (user, password) = if mechanism == "LOGIN" {
            (self.prompt("Username:").await?, self.prompt("Password:").await?)
        } else {
            let plain = decoded(initial)?;
            let mut fields = plain.split('\0').skip(1).map(str::to_owned);
            (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
        };
        if (user.as_str(), password.as_str()) == (USER, PASSWORD) {
            self.envelope.user = Some(user);
            self.reply_at(Stage::Auth, "235 authenticated").await?;
            Ok(())
        } else {
            self.reply(&format!("535 5.7.8 {user} rejected with password {password}")).await
        }
    }

    async fn prompt(&mut self, what: &str) -> Result<String> {
        self.reply_at(Stage::Prompt, &format!("334 {}", BASE64_STANDARD.encode(what))).await?;
        decoded(&self.line().await?.unwrap_or_default())
    }

    async fn sender(&mut self, request: &str) -> Result<()> {
        let needs_user = !self.state.options.mechanisms.is_empty();
        if needs_user && self.envelope.user.is_none() {
            return self.reply("530 5.7.0 sign in first").await;
        }
        if self.reply_at(Stage::Sender, "250 OK").await? {
            self.envelope.sender = bracketed(request)?;
        }
        Ok(())
    }

    async fn recipient(&mut self, request: &str) -> Result<()> {
        if self.reply_at(Stage::Recipient, "250 OK").await? {
            self.envelope.recipients.push(bracketed(request)?);
        }
        Ok(())
    }

    async fn content(&mut self) -> Result<()> {
        if self.envelope.recipients.is_empty() {
            return self.reply("503 no recipients").await;
        }
        if !self.reply_at(Stage::Data, "354 send the mail").await? {
            return Ok(());
        }
        let mut raw = String::new();
        loop {
            let line = self.line().await?.ok_or_else(|| Error::other("an incomplete mail"))?;
            if line == "." {
                break;
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
        }
        if matches!(self.state.fault(Stage::Content), None | Some(Fault::Bytes(_) | Fault::HangUp))
        {
            let mail = ReceivedMail::read(self.envelope.clone(), raw);
            self.state.mails.lock().push(mail.ok_or_else(|| Error::other("not a mail"))?);
        }
        self.reset();
        self.reply_at(Stage::Content, "250 queued").await?;
        Ok(())
    }

    fn reset(&mut self) {
        self.envelope.sender.clear();
        self.envelope.recipients.clear();
    }
}

fn bracketed(request: &str) -> Result<String> {
    let inside = request.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map(|(address, _)| address.to_owned()).ok_or_else(|| Error::other("not an address"))
}

fn decoded(text: &str) -> Result<String> {
    let bytes = BASE64_STANDARD.decode(text).map_err(Error::other)?;
    String::from_utf8(bytes).map_err(Error::other)
}
