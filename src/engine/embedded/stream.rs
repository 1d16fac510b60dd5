//! What the messages of a stream come to, as far as no change is needed: many are taken under
//! one lock, at one time.

use crate::{
    engine::{Ask, Refusal, TokenHash, Told},
    lease::{Standing, StreamId},
    types::{LeaseId, Moment},
};

use super::book::Book;

impl Book {
    /// Takes asks in their order, up to the first that cannot be taken without a change.
    pub(super) fn keep(&mut self, stream: StreamId, asks: &[Ask], now: Moment, told: &mut Vec<Told>) {
        for ask in asks {
            let mut refused = Vec::new();
            match ask {
                Ask::Beat => self.leases.beat(stream, now),
                Ask::Attach { ids, tokens } => {
                    for id in ids {
                        let token = tokens.as_ref().and_then(|tokens| tokens.get(id).copied());
                        if !self.attach_live(stream, *id, token, now, &mut refused) {
                            return;
                        }
                    }
                }
                Ask::Detach(ids) => refused.extend(self.detach(stream, ids, now).map(unknown)),
                Ask::DetachAll => self.leases.detach_all(stream, now),
            }
            told.push(Told { beat: self.leases.answer(stream), refused });
        }
    }

    /// Attaches a lease if it lives, or says why it cannot be; not if that takes a change, or
    /// rests on one that may never be written.
    fn attach_live(
        &mut self,
        stream: StreamId,
        id: LeaseId,
        token: Option<TokenHash>,
        now: Moment,
        refused: &mut Vec<(LeaseId, Refusal)>,
    ) -> bool {
        let free = token.is_none() && !self.rules.require_token;
        if free && self.leases.attach_next(id, stream, now) {
            return true;
        }
        match self.attach(stream, id, token, now) {
            Ok(standing) => standing == Standing::Live,
            Err(refusal) => {
                refused.push((id, refusal));
                !self.in_doubt
            }
        }
    }

    /// Releases leases from a stream; returns those that are not known.
    pub(super) fn detach(
        &mut self,
        stream: StreamId,
        ids: &[LeaseId],
        now: Moment,
    ) -> impl Iterator<Item = LeaseId> {
        let mut unknown = Vec::new();
        for id in ids {
            match self.handle(*id) {
                Some(handle) => self.leases.detach(handle, stream, now),
                None => unknown.push(*id),
            }
        }
        unknown.into_iter()
    }
}

fn unknown(id: LeaseId) -> (LeaseId, Refusal) {
    (id, Refusal::NotFound(id.to_string()))
}
