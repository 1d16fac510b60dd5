//! The headers of gRPC requests by HPACK (RFC 7541): every header goes into the dynamic table
//! when it is first sent, and is a byte from then on, as with any client.

/// Indexes of the static table: RFC 7541, appendix A.
const AUTHORITY: u8 = 1;
const METHOD_POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTP: u8 = 6;
const CONTENT_TYPE: u8 = 31;
const USER_AGENT: u8 = 58;
/// The dynamic table begins after it.
const STATIC: usize = 61;

const INDEXED: u8 = 0x80;
const INSERTED: u8 = 0x40;

/// What this connection's headers are, and which of them the server has.
#[derive(Debug)]
pub struct Table {
    authority: String,
    /// What is in the dynamic table, the oldest first. A handful of entries: far below the 4 KiB
    /// that every server grants.
    sent: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Path(&'static str),
    Authority,
    ContentType,
    Te,
    UserAgent,
}

impl Table {
    pub fn new(authority: &str) -> Self {
        Self { authority: authority.to_owned(), sent: Vec::new() }
    }

    /// Appends the headers of a call of `path`.
    pub fn write(&mut self, path: &'static str, out: &mut Vec<u8>) {
        out.extend_from_slice(&[INDEXED | METHOD_POST, INDEXED | SCHEME_HTTP]);
        for entry in [Entry::Path(path), Entry::Authority, Entry::ContentType, Entry::Te, Entry::UserAgent] {
            self.write_one(entry, out);
        }
    }

    fn write_one(&mut self, entry: Entry, out: &mut Vec<u8>) {
        if let Some(at) = self.sent.iter().rposition(|sent| *sent == entry) {
            out.push(INDEXED | (STATIC + self.sent.len() - at) as u8);
            return;
        }
        let (name, value) = match entry {
            Entry::Path(path) => (PATH, path),
            Entry::Authority => (AUTHORITY, &*self.authority),
            Entry::ContentType => (CONTENT_TYPE, "application/grpc"),
            Entry::Te => (0, "trailers"),
            Entry::UserAgent => (USER_AGENT, concat!("leasehold-bench/", env!("CARGO_PKG_VERSION"))),
        };
        out.push(INSERTED | name);
        if name == 0 {
            text("te", out);
        }
        text(value, out);
        self.sent.push(entry);
    }
}

/// A text as it is; none here is longer than 126 bytes, which one byte of length allows.
fn text(text: &str, out: &mut Vec<u8>) {
    debug_assert!(text.len() < 127, "{text}");
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_sent_once() {
        let mut table = Table::new("127.0.0.1:1");
        let mut first = Vec::new();
        table.write("/p.S/A", &mut first);
        assert_eq!(&first[..5], [0x83, 0x86, 0x44, 6, b'/']);
        let mut second = Vec::new();
        table.write("/p.S/A", &mut second);
        assert_eq!(second, [0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]);
        let mut other = Vec::new();
        table.write("/p.S/B", &mut other);
        assert_eq!(&other[..4], [0x83, 0x86, 0x44, 6]);
        assert_eq!(other[10..], [0xc2, 0xc1, 0xc0, 0xbf]);
        let mut third = Vec::new();
        table.write("/p.S/A", &mut third);
        assert_eq!(third[2..], [0xc3, 0xc2, 0xc1, 0xc0, 0xbf]);
    }
}
