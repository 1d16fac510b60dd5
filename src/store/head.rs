//! The first page of a store's file, which is ours: what the file is, how its last run
//! ended, and the last batch that run acknowledged. Pure: bytes in, bytes out. Start with
//! [`Head`].
//!
//! The page begins with a magic number, the format's version and their checksum, which
//! change only where a newer leasehold takes the file over. Two slots follow, each in a sector of its own with a checksum of its own,
//! written in turn: a write that is cut short spoils one, and the other tells how things
//! stood one write before.

use crate::{config::Durability, types::Epoch};

/// How many bytes of the file are ours.
pub(super) const PAGE: usize = 4096;
/// The newest format this leasehold knows.
pub const VERSION: u32 = 2;

/// Not valid UTF-8, and spoilt by whoever takes it for text.
const MAGIC: [u8; 16] = *b"\x8Eleasehold\r\n\x1A\n\0\0";
/// The magic number, the format's version, and their checksum.
const START: usize = 24;
/// Where the slots start: sectors are written whole or not at all.
const SLOTS: [usize; 2] = [512, 1024];
const SLOT: usize = 64;

/// One slot: how a run stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Rises with each write; the slot with the higher one holds.
    pub(super) sequence: u64,
    pub(super) state: State,
    /// What the run promised.
    pub(super) durability: Durability,
    pub(super) epoch: Epoch,
    /// What the run acknowledged last.
    pub(super) acknowledged: Mark,
    /// The file it was written in.
    pub(super) identity: Identity,
}

/// A point in the life of a store. Batches are counted too, as some have no revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) batch: u64,
    pub(super) revision: u64,
}

impl Mark {
    /// Whether something of `other` is missing here.
    pub(super) fn lacks(self, other: Self) -> bool {
        self.batch < other.batch || self.revision < other.revision
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It goes on, or it died.
    Open,
    /// It stopped in order.
    Clean,
    /// It is no run: somebody asked for a backup.
    Backup,
    /// A sync failed: what the kernel shows may not be what the disk holds.
    SyncFailed,
}

/// What tells a file from its copies; 0 where the platform does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) inode: u64,
    /// When it was created, in nanoseconds since 1970: inodes are used again.
    pub(super) born: u64,
}

impl Identity {
    /// Whether these are two files for certain.
    pub(super) fn differs(self, other: Self) -> bool {
        let differ = |one: u64, other: u64| one != 0 && other != 0 && one != other;
        differ(self.inode, other.inode) || differ(self.born, other.born)
    }
}

/// What a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) head: Head,
    /// Whether the other slot is as it should be, too: else a write was cut short.
    pub(super) whole: bool,
    /// The version of the format; an older one can be read.
    pub(super) version: u32,
}

/// Why a page says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    Foreign,
    Newer(u32),
    Damaged(&'static str),
}

/// A page with no slot yet.
pub(super) fn page() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..START].copy_from_slice(&start());
    page
}

/// What a page begins with, in the newest format.
pub(super) fn start() -> [u8; START] {
    let mut start = [0; START];
    start[..16].copy_from_slice(&MAGIC);
    start[16..20].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&start[..20]);
    start[20..].copy_from_slice(&crc.to_le_bytes());
    start
}

/// Reads a page, or what there is of it.
pub(super) fn decode(page: &[u8]) -> Result<Found, HeadFault> {
    let slots = SLOTS.map(|at| page.get(at..at + SLOT).map_or(Slot::Broken, Slot::of));
    let Some(start) = page.get(..START) else { return Err(HeadFault::Damaged("it is cut short")) };
    if start[..16] != MAGIC {
        let ours = slots.iter().any(|slot| matches!(slot, Slot::Valid(_)));
        return Err(if ours { HeadFault::Damaged("its first bytes") } else { HeadFault::Foreign });
    }
    if crc32fast::hash(&start[..20]) != u32_at(start, 20) {
        return Err(HeadFault::Damaged("the checksum of its format"));
    }
    let version = match u32_at(start, 16) {
        version @ 1..=VERSION => version,
        0 => return Err(HeadFault::Damaged("its format")),
        version => return Err(HeadFault::Newer(version)),
    };
    match slots {
        [Slot::Valid(one), Slot::Valid(other)] => {
            Ok(Found { head: if one.sequence > other.sequence { one } else { other }, whole: true, version })
        }
        [Slot::Valid(head), other] | [other, Slot::Valid(head)] => {
            Ok(Found { head, whole: matches!(other, Slot::Empty), version })
        }
        _ => Err(HeadFault::Damaged("the checksums of its first page")),
    }
}

enum Slot {
    Empty,
    Broken,
    Valid(Head),
}

impl Slot {
    fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Empty;
        }
        if crc32fast::hash(&bytes[..SLOT - 4]) != u32_at(bytes, SLOT - 4) {
            return Self::Broken;
        }
        let state = match bytes[8] {
            1 => State::Open,
            2 => State::Clean,
            3 => State::Backup,
            4 => State::SyncFailed,
            _ => return Self::Broken,
        };
        let durability = match bytes[9] {
            1 => Durability::Sync,
            2 => Durability::Os,
            3 => Durability::None,
            _ => return Self::Broken,
        };
        Self::Valid(Head {
            sequence: u64_at(bytes, 0),
            state,
            durability,
            epoch: Epoch(u64_at(bytes, 16)),
            acknowledged: Mark { batch: u64_at(bytes, 24), revision: u64_at(bytes, 32) },
            identity: Identity { inode: u64_at(bytes, 40), born: u64_at(bytes, 48) },
        })
    }
}

// === impl Head ===

impl Head {
    /// Its slot, and where that goes.
    pub(super) fn encode(&self) -> (u64, [u8; SLOT]) {
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&self.sequence.to_le_bytes());
        slot[8] = match self.state {
            State::Open => 1,
            State::Clean => 2,
            State::Backup => 3,
            State::SyncFailed => 4,
        };
        slot[9] = match self.durability {
            Durability::Sync => 1,
            Durability::Os => 2,
            Durability::None => 3,
        };
        let numbers = [
            self.epoch.0,
            self.acknowledged.batch,
            self.acknowledged.revision,
            self.identity.inode,
            self.identity.born,
        ];
        for (number, at) in numbers.iter().zip((16..).step_by(8)) {
            slot[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&slot[..SLOT - 4]);
        slot[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        let at = SLOTS[usize::from(self.sequence % 2 == 1)];
        (at as u64, slot)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
