//! Which node has which slot, as a node of the cluster says. What it says is a hint: a node that is asked for a slot that
//! is not its own says whose it is.

use bytes::BytesMut;
use dbx_crds::config::Host;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::SLOTS;
use crate::{
    backend::redis::{
        Endpoint,
        greeting::{self, Refused},
        stream,
    },
    error::Code,
    resp::{self, Item, Malformed, Reader},
};

/// The primaries, and for each slot which of them has it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backend::redis) struct Topology {
    pub(in crate::backend::redis) primaries: Vec<Host>,
    /// Those of each primary, in the same order.
    pub(super) replicas: Vec<Vec<Host>>,
    /// By slot; beyond the end of `primaries` where nobody has it.
    pub(in crate::backend::redis) slots: Box<[u16]>,
}

/// Nobody has the slot.
pub(super) const NOBODY: u16 = u16::MAX;

/// Asks a node.
pub(in crate::backend::redis) async fn ask(endpoint: &Endpoint, node: &Host, deadline: Instant) -> Result<Topology, Refused> {
    let mut stream = stream::tcp(node, endpoint.tls.as_ref(), deadline).await?;
    let mut out = BytesMut::new();
    let log_in = greeting::log_in(&endpoint.credentials, &mut out)?;
    resp::write_command(&mut out, &[b"CLUSTER", b"SLOTS"]);
    stream.write_all(&out).await.map_err(greeting::lost)?;
    stream.flush().await.map_err(greeting::lost)?;
    let mut input = BytesMut::new();
    if let Some(step) = log_in {
        step.check(&greeting::frame(&mut stream, &mut input).await?)?;
    }
    let frame = greeting::frame(&mut stream, &mut input).await?;
    if let Ok(Item::Error(line)) = Reader::new(&frame).read() {
        let message = String::from_utf8_lossy(line).into_owned();
        return Err(Refused::new(Code::Unavailable, "the database does not say which node has which key", message));
    }
    read(&frame, node).map_err(|Malformed| Refused::new(Code::BackendError, "the database broke its protocol", "not a cluster's slots"))
}

/// Reads `[[first, last, [host, port, …], replica…], …]`.
fn read(frame: &[u8], asked: &Host) -> Result<Topology, Malformed> {
    let mut topology = Topology { primaries: Vec::new(), replicas: Vec::new(), slots: vec![NOBODY; SLOTS].into() };
    let mut reader = Reader::new(frame);
    for _ in 0..array(&mut reader)? {
        let fields = array(&mut reader)?;
        let (first, last) = (integer(&mut reader)?, integer(&mut reader)?);
        if fields < 3 {
            return Err(Malformed);
        }
        let primary = host(&mut reader, asked)?;
        let replicas = (3..fields).map(|_| host(&mut reader, asked)).collect::<Result<_, _>>()?;
        let known = topology.primaries.iter().position(|known| *known == primary);
        let index = known.unwrap_or_else(|| {
            topology.primaries.push(primary);
            topology.replicas.push(replicas);
            topology.primaries.len() - 1
        });
        topology.slots.get_mut(first..=last).ok_or(Malformed)?.fill(u16::try_from(index).map_err(|_| Malformed)?);
    }
    Ok(topology)
}

/// Reads `[host, port, …]`.
fn host(reader: &mut Reader<'_>, asked: &Host) -> Result<Host, Malformed> {
    let details = array(reader)?;
    let name = match reader.read()? {
        Item::Bulk(name) => name.map(|name| std::str::from_utf8(name).map_err(|_| Malformed)).transpose()?,
        _ => return Err(Malformed),
    };
    // A node that does not know its own name is where it was asked.
    let name = name.filter(|name| !matches!(*name, "" | "?")).unwrap_or(&asked.name).to_owned();
    let host = Host { name, port: u16::try_from(integer(reader)?).map_err(|_| Malformed)? };
    skip(reader, details.checked_sub(2).ok_or(Malformed)?)?;
    Ok(host)
}

fn array(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match reader.read()? {
        Item::Array(Some(count)) => Ok(count),
        _ => Err(Malformed),
    }
}

fn integer(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match reader.read()? {
        Item::Integer(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed),
        _ => Err(Malformed),
    }
}

fn skip(reader: &mut Reader<'_>, items: usize) -> Result<(), Malformed> {
    let mut pending = items;
    while pending > 0 {
        pending -= 1;
        if let Item::Array(Some(elements)) = reader.read()? {
            pending = pending.checked_add(elements).ok_or(Malformed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read() {
        let asked = Host { name: "asked".into(), port: 1 };
        let replica = "*4\r\n$1\r\nr\r\n:9\r\n$1\r\ni\r\n*0\r\n";
        let frame = format!(
            "*3\r\n*4\r\n:0\r\n:9\r\n*3\r\n$1\r\na\r\n:7\r\n$1\r\ni\r\n{replica}*3\r\n:10\r\n:16383\r\n*4\r\n$0\r\n\r\n:8\r\n$1\r\ni\r\n*0\r\n\
             *3\r\n:5\r\n:5\r\n*2\r\n$1\r\na\r\n:7\r\n"
        );
        let topology = read(frame.as_bytes(), &asked).unwrap();
        let hosts: Vec<String> = topology.primaries.iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["a:7", "asked:8"]);
        let replicas: Vec<Vec<String>> = topology.replicas.iter().map(|all| all.iter().map(Host::to_string).collect()).collect();
        assert_eq!(replicas, [vec!["r:9".to_owned()], vec![]]);
        assert_eq!((topology.slots[0], topology.slots[9], topology.slots[10], topology.slots[16383]), (0, 0, 1, 1));
        for wrong in ["+OK\r\n", "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:7\r\n", "*1\r\n*2\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:7\r\n"] {
            assert_eq!(read(wrong.as_bytes(), &asked), Err(Malformed), "{wrong:?}");
        }
    }
}
