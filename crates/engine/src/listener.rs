//! Listening sockets and the addresses that their connections have.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, sockopt};

use crate::load::Turns;

#[cfg(target_os = "linux")]
use crate::ffi::fd;
#[cfg(target_os = "linux")]
use crate::settings::KERNEL_UNSENT_BYTES_MAX;
use crate::tls::Tls;

/// An address as ASGI shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Inet(SocketAddr),
    /// The path of a Unix socket.
    Unix(Option<Vec<u8>>),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(formatter),
            Self::Unix(_) => formatter.write_str("a Unix socket"),
        }
    }
}

/// How an attempt to accept ended.
#[derive(Debug)]
pub enum Accepted {
    Connection(OwnedFd, Address),
    /// Nobody waits.
    Empty,
    /// That connection is gone already; there may be others.
    Gone,
    /// Descriptors or memory have run out.
    Exhausted,
    /// The listener cannot be used now.
    Failed(io::Error),
}

/// A bound, listening stream socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    pub address: Address,
    /// What secures its connections.
    pub tls: Option<Rc<Tls>>,
    /// There may be somebody waiting.
    pub readable: bool,
    /// Descriptors have run out; until a timer says otherwise, trying is of no use.
    pub is_resting: bool,
    /// Whose turn it is to accept, where processes share it.
    pub turns: Turns,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Takes a listening socket over, and makes it one that does not block.
    pub fn new(socket: OwnedFd, tls: Option<Rc<Tls>>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let address = address(&rustix::net::getsockname(&socket)?);
        // An urgent byte is a byte like any other to HTTP.
        sockopt::set_socket_oobinline(&socket, true)?;
        if matches!(address, Address::Inet(_)) {
            // Linux hands both down to the connections; others get the first again in `accept`.
            sockopt::set_tcp_nodelay(&socket, true)?;
            #[cfg(target_os = "linux")]
            fd::set_unsent_bytes_max(&socket, KERNEL_UNSENT_BYTES_MAX)?;
        }
        let turns = Turns::default();
        Ok(Self { socket, address, tls, readable: true, is_resting: false, turns })
    }

    pub fn accept(&mut self) -> Accepted {
        match accept(&self.socket) {
            Ok((socket, peer)) => {
                #[cfg(not(target_os = "linux"))]
                if matches!(self.address, Address::Inet(_)) {
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                }
                Accepted::Connection(socket, peer.as_ref().map_or(Address::Unix(None), address))
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Accepted::Empty
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Exhausted,
            // accept(2): errors of the connection that was waiting.
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT,
            ) => Accepted::Gone,
            Err(error) => Accepted::Failed(error.into()),
        }
    }

    /// The address that a client reached, which for a wildcard differs by connection.
    pub fn local_address(&self, connection: &impl AsFd) -> Address {
        match &self.address {
            Address::Inet(bound) if bound.ip().is_unspecified() => {
                rustix::net::getsockname(connection)
                    .map_or_else(|_| self.address.clone(), |a| address(&a))
            }
            bound => bound.clone(),
        }
    }
}

#[cfg(target_os = "linux")]
fn accept(socket: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    use rustix::net::SocketFlags;
    rustix::net::acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
}

#[cfg(not(target_os = "linux"))]
fn accept(socket: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    let (connection, peer) = rustix::net::acceptfrom(socket)?;
    rustix::io::ioctl_fionbio(&connection, true)?;
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)?;
    Ok((connection, peer))
}

fn address(any: &SocketAddrAny) -> Address {
    match SocketAddr::try_from(any.clone()) {
        Ok(address) => Address::Inet(address),
        Err(_) => Address::Unix(
            rustix::net::SocketAddrUnix::try_from(any.clone())
                .ok()
                .and_then(|unix| unix.path_bytes().map(<[u8]>::to_vec)),
        ),
    }
}
