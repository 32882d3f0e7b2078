//! Closing a connection without losing the last response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long unread data is drained.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_DRAINED: usize = 16 << 20;
const BUFFER_SIZE: usize = 8 * 1024;

pin_project! {
    /// A stream whose shutdown drains what the client is still sending. Closing with unread
    /// data sends RST, and the client would lose the response before it, such as a 413 for
    /// the body that it is sending.
    pub(crate) struct LingeringClose<S> {
        #[pin]
        stream: S,
        #[pin]
        deadline: Option<Sleep>,
        drained: usize,
    }
}

impl<S> LingeringClose<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, deadline: None, drained: 0 }
    }
}

impl<S: AsyncRead> AsyncRead for LingeringClose<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for LingeringClose<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(context)
    }

    /// Shuts down the write side, then drains. A client that is not sending is not waited for.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.deadline.is_none() {
            ready!(this.stream.as_mut().poll_shutdown(context))?;
            this.deadline.set(Some(sleep(DRAIN_TIMEOUT)));
        }
        let mut buffer = [0; BUFFER_SIZE];
        while *this.drained < MAX_DRAINED {
            let mut buffer = ReadBuf::new(&mut buffer);
            match this.stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *this.drained += buffer.filled().len();
                }
                Poll::Pending if *this.drained > 0 => {
                    let deadline = this.deadline.as_pin_mut();
                    return deadline.map_or(Poll::Ready(()), |it| it.poll(context)).map(Ok);
                }
                // The client has ended its side, is gone, or was not sending.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shutdown_drains_a_sending_client() {
        let (mut client, server) = duplex(1024);
        let mut server = Box::pin(LingeringClose::new(server));
        let sending = tokio::spawn(async move {
            client.write_all(&vec![1; 100_000]).await.expect("drained");
            client.shutdown().await.expect("open");
            let mut response = String::new();
            client.read_to_string(&mut response).await.expect("text");
            response
        });
        let begin = Instant::now();
        server.write_all(b"too large").await.expect("written");
        server.read_u8().await.expect("a byte");
        server.shutdown().await.expect("closed");
        drop(server);
        assert_eq!(sending.await.expect("no panic"), "too large");
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_stops_draining_at_the_timeout() {
        let (mut client, server) = duplex(1024);
        client.write_all(b"and then").await.expect("written");
        let begin = Instant::now();
        Box::pin(LingeringClose::new(server)).shutdown().await.expect("closed");
        assert_eq!(begin.elapsed(), DRAIN_TIMEOUT);
        let (_client, server) = duplex(1024);
        Box::pin(LingeringClose::new(server)).shutdown().await.expect("closed");
        assert_eq!(begin.elapsed(), DRAIN_TIMEOUT, "a silent client is not waited for");
    }
}
