//! Listening sockets: opened, inherited from a service manager or from a predecessor, and handed on to a successor.
//!
//! Both kinds of inheritance speak systemd's protocol: `LISTEN_FDS` descriptors from 3 on, their names in `LISTEN_FDNAMES`.
//! A predecessor adds one that is no listener, named [`PREDECESSOR`]: over it the successor says that it serves.

use crate::server::StartError;
use headwater_config::Listen;
use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// `AF_UNIX` and `SOCK_STREAM`, as Linux numbers them.
const UNIX_STREAM: (i32, i32) = (1, 1);
/// The name of the descriptor on whose other end a predecessor waits.
pub const PREDECESSOR: &str = "headwater-predecessor";

/// What a listener is for. Its name is the key under `[listen]`, and a descriptor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Admin,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Admin => "admin",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Kind::Http, Kind::Https, Kind::Admin].into_iter().find(|kind| kind.name() == name)
    }
}

/// What an inherited listener says of itself.
#[derive(Clone, Copy, Debug)]
struct Label {
    /// `None`: its name says nothing, its address must.
    kind: Option<Kind>,
    address: SocketAddr,
    /// Takes IPv4 beside IPv6.
    dual: bool,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{} ({})", self.address, kind.name()),
            None => write!(f, "{}", self.address),
        }
    }
}

/// The descriptors that this process was started with.
#[derive(Default)]
pub struct Inherited {
    listeners: Vec<(Label, TcpListener)>,
    predecessor: Option<UnixStream>,
}

impl Inherited {
    /// Takes them from the environment, once: what it says of them is gone afterwards. To be called before any thread is
    /// started.
    ///
    /// # Errors
    /// [`StartError::Inherited`]: one of them is not what it should be.
    pub fn take() -> Result<Self, StartError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = ListenFd::from_env();
        let mut taken = Self::default();
        for index in 0..given.len() {
            let name = names.next().unwrap_or_default();
            let wrong = |what: &dyn fmt::Display| {
                StartError::Inherited(format!("descriptor {} (named {name:?}): {what}", index + 3))
            };
            if name == PREDECESSOR {
                let (family, kind) = UNIX_STREAM;
                taken.predecessor = given.take_custom(index, family, kind, "stream").map_err(|e| wrong(&e))?;
                continue;
            }
            let Some(listener) = given.take_tcp_listener(index).map_err(|e| wrong(&e))? else { continue };
            let socket = SockRef::from(&listener);
            if !socket.is_listener().map_err(|e| wrong(&e))? {
                return Err(wrong(&"it does not listen (a socket unit wants Accept=no)"));
            }
            listener.set_nonblocking(true).map_err(|e| wrong(&e))?;
            let address = listener.local_addr().map_err(|e| wrong(&e))?;
            let dual = address.ip() == Ipv6Addr::UNSPECIFIED && !socket.only_v6().map_err(|e| wrong(&e))?;
            taken.listeners.push((Label { kind: Kind::named(name), address, dual }, listener));
        }
        Ok(taken)
    }

    /// The line to the process whose place this one takes, if there is one.
    pub fn predecessor(&self) -> io::Result<Option<UnixStream>> {
        self.predecessor.as_ref().map(UnixStream::try_clone).transpose()
    }
}

/// The sockets a proxy listens on.
pub(crate) struct Sockets(Vec<(Kind, TcpListener)>);

impl Sockets {
    /// Takes what was inherited, and opens what is missing.
    pub fn open(listen: &Listen, inherited: Inherited) -> Result<Self, StartError> {
        let of = |kind, addresses: &[SocketAddr]| addresses.iter().map(|a| (kind, *a)).collect::<Vec<_>>();
        let wanted = [of(Kind::Http, &listen.http), of(Kind::Https, &listen.https), of(Kind::Admin, &[listen.admin])];
        let wanted = wanted.concat();
        let upgrade = inherited.predecessor.is_some();
        let labels: Vec<Label> = inherited.listeners.iter().map(|(label, _)| *label).collect();
        let places = places(&wanted, &labels, upgrade);
        let mut given: Vec<Option<TcpListener>> = inherited.listeners.into_iter().map(|(_, l)| Some(l)).collect();
        let mut open = Vec::new();
        for ((kind, address), place) in wanted.into_iter().zip(places) {
            let inherited = place.and_then(|place| given[place].take());
            open.push((kind, inherited.map_or_else(|| listen_on(address), Ok)?));
        }
        for (label, _) in labels.iter().zip(&given).filter(|(_, left)| left.is_some()) {
            if !upgrade {
                return Err(StartError::Inherited(format!(
                    "the service manager listens on {label}, and [listen] does not say so: write the address there, or \
                     take it out of the socket unit"
                )));
            }
            tracing::info!("{label} stands no longer in [listen]: given up");
        }
        Ok(Self(open))
    }

    /// Those for pulls, each with whether it speaks TLS.
    pub fn pulls(&self) -> io::Result<Vec<(TcpListener, bool)>> {
        let pulls = self.0.iter().filter(|(kind, _)| *kind != Kind::Admin);
        pulls.map(|(kind, listener)| Ok((listener.try_clone()?, *kind == Kind::Https))).collect()
    }

    /// The admin endpoint's.
    pub fn admin(&self) -> io::Result<TcpListener> {
        let admin = self.0.iter().find(|(kind, _)| *kind == Kind::Admin);
        admin.ok_or_else(|| io::Error::other("there is no admin endpoint"))?.1.try_clone()
    }

    /// Their names and descriptors, for a successor.
    pub fn named(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        self.0.iter().map(|(kind, listener)| Ok((kind.name(), listener.as_fd().try_clone_to_owned()?))).collect()
    }
}

/// For each address that is wanted, the inherited listener that serves it. The closest match goes first: the very address,
/// then one that stands for it. After an upgrade a listener may change its kind.
fn places(wanted: &[(Kind, SocketAddr)], given: &[Label], upgrade: bool) -> Vec<Option<usize>> {
    let same_kind = |kind: Kind, label: &Label| label.kind.is_none_or(|given| given == kind);
    // Port 0 is any port. `0.0.0.0` and `[::]` are one where the latter takes IPv4 too.
    let stands_for = |address: SocketAddr, label: &Label| {
        (address.port() == 0 && address.ip() == label.address.ip())
            || (label.dual && address.ip().is_unspecified() && address.port() == label.address.port())
    };
    let mut places = vec![None; wanted.len()];
    for round in 0..3 {
        for (index, &(kind, address)) in wanted.iter().enumerate() {
            if places[index].is_some() {
                continue;
            }
            places[index] = (0..given.len()).find(|place| {
                let label = &given[*place];
                !places.contains(&Some(*place))
                    && match round {
                        0 => same_kind(kind, label) && label.address == address,
                        1 => same_kind(kind, label) && stands_for(address, label),
                        _ => upgrade && label.address == address,
                    }
            });
        }
    }
    places
}

fn listen_on(address: SocketAddr) -> Result<TcpListener, StartError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| StartError::Listen { address, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Admin, Http, Https};

    fn wanted(all: &[(Kind, &str)]) -> Vec<(Kind, SocketAddr)> {
        all.iter().map(|(kind, address)| (*kind, address.parse().unwrap())).collect()
    }

    fn given(all: &[(Option<Kind>, &str)]) -> Vec<Label> {
        let label = |(kind, address): &(Option<Kind>, &str)| {
            let address: SocketAddr = address.parse().unwrap();
            Label { kind: *kind, address, dual: address.ip() == Ipv6Addr::UNSPECIFIED }
        };
        all.iter().map(label).collect()
    }

    #[test]
    fn the_very_address_goes_before_one_that_stands_for_it() {
        let wanted = wanted(&[(Http, "127.0.0.1:0"), (Http, "127.0.0.1:80"), (Admin, "127.0.0.1:0")]);
        let given = given(&[(Some(Http), "127.0.0.1:80"), (Some(Admin), "127.0.0.1:7"), (Some(Http), "127.0.0.1:9")]);
        assert_eq!(places(&wanted, &given, true), [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn what_has_no_name_is_known_by_its_address() {
        let wanted = wanted(&[(Http, "0.0.0.0:80"), (Https, "[::]:443"), (Admin, "127.0.0.1:9180")]);
        let given = given(&[(None, "[::]:443"), (None, "[::]:80")]);
        assert_eq!(places(&wanted, &given, false), [Some(1), Some(0), None]);
    }

    #[test]
    fn ipv4_alone_does_not_stand_for_both() {
        assert_eq!(places(&wanted(&[(Http, "[::]:80")]), &given(&[(None, "0.0.0.0:80")]), true), [None]);
    }

    #[test]
    fn a_listener_changes_its_kind_in_an_upgrade_alone() {
        let (wanted, given) = (wanted(&[(Https, "127.0.0.1:443")]), given(&[(Some(Http), "127.0.0.1:443")]));
        assert_eq!(places(&wanted, &given, true), [Some(0)]);
        assert_eq!(places(&wanted, &given, false), [None]);
    }
}
