use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection that gives out no more than one line at a time.
///
/// # Security
/// Whoever sits between us and the server can send more after the plain answer to STARTTLS. lettre reads into a buffer, which it keeps when the
/// encryption begins, and would take those lines for answers of the server: a mail that was never accepted would count as sent. Given out line by line
/// the rest reaches the TLS handshake instead, and ends it.
#[derive(Debug)]
pub(super) struct LineByLine(pub(super) TcpStream);

impl AsyncRead for LineByLine {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 1024];
        let mut peeked = ReadBuf::new(&mut bytes);
        let seen = ready!(self.0.poll_peek(cx, &mut peeked))?;
        let end_of_line = peeked.filled().iter().position(|byte| *byte == b'\n');
        let wanted = end_of_line
            .map_or(seen, |end| end + 1)
            .min(buffer.remaining());
        // Nothing seen is the end of the stream, and nothing given says so.
        let mut line = ReadBuf::new(&mut bytes[..wanted]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut line))?;
        buffer.put_slice(line.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineByLine {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineByLine {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}
