//! A connection whose client must read what it asked for, and in time.
//!
//! Why: a client that asks again and again and never reads would hold its place among the connections for ever, and
//! the probes of Kubernetes need one too. Not here: how many places there are (`serve`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The time in which a client must take all that waits for it: who takes a byte now and then keeps the memory of it too.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A stream that ends with an error when not all of what is written is taken within [`WRITE_TIMEOUT`].
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    /// Since something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Nothing waits yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        let begin = || Box::pin(tokio::time::sleep(WRITE_TIMEOUT));
        let stalled = self.stalled.get_or_insert_with(begin);
        stalled.as_mut().poll(context).map(|()| {
            let why = "the client does not read what it asked for";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(context, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        if polled.is_ready() {
            // Whoever writes here flushes when nothing is left to be written.
            this.stalled = None;
        }
        this.bounded(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.bounded(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_takes_too_long_or_reads_nothing_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut stream = Patient::new(ours);
        let reads = async {
            for _ in 0..3 * 9 {
                tokio::time::sleep(WRITE_TIMEOUT / 10).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let writes = async {
            for _ in 0..3 {
                stream.write_all(b"nine byte").await.unwrap();
                stream.flush().await.unwrap();
            }
        };
        tokio::join!(writes, reads);
        let reads = async {
            while theirs.read_u8().await.is_ok() {
                tokio::time::sleep(WRITE_TIMEOUT / 10).await;
            }
        };
        let written = tokio::select! {
            written = stream.write_all(&[b'x'; 20]) => written,
            () = reads => Ok(()),
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (ours, theirs) = tokio::io::duplex(1);
        let mut stream = Patient::new(ours);
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }
}
