//! Single rules: what the first page says, and what becomes of a store that says it.

use super::memory::IDENTITY;
use crate::{
    config::Durability,
    store::{
        Condition,
        head::{self, Found, Head, HeadFault, Identity, Mark, State},
        open::{Judgement, judge},
        value::Meta,
    },
    types::Epoch,
};

fn head(sequence: u64) -> Head {
    Head {
        sequence,
        state: State::Open,
        durability: Durability::Sync,
        epoch: Epoch(77),
        acknowledged: Mark { batch: 10, revision: 8 },
        identity: IDENTITY,
    }
}

fn page(slots: &[Head]) -> Vec<u8> {
    let mut page = head::page().to_vec();
    for head in slots {
        let (at, slot) = head.encode();
        page[at as usize..][..slot.len()].copy_from_slice(&slot);
    }
    page
}

#[test]
fn the_later_slot_holds() {
    let check = |page: &[u8], expect: Result<(u64, bool), HeadFault>| {
        let found = head::decode(page).map(|found| (found.head.sequence, found.whole));
        assert_eq!(found, expect);
    };
    check(&page(&[head(1)]), Ok((1, true)));
    check(&page(&[head(1), head(2)]), Ok((2, true)));
    check(&page(&[head(3), head(2)]), Ok((3, true)));
    let mut torn = page(&[head(3), head(2)]);
    torn[1024 + 30] ^= 1;
    check(&torn, Ok((2, false)));
    torn[512] ^= 1;
    check(&torn, Err(HeadFault::Damaged("the checksums of its first page")));
    check(&page(&[]), Err(HeadFault::Damaged("the checksums of its first page")));
}

#[test]
fn slots_come_back_as_they_were_written() {
    for state in [State::Open, State::Clean, State::Backup, State::SyncFailed] {
        for durability in [Durability::Sync, Durability::Os, Durability::None] {
            let head = Head { state, durability, ..head(u64::MAX) };
            assert_eq!(head::decode(&page(&[head])), Ok(Found { head, whole: true, version: head::VERSION }));
        }
    }
}

#[test]
fn what_the_first_bytes_may_be() {
    let check = |change: &dyn Fn(&mut Vec<u8>), expect: HeadFault| {
        let mut page = page(&[head(1), head(2)]);
        change(&mut page);
        assert_eq!(head::decode(&page), Err(expect));
    };
    let version = |version: u32| {
        move |page: &mut Vec<u8>| {
            page[16..20].copy_from_slice(&version.to_le_bytes());
            let crc = crc32fast::hash(&page[..20]);
            page[20..24].copy_from_slice(&crc.to_le_bytes());
        }
    };
    check(&version(head::VERSION + 1), HeadFault::Newer(head::VERSION + 1));
    check(&version(0), HeadFault::Damaged("its format"));
    check(&|page| page[17] ^= 1, HeadFault::Damaged("the checksum of its format"));
    check(&|page| page.truncate(10), HeadFault::Damaged("it is cut short"));
    check(&|page| page[3] ^= 1, HeadFault::Damaged("its first bytes"));
    check(&|page| page.fill(b'x'), HeadFault::Foreign);
    check(&|page| page.fill(0), HeadFault::Foreign);
}

#[test]
fn what_becomes_of_a_store() {
    use Condition::{Clean, Copy, Lost, Unclean};
    use Durability::{None, Os, Sync};
    let meta = Meta { epoch: 77, revision: 8, batch: 10, ..Meta::default() };
    let check = |head: Head, meta: Meta, expect: (Condition, bool, bool)| {
        let (condition, new_epoch, broken) = expect;
        let found = Found { head, whole: true, version: head::VERSION };
        let judgement = judge(&found, IDENTITY, &meta);
        assert_eq!(judgement, Judgement { condition, new_epoch, broken }, "{head:?} {meta:?}");
    };
    let of = |state: State, durability: Durability| Head { state, durability, ..head(1) };

    check(of(State::Open, Sync), meta, (Unclean, false, false));
    check(of(State::Clean, Sync), meta, (Clean, false, false));
    check(of(State::SyncFailed, Sync), meta, (Condition::SyncFailed, false, false));
    for durability in [Os, None] {
        check(of(State::Open, durability), meta, (Unclean, true, false));
        check(of(State::SyncFailed, durability), meta, (Condition::SyncFailed, true, false));
        check(of(State::Clean, durability), meta, (Clean, false, false));
    }
    check(of(State::Backup, Sync), meta, (Copy, true, false));
    for identity in [Identity { inode: 43, born: 7 }, Identity { inode: 42, born: 8 }] {
        check(Head { identity, ..of(State::Clean, Sync) }, meta, (Copy, true, false));
    }
    // Where the platform does not tell.
    check(Head { identity: Identity::default(), ..of(State::Clean, Sync) }, meta, (Clean, false, false));

    let older = Meta { revision: 5, batch: 6, ..meta };
    check(of(State::Open, Sync), older, (Lost(3), true, true));
    check(of(State::SyncFailed, Sync), older, (Lost(3), true, true));
    check(of(State::Open, Os), older, (Lost(3), true, false));
    check(of(State::SyncFailed, None), older, (Lost(3), true, false));
    // A stop in order had synced it all.
    check(of(State::Clean, Os), older, (Lost(3), true, true));
    check(of(State::Backup, Sync), older, (Lost(3), true, true));
    // A batch without a revision counts as well.
    check(of(State::Open, Sync), Meta { batch: 9, ..meta }, (Lost(0), true, true));
    // More than was acknowledged is no loss.
    check(of(State::Open, Sync), Meta { batch: 11, revision: 9, ..meta }, (Unclean, false, false));
    // An epoch that was begun, and whose slot was lost.
    check(of(State::Open, Sync), Meta { epoch: 78, ..meta }, (Unclean, true, false));

    let torn = Found { head: of(State::Clean, Sync), whole: false, version: head::VERSION };
    assert_eq!(judge(&torn, IDENTITY, &meta).condition, Unclean);
    let torn = Found { head: of(State::Clean, Os), whole: false, version: head::VERSION };
    assert!(judge(&torn, IDENTITY, &meta).new_epoch);
}
