//! What a store's file holds and how it was left, without a change to it. Start with
//! [`inspect`].

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crate::types::{Epoch, Revision, Status, WallTime};

use super::{
    Condition, Durability, Standing, StoreError,
    file::{self, Directory},
    open::{self, Judgement},
    tables::{self, Contents},
};

/// What [`inspect`] found. Every page and every checksum was read, and is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The version of its format.
    pub format: u32,
    /// As what a server would open it.
    pub condition: Condition,
    /// Whether a server would open it only if told to accept the loss.
    pub refused: bool,
    /// What its last run promised.
    pub durability: Durability,
    /// The epoch it is in.
    pub epoch: Epoch,
    /// The last revision.
    pub revision: Revision,
    /// The last revision that was acknowledged; a later one than `revision` is lost.
    pub acknowledged: Revision,
    /// How many registrations live, those that are suspect among them.
    pub live: usize,
    /// How many of these are suspect.
    pub suspect: usize,
    /// How many have lapsed, and can be revived for a while.
    pub lapsed: usize,
    /// How many have ended for good, and are remembered for a while.
    pub dead: usize,
    /// How many services have a live registration.
    pub services: usize,
    /// The first and last revision of its history, if there is one.
    pub history: Option<(Revision, Revision)>,
    /// How many commits its history has.
    pub commits: usize,
}

/// Reads and verifies all of a store: a data directory that no server uses, or a file such as
/// a backup. Blocks.
pub fn inspect(path: &Path) -> Result<Report, StoreError> {
    let is_dir = path.is_dir();
    let file = if is_dir { file::store_in(path) } else { path.to_owned() };
    // A file that a server writes to is in no state to be read.
    let dir = if file.file_name().is_some_and(|name| name == file::STORE) { file.parent() } else { None };
    let _held = dir.map(Directory::borrow).transpose()?;
    let opened = file::open_to_read(&file)?;
    let Some(opened) = opened else { return Err(StoreError::Absent { path: path.to_owned() }) };

    let load = |db: &_| tables::load(db, WallTime(0));
    let examined = open::examine(&opened.disk, &file, load)?;
    let bytes = opened.disk.len().map_err(|error| open::cannot("read", &file, error))?;
    let Contents { meta, records, commits, .. } = &examined.contents;
    let head = examined.found.head;
    let Judgement { condition, broken, .. } = open::judge(&examined.found, opened.identity, meta);

    let living = || records.iter().filter(|record| record.standing == Standing::Live);
    let services: HashSet<_> = living().map(|record| &record.instance.service).collect();
    let history = commits.first().zip(commits.last());
    Ok(Report {
        path: file,
        bytes,
        format: meta.format,
        condition,
        refused: broken,
        durability: head.durability,
        epoch: Epoch(meta.epoch),
        revision: Revision(meta.revision),
        acknowledged: Revision(head.acknowledged.revision),
        live: living().count(),
        suspect: living().filter(|record| record.instance.status == Status::Suspect).count(),
        lapsed: records.iter().filter(|record| matches!(record.standing, Standing::Lapsed(_))).count(),
        dead: records.iter().filter(|record| matches!(record.standing, Standing::Dead(_))).count(),
        services: services.len(),
        history: history.map(|(first, last)| (first.revision, last.revision)),
        commits: commits.len(),
    })
}
