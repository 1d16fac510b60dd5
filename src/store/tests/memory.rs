//! A disk in memory, that notes what is done to it, fails when told to, and can be looked at
//! as it would be after a crash.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;

use crate::store::{
    Loaded, Options, Store, StoreError,
    disk::Disk,
    head::Identity,
    open::{self, Live},
    tables,
    thread::Ground,
};

const BLOCK: usize = 4096;

pub(super) const IDENTITY: Identity = Identity { inode: 42, born: 7 };

/// Bytes. Where nothing was written there is no block; copies share what they have.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    blocks: HashMap<u64, Arc<[u8; BLOCK]>>,
}

/// One change of a disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// What fails, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The first change that fails, counted from 0.
    pub(super) at: usize,
    /// The operating system's number.
    pub(super) errno: i32,
    /// Whether only this one fails; else all that take room do from then on.
    pub(super) once: bool,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    log: Vec<Op>,
    tried: usize,
    fault: Option<Fault>,
    failed: Option<(usize, Op)>,
}

#[derive(Debug, Default)]
pub(super) struct MemoryDisk(Mutex<State>);

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where something other than zeros may be, by the numbers of their blocks.
    pub(super) fn used(&self) -> Vec<u64> {
        let mut used: Vec<u64> = self.blocks.keys().copied().collect();
        used.sort_unstable();
        used
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(offset, bytes) => self.write(*offset, bytes),
            Op::SetLen(len) => self.set_len(*len),
            Op::Sync => {}
        }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % BLOCK as u64) as usize;
            let (part, after) = rest.split_at(rest.len().min(BLOCK - within));
            let block = self.blocks.entry(at / BLOCK as u64).or_insert_with(zeros);
            Arc::make_mut(block)[within..within + part.len()].copy_from_slice(part);
            at += part.len() as u64;
            rest = after;
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.retain(|number, _| number * (BLOCK as u64) < len);
            if let Some(last) = self.blocks.get_mut(&(len / BLOCK as u64)) {
                Arc::make_mut(last)[(len % BLOCK as u64) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn flip(&mut self, offset: u64, bit: u32) {
        let mut byte = [0];
        self.read(offset, &mut byte);
        self.write(offset, &[byte[0] ^ (1 << bit)]);
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let within = (at % BLOCK as u64) as usize;
            let now = rest.len().min(BLOCK - within);
            let (part, after) = rest.split_at_mut(now);
            match self.blocks.get(&(at / BLOCK as u64)) {
                Some(block) => part.copy_from_slice(&block[within..within + now]),
                None => part.fill(0),
            }
            at += now as u64;
            rest = after;
        }
    }
}

/// One page of zeros for all: a flip in it makes a copy.
fn zeros() -> Arc<[u8; BLOCK]> {
    static ZEROS: LazyLock<Arc<[u8; BLOCK]>> = LazyLock::new(|| Arc::new([0; BLOCK]));
    Arc::clone(&ZEROS)
}

impl MemoryDisk {
    pub(super) fn new(image: Image) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { image, ..State::default() })))
    }

    pub(super) fn image(&self) -> Image {
        self.0.lock().image.clone()
    }

    pub(super) fn log(&self) -> Vec<Op> {
        self.0.lock().log.clone()
    }

    /// How many changes were done.
    pub(super) fn done(&self) -> usize {
        self.0.lock().log.len()
    }

    pub(super) fn break_with(&self, fault: Option<Fault>) {
        self.0.lock().fault = fault;
    }

    /// What failed first, and how many changes were done by then.
    pub(super) fn failed(&self) -> Option<(usize, Op)> {
        self.0.lock().failed.clone()
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock();
        let number = state.tried;
        state.tried += 1;
        if let Some(fault) = state.fault {
            let hit = if fault.once { number == fault.at } else { number >= fault.at && op != Op::Sync };
            if hit {
                // What failed may have been done in part.
                if let Op::Write(offset, bytes) = &op {
                    state.image.write(*offset, &bytes[..bytes.len() / 2]);
                }
                let done = state.log.len();
                state.failed.get_or_insert((done, op));
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
        }
        state.image.apply(&op);
        state.log.push(op);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().image.len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        if offset + out.len() as u64 > state.image.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.image.read(offset, out);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, bytes.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(Op::Sync)
    }
}

/// Opens what is on a disk on this thread, or makes it.
pub(super) fn open_here(disk: &Arc<MemoryDisk>, options: &Options) -> Result<(Live, Loaded), StoreError> {
    let path = PathBuf::from("memory");
    let disk: Arc<dyn Disk> = Arc::clone(disk) as _;
    if disk.len().unwrap() == 0 {
        return open::create(disk, &path, IDENTITY, options);
    }
    let examined = open::examine(&disk, &path, |db| tables::load(db, options.anchor))?;
    open::admit(examined, &path, IDENTITY, options)
}

/// Opens what is on a disk, or makes it, with a thread to write it.
pub(super) fn open_on(disk: &Arc<MemoryDisk>, options: &Options) -> Result<(Store, Loaded), StoreError> {
    let path = PathBuf::from("memory");
    let (disk, options) = (Arc::clone(disk), options.clone());
    Store::start(path.clone(), move || {
        let (live, loaded) = open_here(&disk, &options)?;
        Ok((Ground { path, disk, directory: None, durability: options.durability }, live, loaded))
    })
}

/// Waits for what a store's thread does.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
