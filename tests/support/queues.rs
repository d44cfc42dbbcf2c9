//! What waits in the kernel on a TCP socket of this machine, by sock_diag(7): Linux answers for one socket in a few
//! microseconds, also for one that belongs to another process.

use std::io::{Read, Write};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;

thread_local! {
    static KERNEL: Socket = {
        let protocol = Protocol::from(NETLINK_SOCK_DIAG);
        Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(protocol)).expect("sock_diag(7)")
    };
}

/// The bytes that wait on one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Arrived, and not read by its owner.
    pub unread: u32,
    /// Written by its owner, and not arrived at the other end.
    pub unsent: u32,
}

/// The queues of the connected socket with these two addresses; `None`: there is none.
pub fn queues(local: SocketAddr, remote: SocketAddr) -> Option<Queues> {
    let mut answer = [0; 512];
    let count = KERNEL.with(|mut socket| {
        socket.write_all(&question(local, remote)).unwrap();
        socket.read(&mut answer).unwrap()
    });
    let word = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
    let kind = u16::from_ne_bytes(answer[4..6].try_into().unwrap());
    // inet_diag_msg behind 16 bytes of nlmsghdr: 4 bytes, 48 of inet_diag_sockid, expires, rqueue, wqueue.
    // Where there is no such connection the kernel answers for the socket that listens there: its peer's port is 0.
    let is_connected = answer[22..24] == remote.port().to_be_bytes();
    (kind == SOCK_DIAG_BY_FAMILY && count >= 80 && is_connected).then(|| Queues { unread: word(72), unsent: word(76) })
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut body = vec![AF_INET, IPPROTO_TCP, 0, 0];
    body.extend_from_slice(&u32::MAX.to_ne_bytes());
    body.extend_from_slice(&local.port().to_be_bytes());
    body.extend_from_slice(&remote.port().to_be_bytes());
    for address in [local, remote] {
        let SocketAddr::V4(address) = address else { panic!("an IPv4 socket: {address}") };
        body.extend_from_slice(&address.ip().octets());
        body.extend_from_slice(&[0; 12]);
    }
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&[0xff; 8]);
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&body);
    message
}
