//! What one node says of all, in the lines of `CLUSTER NODES`: more than the slots, and of itself the slots on their way.

use dbx_crds::config::Host;

/// A node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) id: &'a str,
    /// By address, and by name if it has one.
    pub(super) hosts: Vec<Host>,
    /// It is the node that was asked.
    pub(super) myself: bool,
    slots: Vec<(usize, usize)>,
    /// Slots that it gives away, and the ids of those who get them.
    leaving: Vec<(usize, &'a str)>,
}

impl<'a> Line<'a> {
    /// Whether a slot is its own.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }

    /// To whom it gives a slot away.
    pub(super) fn gives(&self, slot: usize) -> Option<&'a str> {
        self.leaving.iter().find(|(leaving, _)| *leaving == slot).map(|(_, id)| *id)
    }
}

/// Reads the lines that `asked` has answered. One that cannot be read is left out.
pub(super) fn read<'a>(text: &'a str, asked: &Host) -> Vec<Line<'a>> {
    text.lines().filter_map(|text| line(text, asked)).collect()
}

fn line<'a>(text: &'a str, asked: &Host) -> Option<Line<'a>> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [id, address, flags, _, _, _, _, _, slots @ ..] = &words[..] else { return None };
    let mut names = address.split(',');
    let (name, port) = names.next()?.split('@').next()?.rsplit_once(':')?;
    let port = port.parse().ok()?;
    // A node that does not know its own address is where it was asked.
    let name = if name.is_empty() { &asked.name } else { name };
    let names = [Some(name), names.next().filter(|name| !name.is_empty() && !name.contains('='))];
    let mut line = Line {
        id,
        hosts: names.into_iter().flatten().map(|name| Host { name: name.to_owned(), port }).collect(),
        myself: flags.split(',').any(|flag| flag == "myself"),
        slots: Vec::new(),
        leaving: Vec::new(),
    };
    for word in slots {
        match word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
            Some(moving) => line.leaving.extend(moving.split_once("->-").and_then(|(slot, id)| Some((slot.parse().ok()?, id)))),
            None => {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                line.slots.push((first.parse().ok()?, last.parse().ok()?));
            }
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let asked = Host { name: "asked".into(), port: 1 };
        let text = "a1 :7@17 myself,master - 0 0 1 connected 0-5 7 [7->-b2] [9-<-b2]\n\
                    b2 ::1:8@18,name slave a1 0 0 1 connected\nc3 1.2.3.4:9@19,,shard-id=x master - 0 0 1 connected\nnonsense\n";
        let lines = read(text, &asked);
        let hosts: Vec<String> = lines.iter().flat_map(|line| &line.hosts).map(Host::to_string).collect();
        assert_eq!(hosts, ["asked:7", "[::1]:8", "name:8", "1.2.3.4:9"]);
        assert_eq!([lines[0].myself, lines[1].myself], [true, false]);
        assert_eq!([0, 5, 6, 7, 9].map(|slot| lines[0].has(slot)), [true, true, false, true, false]);
        assert_eq!((lines[0].gives(7), lines[0].gives(9)), (Some("b2"), None));
    }
}
