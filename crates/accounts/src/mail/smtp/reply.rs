//! Replies of the server (RFC 5321 section 4.2).
//!
//! Only the code of a reply counts. Servers send texts in other encodings than UTF-8, omit
//! them, or end lines with a bare LF; none of that changes what a reply means.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Limits a reply with all its lines. Postfix and Exim send less than 4 KiB.
const MAX_REPLY_BYTES: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    /// The text of each line. Bytes that are not UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// Why a command has no positive reply.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The server rejected the command.
    Rejected(Reply),
    /// The server doesn't follow the protocol.
    Protocol(&'static str),
    Io(io::Error),
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Reply {
    /// Reads a reply of at most 64 KiB. After an error the rest of the reply may be unread.
    pub async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Self, CommandError> {
        let mut stream = stream.take(MAX_REPLY_BYTES);
        let (mut first_code, mut lines) = (None, Vec::new());
        loop {
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line).await?;
            if line.pop() != Some(b'\n') {
                let is_too_long = stream.limit() == 0;
                return Err(if is_too_long {
                    CommandError::Protocol("its reply is longer than 64 KiB")
                } else {
                    closed()
                });
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            match (split(&line), first_code) {
                (Some((code, b'-', text)), _) => {
                    first_code.get_or_insert(code);
                    lines.push(lossy(text));
                }
                // Like mail servers, the last line decides if codes differ.
                (Some((code, _, text)), _) => {
                    lines.push(lossy(text));
                    return Ok(Self { code, lines });
                }
                (None, Some(_)) => lines.push(lossy(&line)),
                (None, None) => return Err(CommandError::Protocol("its reply has no code")),
            }
        }
    }

    /// Returns the class of the reply, such as 2 for success and 5 for a permanent failure.
    pub fn class(&self) -> u16 {
        self.code / 100
    }
}

/// Returns the error for a connection that the server closed.
pub(super) fn closed() -> CommandError {
    io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection").into()
}

/// Splits a line into its code, the byte that says whether it is the last line, and its text.
fn split(line: &[u8]) -> Option<(u16, u8, &[u8])> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let is_code = matches!(code[0], b'2'..=b'5') && code.iter().all(u8::is_ascii_digit);
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    match rest.split_first() {
        _ if !is_code => None,
        None => Some((code, b' ', rest)),
        Some((separator @ (b' ' | b'\t' | b'-'), text)) => Some((code, *separator, text)),
        Some(_) => None,
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<Reply, CommandError> {
        Reply::read(&mut bytes).await
    }

    #[tokio::test]
    async fn only_the_code_counts() {
        for (bytes, code, lines) in [
            (&b"250 OK\r\n"[..], 250, vec!["OK"]),
            (b"250\r\n", 250, vec![""]),
            (b"250 \r\n", 250, vec![""]),
            (b"250\n", 250, vec![""]),
            (b"250\tOK\r\n", 250, vec!["OK"]),
            (b"220 caf\xe9\r\n", 220, vec!["caf\u{fffd}"]),
            (b"220 a\0b\rc\r\n", 220, vec!["a\0b\rc"]),
            (b"250-one\r\n250-\r\n250\r\n", 250, vec!["one", "", ""]),
            (b"250-one\nno code\n\n250 two\n", 250, vec!["one", "no code", "", "two"]),
            (b"250-accepted\r\n550 rejected\r\n", 550, vec!["accepted", "rejected"]),
            (b"550-5.7.1 no\r\n550 5.7.1 \xff\r\n", 550, vec!["5.7.1 no", "5.7.1 \u{fffd}"]),
        ] {
            let reply = read(bytes).await.expect("a reply");
            assert_eq!(
                (reply.code, reply.lines),
                (code, lines.into_iter().map(Into::into).collect())
            );
        }
    }

    #[tokio::test]
    async fn replies_without_a_code_are_errors() {
        for bytes in [
            &b"\r\n"[..],
            b"OK\r\n",
            b"25\r\n",
            b"2500 OK\r\n",
            b"250OK\r\n",
            b"150 wait\r\n",
            b"650 what\r\n",
            b"\xff\xfe\r\n",
        ] {
            assert!(matches!(read(bytes).await, Err(CommandError::Protocol(_))), "{bytes:?}");
        }
        for bytes in [&b""[..], b"250", b"250 OK", b"250-OK\r\n", b"250-one\r\n250 two"] {
            assert!(matches!(read(bytes).await, Err(CommandError::Io(_))), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn replies_are_bounded() {
        for part in [&b"x"[..], b"250-more\r\n", b"250 endless line "] {
            let mut stream = tokio::io::BufReader::new(Endless(part, 0));
            let error = Reply::read(&mut stream).await.expect_err("an error");
            let CommandError::Protocol(text) = error else { panic!("{error:?}") };
            assert!(text.contains("64 KiB"), "{text}");
            assert!(stream.get_ref().1 <= 80 * 1024, "{} bytes were read", stream.get_ref().1);
        }
    }

    /// Repeats bytes, and counts them.
    struct Endless(&'static [u8], usize);

    impl tokio::io::AsyncRead for Endless {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            buffer.put_slice(self.0);
            self.1 += self.0.len();
            std::task::Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            if let Ok(reply) = runtime.block_on(read(&bytes)) {
                prop_assert!((200..600).contains(&reply.code));
            }
        }
    }
}
