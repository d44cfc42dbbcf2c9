//! Descriptors that one process gives another over a unix socket: SCM_RIGHTS of unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The most descriptors of one message: more than a gateway can listen on, and less than the kernel passes (253).
pub const MOST: usize = 128;

/// The longest line.
const LONGEST_LINE: usize = 16 << 10;

/// Sends one line, and these descriptors with it.
///
/// # Errors
/// What the system says; a line or a list that is too long.
pub async fn send(stream: &UnixStream, line: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if line.len() >= LONGEST_LINE || descriptors.len() > MOST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let line = format!("{line}\n");
    let sent = stream.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(sendmsg(stream, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::NOSIGNAL)?)
    });
    // A line fits into the buffer of a socket on which each line is answered.
    if sent.await? == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one line, and the descriptors that came with it.
///
/// # Errors
/// What the system says; the end of the stream; a line that is too long or no text.
pub async fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let read = stream.async_io(Interest::READABLE, || {
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let told = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(came) = message {
                    descriptors.extend(came);
                }
            }
            line.extend_from_slice(bytes.get(..told.bytes).unwrap_or_default());
            Ok(told.bytes)
        });
        if read.await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() > LONGEST_LINE || descriptors.len() > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let line = String::from_utf8(line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((line.trim_end().to_owned(), descriptors))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn op02_a_listener_goes_from_one_end_to_the_other() {
        let (giver, taker) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send(&giver, "one", &[listener.as_fd()]).await.unwrap();
        drop(listener);
        let (line, mut came) = receive(&taker).await.unwrap();
        assert_eq!((line.as_str(), came.len()), ("one", 1));
        let listener = std::net::TcpListener::from(came.remove(0));
        assert_eq!(listener.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).expect("it was listened on all the time");
        send(&taker, "yours", &[]).await.unwrap();
        assert!(receive(&giver).await.unwrap().1.is_empty(), "the twin: a line alone");
        send(&giver, &"x".repeat(LONGEST_LINE), &[]).await.expect_err("a line that is too long");
        drop(taker);
        assert_eq!(receive(&giver).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
