//! What redb's header must say before redb may read it. Some fields are under no checksum of
//! redb's, and it asserts where they contradict the file.

use redb::StorageBackend;

use super::tables::Fault;

const PAGE: u64 = 4096;
const MAGIC: [u8; 9] = *b"redb\x1A\n\xA9\r\n";
/// 4 GiB, which is as redb makes them.
const REGION_PAGES: u32 = 1 << 20;
/// Regions have no header of their own in the format that redb writes.
const REGION_HEADER_PAGES: u32 = 0;

/// Checks what is the same in every store's file. That there is one at all, first of all: redb
/// would take an empty one for new.
pub(super) fn check(backend: &impl StorageBackend) -> Result<(), Fault> {
    let wrong = |what: &str| Err(Fault::Damaged(what.to_owned()));
    // The header's page, and at least one more.
    let len = backend.len()?;
    if len < 2 * PAGE || !len.is_multiple_of(PAGE) {
        return wrong("it is cut short");
    }
    let mut header = [0; 24];
    backend.read(0, &mut header)?;
    let field = |at: usize| header[at..].first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    if header[..9] != MAGIC {
        return wrong("its second page is no database's");
    }
    if field(12) != Some(PAGE as u32)
        || field(16) != Some(REGION_HEADER_PAGES)
        || field(20) != Some(REGION_PAGES)
    {
        return wrong("its database's layout");
    }
    Ok(())
}
