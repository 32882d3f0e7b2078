//! A connection to the server: the part of SMTP that sending mail needs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::error::{SmtpError, Stage};
use super::message::Message;
use super::reply::{CommandError, Reply, closed};
use super::server::{Credentials, Server, Tls};
use super::tls::TlsSettings;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    extensions: Extensions,
    /// Whether the replies to all commands were read.
    is_in_step: bool,
}

/// What the server offers, from its reply to EHLO.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extensions {
    starttls: bool,
    smtputf8: bool,
    auth: Option<Mechanism>,
}

/// How to authenticate, from worse to better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mechanism {
    Login,
    Plain,
}

impl Connection {
    /// Connects, starts TLS and authenticates, as `server` says.
    pub async fn open(server: &Server, hello: &str) -> Result<Self, SmtpError> {
        let connected = Self::connect(server, hello).await;
        let mut connection = connected.map_err(|error| SmtpError::connect(server, &error))?;
        match &server.tls {
            Tls::Required(_) if !connection.extensions.starttls => {
                return Err(SmtpError::starttls_missing(server));
            }
            Tls::Required(tls) | Tls::Opportunistic(tls) if connection.extensions.starttls => {
                let secured = connection.start_tls(tls, hello).await;
                connection = secured.map_err(|error| SmtpError::tls(server, &error))?;
            }
            _ => {}
        }
        if let Some(credentials) = &server.credentials {
            connection.authenticate(server, credentials).await?;
        }
        Ok(connection)
    }

    async fn connect(server: &Server, hello: &str) -> Result<Self, CommandError> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = match &server.tls {
            Tls::Implicit(tls) => Self::new(tls.connect(stream).await?),
            _ => Self::new(stream),
        };
        connection.reply(2).await?;
        connection.hello(hello).await?;
        Ok(connection)
    }

    fn new(stream: impl Stream + 'static) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (stream, extensions) = (BufReader::new(stream), Extensions::default());
        Self { stream, extensions, is_in_step: true }
    }

    async fn hello(&mut self, name: &str) -> Result<(), CommandError> {
        let reply = self.command(&format!("EHLO {name}"), 2).await?;
        self.extensions = Extensions::read(&reply);
        Ok(())
    }

    async fn start_tls(mut self, tls: &TlsSettings, hello: &str) -> Result<Self, CommandError> {
        self.command("STARTTLS", 2).await?;
        // Anything that follows the reply could come from a third party, and would be taken
        // for replies that were encrypted.
        self.expect_silence()?;
        let mut connection = Self::new(tls.connect(self.stream.into_inner()).await?);
        connection.hello(hello).await?;
        Ok(connection)
    }

    async fn authenticate(
        &mut self,
        server: &Server,
        credentials: &Credentials,
    ) -> Result<(), SmtpError> {
        let Credentials { user, password } = credentials;
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let authenticated = match self.extensions.auth {
            Some(Mechanism::Plain) => {
                let response = encode(&format!("\0{user}\0{password}"));
                self.command(&format!("AUTH PLAIN {response}"), 2).await
            }
            // Prompts differ between servers, but not their order.
            Some(Mechanism::Login) => {
                async {
                    self.command("AUTH LOGIN", 3).await?;
                    self.command(&encode(user), 3).await?;
                    self.command(&encode(password), 2).await
                }
                .await
            }
            None => return Err(SmtpError::auth_unsupported(server)),
        };
        authenticated.map(drop).map_err(|error| SmtpError::auth(server, &error))
    }

    /// Hands a mail over. On success the server is responsible for it.
    pub async fn deliver(&mut self, server: &Server, message: &Message) -> Result<(), SmtpError> {
        let failed = |stage| move |error| SmtpError::delivery(server, stage, &error);
        let mut parameters = "";
        if message.is_international() {
            if !self.extensions.smtputf8 {
                return Err(SmtpError::smtputf8_missing(server));
            }
            parameters = " SMTPUTF8 BODY=8BITMIME";
        }
        let Message { from, to, bytes } = message;
        let from = format!("MAIL FROM:<{from}>{parameters}");
        self.command(&from, 2).await.map_err(failed(Stage::Sender))?;
        let to = format!("RCPT TO:<{to}>");
        self.command(&to, 2).await.map_err(failed(Stage::Recipient))?;
        self.command("DATA", 3).await.map_err(failed(Stage::Content))?;
        self.send(&content(bytes), 2).await.map_err(failed(Stage::Content))?;
        Ok(())
    }

    /// Resets the connection after a rejected mail. Returns whether it can be used again.
    pub async fn reset(&mut self) -> bool {
        self.command("RSET", 2).await.is_ok()
    }

    /// Returns whether the server still responds.
    pub async fn is_alive(&mut self) -> bool {
        self.command("NOOP", 2).await.is_ok()
    }

    async fn command(&mut self, line: &str, class: u16) -> Result<Reply, CommandError> {
        self.expect_silence()?;
        self.send(format!("{line}\r\n").as_bytes(), class).await
    }

    /// Sends `bytes` and returns the reply, which must be of `class`. If this fails other than
    /// by a rejection, or is cancelled, the connection can't be used again.
    async fn send(&mut self, bytes: &[u8], class: u16) -> Result<Reply, CommandError> {
        if !self.is_in_step {
            return Err(CommandError::Protocol("its last reply is incomplete"));
        }
        self.is_in_step = false;
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        let reply = self.reply(class).await;
        self.is_in_step = matches!(reply, Ok(_) | Err(CommandError::Rejected(_)));
        reply
    }

    async fn reply(&mut self, class: u16) -> Result<Reply, CommandError> {
        let reply = Reply::read(&mut self.stream).await?;
        match reply.class() {
            actual if actual == class => Ok(reply),
            4 | 5 => Err(CommandError::Rejected(reply)),
            _ => Err(CommandError::Protocol("its reply doesn't belong to the command")),
        }
    }

    /// Fails if the server has sent something without a command: its replies would be
    /// attributed to the wrong commands from then on.
    fn expect_silence(&mut self) -> Result<(), CommandError> {
        match self.stream.fill_buf().now_or_never() {
            None => Ok(()),
            Some(Ok([])) => Err(closed()),
            Some(Ok(_)) => Err(CommandError::Protocol("it sent a reply without a command")),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

impl Extensions {
    fn read(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        // The first line is the name of the server.
        for line in reply.lines.iter().skip(1) {
            // The oldest servers write AUTH=LOGIN.
            let mut words = line.split([' ', '\t', '=']).map(str::to_ascii_uppercase);
            match words.next().unwrap_or_default().as_str() {
                "STARTTLS" => extensions.starttls = true,
                "SMTPUTF8" => extensions.smtputf8 = true,
                "AUTH" => {
                    let mechanisms = words.filter_map(|word| match word.as_str() {
                        "PLAIN" => Some(Mechanism::Plain),
                        "LOGIN" => Some(Mechanism::Login),
                        _ => None,
                    });
                    extensions.auth = extensions.auth.max(mechanisms.max());
                }
                _ => {}
            }
        }
        extensions
    }
}

/// Returns a mail as the server expects it after DATA: dots at the beginning of lines are
/// doubled, and a line with a dot ends it.
fn content(mail: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(mail.len() + mail.len() / 64 + 5);
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            content.push(b'.');
        }
        content.extend_from_slice(line);
    }
    if !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled() {
        for (mail, expected) in [
            (&b""[..], &b"\r\n.\r\n"[..]),
            (b"Hello\r\n", b"Hello\r\n.\r\n"),
            (b"Hello", b"Hello\r\n.\r\n"),
            (b".\r\n..\r\na.b\r\n.c\r\n", b"..\r\n...\r\na.b\r\n..c\r\n.\r\n"),
        ] {
            assert_eq!(content(mail), expected, "{mail:?}");
        }
    }

    #[test]
    fn extensions_are_read_in_any_case() {
        let read = |lines: &[&str]| {
            let lines = lines.iter().copied().map(str::to_owned).collect();
            Extensions::read(&Reply { code: 250, lines })
        };
        let auth = Some(Mechanism::Plain);
        let all = Extensions { starttls: true, smtputf8: true, auth };
        assert_eq!(read(&["mx", "STARTTLS", "SMTPUTF8", "AUTH PLAIN LOGIN"]), all);
        assert_eq!(read(&["mx", "starttls", "SmtpUtf8", "auth=plain", "AUTH\tLogin"]), all);
        let login = Extensions { auth: Some(Mechanism::Login), ..Extensions::default() };
        assert_eq!(read(&["mx", "AUTH XOAUTH2 LOGIN"]), login);
        assert_eq!(read(&["STARTTLS"]), Extensions::default());
        assert_eq!(read(&["mx", "", "STARTTLSX", "X STARTTLS"]), Extensions::default());
    }
}
