//! Ending a connection so that its last answer arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// For how long what still comes is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of it, in bytes.
const MOST: usize = 16 << 20;
const PIECE: usize = 8 * 1024;

pin_project! {
    /// A stream that is not closed in the face of a client that still speaks. To close
    /// with bytes unread resets the connection, and then the client may never see the
    /// answer that was sent before, such as that its body is too large.
    pub(super) struct Lingering<S> {
        #[pin]
        stream: S,
        #[pin]
        patience: Option<Sleep>,
        dropped: usize,
    }
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, patience: None, dropped: 0 }
    }
}

impl<S: AsyncRead> AsyncRead for Lingering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for Lingering<S> {
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

    /// Says that nothing more comes from here, then listens for as long as the client
    /// speaks; one that is silent is left at once.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.patience.is_none() {
            ready!(this.stream.as_mut().poll_shutdown(context))?;
            this.patience.set(Some(sleep(PATIENCE)));
        }
        let mut piece = [0; PIECE];
        while *this.dropped < MOST {
            let mut buffer = ReadBuf::new(&mut piece);
            match this.stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *this.dropped += buffer.filled().len();
                }
                Poll::Pending if *this.dropped > 0 => {
                    let patience = this.patience.as_pin_mut();
                    return patience.map_or(Poll::Ready(()), |it| it.poll(context)).map(Ok);
                }
                // It has said everything, is gone, or was silent.
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
    async fn a_client_that_speaks_is_heard_out() {
        let (mut client, server) = duplex(1024);
        let mut server = Box::pin(Lingering::new(server));
        let speaking = tokio::spawn(async move {
            client.write_all(&vec![1; 100_000]).await.expect("heard");
            client.shutdown().await.expect("open");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("text");
            answer
        });
        let begin = Instant::now();
        server.write_all(b"too large").await.expect("written");
        // The client is in the middle of its speech.
        server.read_u8().await.expect("a byte");
        server.shutdown().await.expect("closed");
        drop(server);
        assert_eq!(speaking.await.expect("no panic"), "too large");
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_heard_for_long() {
        let (mut client, server) = duplex(1024);
        client.write_all(b"and then").await.expect("written");
        let begin = Instant::now();
        Box::pin(Lingering::new(server)).shutdown().await.expect("closed");
        assert_eq!(begin.elapsed(), PATIENCE);
        let (_client, server) = duplex(1024);
        Box::pin(Lingering::new(server)).shutdown().await.expect("closed");
        assert_eq!(begin.elapsed(), PATIENCE, "who is silent is left at once");
    }
}
