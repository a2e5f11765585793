//! Sockets that listen, as the kernel tells over `sock_diag(7)`. Unlike `/proc/net/tcp` that does not walk over the table of
//! connections, which takes some milliseconds on a host with much memory, however few there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// Most bytes of one datagram from the kernel, which fills 32 KiB at most.
const DATAGRAM_BYTES_MAX: usize = 32 << 10;
/// Most datagrams of one answer: some 200,000 sockets.
const DATAGRAMS_MAX: usize = 512;
/// Longest wait for the next datagram, which is there already.
const PATIENCE: Duration = Duration::from_secs(1);

/// `NLMSG_ERROR`, `NLMSG_DONE` and `SOCK_DIAG_BY_FAMILY`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `AF_INET` and `AF_INET6`, `IPPROTO_TCP`, and the bit of state `TCP_LISTEN`.
const FAMILIES: [u8; 2] = [2, 10];
const TCP: u8 = 6;
const LISTENING: u32 = 1 << 10;

/// Bytes of a message's header, of a question with its header, and of a socket in an answer.
const HEADER_BYTES: usize = 16;
const QUESTION_BYTES: usize = 72;
const SOCKET_BYTES: usize = 72;

/// Inode and local address of every TCP socket of this network that listens.
///
/// # Errors
///
/// When the kernel does not tell, or this process may not ask it.
pub(super) fn listening() -> Result<Vec<(u64, SocketAddr)>, Errno> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut found = Vec::new();
    for family in FAMILIES {
        send(&socket, &question(family), SendFlags::empty())?;
        answers(&socket, &mut found)?;
    }
    Ok(found)
}

fn question(family: u8) -> [u8; QUESTION_BYTES] {
    let mut bytes = [0; QUESTION_BYTES];
    let length = u32::try_from(QUESTION_BYTES).unwrap_or(0);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    bytes[HEADER_BYTES] = family;
    bytes[HEADER_BYTES + 1] = TCP;
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&LISTENING.to_ne_bytes());
    bytes
}

fn answers(socket: &OwnedFd, found: &mut Vec<(u64, SocketAddr)>) -> Result<(), Errno> {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    for _ in 0..DATAGRAMS_MAX {
        let (read, whole) = recv(socket, datagram.as_mut_slice(), RecvFlags::TRUNC)?;
        if whole > read {
            return Err(Errno::MSGSIZE);
        }
        if read_datagram(&datagram[..read], found)? {
            return Ok(());
        }
    }
    Err(Errno::OVERFLOW)
}

/// Adds the sockets of a datagram to `found`; whether it was the last one.
fn read_datagram(mut bytes: &[u8], found: &mut Vec<(u64, SocketAddr)>) -> Result<bool, Errno> {
    while let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let length = usize::try_from(u32::from_ne_bytes([header[0], header[1], header[2], header[3]])).unwrap_or(0);
        let message = bytes.get(HEADER_BYTES..length).ok_or(Errno::BADMSG)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Ok(true),
            ERROR => {
                let code = message.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(Errno::from_raw_os_error(code.saturating_neg().clamp(1, 4095)));
            }
            BY_FAMILY => found.extend(socket_of(message)),
            _ => {}
        }
        // Messages begin at multiples of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Inode and local address of the socket in `message`.
fn socket_of(message: &[u8]) -> Option<(u64, SocketAddr)> {
    let message = message.first_chunk::<SOCKET_BYTES>()?;
    let port = u16::from_be_bytes([message[4], message[5]]);
    let address: IpAddr = match message[0] {
        2 => Ipv4Addr::from(*message[8..].first_chunk::<4>()?).into(),
        10 => Ipv6Addr::from(*message[8..].first_chunk::<16>()?).into(),
        _ => return None,
    };
    let inode = u32::from_ne_bytes(*message[68..].first_chunk::<4>()?);
    Some((u64::from(inode), SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listeners_of_both_families_are_told() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every host has IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let local = listener.local_addr().expect("bound");
            // Nor does every kernel tell; the files do then.
            let Ok(found) = listening() else { continue };
            assert!(found.iter().any(|(inode, address)| *inode > 0 && *address == local), "{local}: {found:?}");
        }
    }

    #[test]
    fn connections_are_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let own = stream.local_addr().expect("connected");
        assert!(listening().unwrap_or_default().iter().all(|(_, address)| *address != own));
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("small");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn socket(family: u8, port: u16, address: &[u8], inode: u32) -> Vec<u8> {
        let mut body = vec![family, 10, 0, 0];
        body.extend(port.to_be_bytes());
        body.resize(8, 0);
        body.extend(address);
        body.resize(68, 0);
        body.extend(inode.to_ne_bytes());
        // The kernel may add attributes.
        body.extend([1; 3]);
        body
    }

    fn read(bytes: &[u8]) -> Result<(bool, Vec<(u64, SocketAddr)>), Errno> {
        let mut found = Vec::new();
        read_datagram(bytes, &mut found).map(|done| (done, found))
    }

    #[test]
    fn datagrams() {
        let mut bytes = message(BY_FAMILY, &socket(2, 80, &[127, 0, 0, 1], 7));
        bytes.extend(message(BY_FAMILY, &socket(10, 81, &Ipv6Addr::LOCALHOST.octets(), 8)));
        bytes.extend(message(BY_FAMILY, &socket(99, 82, &[], 9)));
        let want = vec![(7, "127.0.0.1:80".parse().expect("an address")), (8, "[::1]:81".parse().expect("an address"))];
        assert_eq!(read(&bytes), Ok((false, want.clone())));
        bytes.extend(message(DONE, &[0; 4]));
        assert_eq!(read(&bytes), Ok((true, want)));
        assert_eq!(read(&message(ERROR, &(-2_i32).to_ne_bytes())), Err(Errno::NOENT));
        assert_eq!(read(&[]), Ok((false, Vec::new())));
    }

    #[test]
    fn what_is_cut_or_forged_is_refused() {
        let whole = message(BY_FAMILY, &socket(2, 80, &[127, 0, 0, 1], 7));
        for end in HEADER_BYTES..whole.len() - 1 {
            assert_eq!(read(&whole[..end]), Err(Errno::BADMSG), "{end} bytes");
        }
        for length in [0_u32, 15, u32::MAX] {
            let mut forged = whole.clone();
            forged[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&forged), Err(Errno::BADMSG), "length {length}");
        }
        assert_eq!(read(&message(BY_FAMILY, &[2; 20])), Ok((false, Vec::new())), "too short for a socket");
        assert!(read(&message(ERROR, &i32::MIN.to_ne_bytes())).is_err());
        assert!(read(&message(ERROR, &[])).is_err());
    }
}
