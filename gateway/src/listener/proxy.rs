//! The header of the PROXY protocol, versions 1 and 2, with which a proxy begins a connection. Not a byte more is read.

use std::{io, net::IpAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 before its addresses; the last two tell how many follow.
const FIXED: usize = 16;
/// The longest header of version 2 that is read. It may tell more of the connection than addresses.
const MOST: usize = 4096;
/// What begins a header of version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest header of version 1.
const LINE: usize = 107;

/// Whom the connection is made for; none when the proxy speaks for itself or does not tell.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        socket.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let length = FIXED + usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if length > MOST {
            return Err(broken());
        }
        header.resize(length, 0);
        socket.read_exact(&mut header[FIXED..]).await?;
    } else if header.starts_with(WORD) {
        while header.last() != Some(&b'\n') {
            let mut rest = [0; LINE];
            let room = LINE.checked_sub(header.len()).filter(|room| *room > 0).ok_or_else(broken)?;
            let seen = socket.peek(&mut rest[..room]).await?;
            let taken = memchr::memchr(b'\n', &rest[..seen]).map_or(seen, |end| end + 1);
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            socket.read_exact(&mut rest[..taken]).await?;
            header.extend_from_slice(&rest[..taken]);
        }
    } else {
        return Err(broken());
    }
    let (header, _) = ProxyHeader::parse(&header, ParseConfig { include_tlvs: false, ..ParseConfig::default() }).map_err(|_| broken())?;
    Ok(header.proxied_address().map(|addresses| addresses.source.ip().to_canonical()))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no header of the PROXY protocol")
}
