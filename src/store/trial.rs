//! A store's file as it would be after some writes that were not done. Start with
//! [`Trial`].

use std::{collections::HashMap, io};

use super::backend::Backend;

const BLOCK: u64 = 4096;

/// Writes that are kept in memory, and shine through to what is on the disk.
#[derive(Debug)]
pub(super) struct Trial {
    len: u64,
    /// Up to here the disk's bytes hold, where no block stands before them.
    base: u64,
    blocks: HashMap<u64, Box<[u8]>>,
    log: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Box<[u8]>),
    SetLen(u64),
    Sync,
}

/// Reads from the disk, from an offset on.
type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<()>;

impl Trial {
    pub(super) fn new(len: u64) -> Self {
        Self { len, base: len, blocks: HashMap::new(), log: Vec::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8], disk: Read<'_>) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.blocks.is_empty() && self.base == self.len {
            return disk(offset, out);
        }
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let now = rest.len().min(BLOCK as usize - within);
            let (part, after) = rest.split_at_mut(now);
            match self.blocks.get(&(at / BLOCK)) {
                Some(block) => part.copy_from_slice(&block[within..within + now]),
                None => self.read_base(at, part, disk)?,
            }
            at += now as u64;
            rest = after;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8], disk: Read<'_>) -> io::Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.log.push(Change::Write(offset, data.into()));
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let (part, after) = rest.split_at(rest.len().min(BLOCK as usize - within));
            let number = at / BLOCK;
            if !self.blocks.contains_key(&number) {
                let mut block = vec![0; BLOCK as usize];
                self.read_base(number * BLOCK, &mut block, disk)?;
                self.blocks.insert(number, block.into());
            }
            if let Some(block) = self.blocks.get_mut(&number) {
                block[within..within + part.len()].copy_from_slice(part);
            }
            at += part.len() as u64;
            rest = after;
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.log.push(Change::SetLen(len));
        self.len = len;
        self.base = self.base.min(len);
        self.blocks.retain(|number, _| number * BLOCK < len);
        if let Some(last) = self.blocks.get_mut(&(len / BLOCK)) {
            last[(len % BLOCK) as usize..].fill(0);
        }
    }

    pub(super) fn sync(&mut self) {
        self.log.push(Change::Sync);
    }

    /// Does it all, in the same order.
    pub(super) fn redo(self, to: &Backend) -> io::Result<()> {
        self.log.into_iter().try_for_each(|change| match change {
            Change::Write(offset, data) => to.write(offset, &data),
            Change::SetLen(len) => to.set_len(len),
            Change::Sync => to.sync(),
        })
    }

    /// Reads what no block stands before: the disk's bytes, then zeros.
    fn read_base(&self, at: u64, out: &mut [u8], disk: Read<'_>) -> io::Result<()> {
        let there = usize::try_from(self.base.saturating_sub(at)).unwrap_or(usize::MAX).min(out.len());
        let (old, new) = out.split_at_mut(there);
        new.fill(0);
        if old.is_empty() { Ok(()) } else { disk(at, old) }
    }
}
