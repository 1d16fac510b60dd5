//! Tokens that clients carry between calls: opaque to them, checked when they come back.
//! Each is base 64 (URL-safe) of a kind, the epoch, a revision, the filter's digest, and
//! for a page the key it starts after; a checksum tells a token from any other string.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    catalog::PageKey,
    types::{Epoch, LeaseId, Revision, ServiceName},
};

const RESUME: u8 = b'r';
const PAGE: u8 = b'p';

/// Where a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResumeToken {
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) filter: u64,
}

/// Where a list goes on, and the resume token that all its pages carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageToken {
    pub(super) resume: ResumeToken,
    pub(super) after: PageKey,
}

impl ResumeToken {
    pub(super) fn encode(self) -> String {
        seal(&self.bytes(RESUME))
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let bytes = unseal(text)?;
        let (token, rest) = Self::split(&bytes, RESUME)?;
        rest.is_empty().then_some(token)
    }

    fn bytes(self, kind: u8) -> Vec<u8> {
        let mut bytes = vec![kind];
        for number in [self.epoch.0, self.revision.0, self.filter] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    fn split(bytes: &[u8], kind: u8) -> Option<(Self, &[u8])> {
        let (first, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let (filter, rest) = rest.split_first_chunk()?;
        let token = Self {
            epoch: Epoch(u64::from_be_bytes(*epoch)),
            revision: Revision(u64::from_be_bytes(*revision)),
            filter: u64::from_be_bytes(*filter),
        };
        (*first == kind).then_some((token, rest))
    }
}

impl PageToken {
    pub(super) fn encode(&self) -> String {
        let mut bytes = self.resume.bytes(PAGE);
        let (service, id) = &self.after;
        bytes.extend(id.0.to_be_bytes());
        bytes.extend(service.as_str().as_bytes());
        seal(&bytes)
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let bytes = unseal(text)?;
        let (resume, rest) = ResumeToken::split(&bytes, PAGE)?;
        let (id, service) = rest.split_first_chunk()?;
        let service = ServiceName::fold(std::str::from_utf8(service).ok()?).ok()?;
        Some(Self { resume, after: (service, LeaseId(u128::from_be_bytes(*id))) })
    }
}

fn seal(bytes: &[u8]) -> String {
    let mut sealed = bytes.to_vec();
    sealed.extend(checksum(bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(sealed)
}

fn unseal(text: &str) -> Option<Vec<u8>> {
    // The longest token names the longest service.
    if text.len() > 1024 {
        return None;
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, sum) = bytes.split_last_chunk()?;
    let good = checksum(body) == u32::from_be_bytes(*sum);
    let length = body.len();
    bytes.truncate(length);
    good.then_some(bytes)
}

/// FNV-1a, 32 bits: against mix-ups, not against forgers, who gain nothing.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_nothing_else_does() {
        let resume = ResumeToken { epoch: Epoch(7), revision: Revision(u64::MAX), filter: 3 };
        let text = resume.encode();
        assert_eq!(ResumeToken::decode(&text), Some(resume));
        let page = PageToken { resume, after: (ServiceName::fold("billing").unwrap(), LeaseId(9)) };
        assert_eq!(PageToken::decode(&page.encode()), Some(page.clone()));
        assert_eq!(PageToken::decode(&text), None);
        assert_eq!(ResumeToken::decode(&page.encode()), None);
        for bad in ["", "x", "garbage", "AAAA", &text[1..], &format!("{text}A"), &"A".repeat(4096), "é"] {
            assert_eq!(ResumeToken::decode(bad), None, "{bad:?}");
        }
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            let decoded = ResumeToken::decode(&other);
            assert!(decoded.is_none(), "{other} at {at} reads as {decoded:?}");
        }
    }
}
