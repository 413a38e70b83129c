//! The PROXY protocol, versions 1 and 2: a load balancer before us says who connected to it.
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use ppp::{v1, v2};
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1 that there can be (section 2.1).
const LONGEST_LINE: usize = 107;
/// What version 2 may say behind its first 16 bytes. Load balancers stay below 600.
const LONGEST_REST: usize = 4096;

/// Reads the header, and not a byte of what follows. `None`: the load balancer speaks for itself, or cannot say for whom.
///
/// # Errors
/// Whatever else the connection begins with, or its end.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    // The shortest header is longer than this, and the first bytes tell the versions apart.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > LONGEST_REST {
            return Err(refused("its header is too long"));
        }
        header.resize(16 + rest, 0);
        stream.read_exact(&mut header[16..]).await?;
        return version_2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(refused("it begins with something else"));
    }
    while !header.ends_with(b"\n") {
        let mut ahead = [0; LONGEST_LINE];
        let seen = stream.peek(&mut ahead[..LONGEST_LINE - header.len()]).await?;
        if seen == 0 {
            return Err(refused("its line does not end"));
        }
        let line = memchr::memchr(b'\n', &ahead[..seen]).map_or(seen, |at| at + 1);
        stream.read_exact(&mut ahead[..line]).await?;
        header.extend_from_slice(&ahead[..line]);
    }
    version_1(&header)
}

/// A header that is here as a whole.
#[cfg(feature = "micro")]
pub(crate) fn parse(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    if header.starts_with(SIGNATURE) { version_2(header) } else { version_1(header) }
}

fn version_1(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v1::Header::try_from(line).map_err(|_| refused("its line cannot be read"))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(found) => Some((found.source_address, found.source_port).into()),
        v1::Addresses::Tcp6(found) => Some((found.source_address, found.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn version_2(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v2::Header::try_from(header).map_err(|_| refused("its header cannot be read"))?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(found)) => Some((found.source_address, found.source_port).into()),
        (_, v2::Addresses::IPv6(found)) => Some((found.source_address, found.source_port).into()),
        (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn version_1_names_the_client_or_nobody() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n", Some("192.0.2.1:4711")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", Some("[2001:db8::1]:4711")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            assert_eq!(version_1(line.as_bytes()).unwrap(), expected.map(|text| text.parse().unwrap()), "{line}");
        }
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 4711 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 04711 80 x\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\n",
        ] {
            assert!(version_1(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    /// What is read from a connection that sends these pieces: the header, and all that is left behind it.
    fn read_from(pieces: &[&[u8]]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.set_nodelay(true).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let sending = async {
                for piece in pieces {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(client);
            };
            let reading = async {
                let told = read(&mut stream).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                (told, rest)
            };
            futures_util::future::join(sending, reading).await.1
        })
    }

    fn in_version_1(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
    }

    fn in_version_2(from: SocketAddr, to: SocketAddr, extensions: &[u8]) -> Vec<u8> {
        let mut addresses = Vec::new();
        let family = if from.is_ipv4() { 0x11 } else { 0x21 };
        for ip in [from.ip(), to.ip()] {
            match ip {
                std::net::IpAddr::V4(ip) => addresses.extend(ip.octets()),
                std::net::IpAddr::V6(ip) => addresses.extend(ip.octets()),
            }
        }
        addresses.extend(from.port().to_be_bytes());
        addresses.extend(to.port().to_be_bytes());
        if !extensions.is_empty() {
            addresses.extend([0x05, 0, extensions.len() as u8]);
            addresses.extend(extensions);
        }
        [SIGNATURE, &[0x21, family][..], &(addresses.len() as u16).to_be_bytes(), &addresses].concat()
    }

    fn address() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let ports = (1..=u16::MAX, 1..=u16::MAX);
        prop_oneof![
            (any::<[[u8; 4]; 2]>(), ports.clone()).prop_map(|([a, b], (p, q))| ((a, p).into(), (b, q).into())),
            (any::<[[u8; 16]; 2]>(), ports).prop_map(|([a, b], (p, q))| ((a, p).into(), (b, q).into())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn what_is_told_is_read_and_what_follows_is_not_touched(
            (from, to) in address(),
            second: bool,
            extensions in prop::collection::vec(any::<u8>(), 0..40),
            follows in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let header = if second { in_version_2(from, to, &extensions) } else { in_version_1(from, to) };
            let sent = [&header[..], &follows].concat();
            let mut marks: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len())).chain([0, sent.len()]).collect();
            marks.sort_unstable();
            let pieces: Vec<&[u8]> = marks.windows(2).map(|pair| &sent[pair[0]..pair[1]]).collect();
            let (told, rest) = read_from(&pieces);
            prop_assert_eq!(told.unwrap(), Some(from));
            prop_assert_eq!(rest, follows);
        }

        #[test]
        fn rubbish_is_never_a_panic(rubbish in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = version_1(&[b"PROXY ", &rubbish[..]].concat());
            let _ = version_2(&[&SIGNATURE[..], &rubbish].concat());
            let (_, _) = read_from(&[b"PROXY ", &rubbish]);
            let (_, _) = read_from(&[SIGNATURE, &rubbish]);
        }
    }
}
