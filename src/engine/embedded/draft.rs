//! Changes on their way to become commits.

use std::sync::Arc;

use crate::{
    catalog::{Change, Commit},
    types::{Actor, Actors, Revision},
};

/// A commit holds at most so many bytes of events; more become several commits.
const COMMIT_BYTES: usize = 512 << 10;

/// Collects changes into commits of rising revisions.
#[derive(Debug)]
pub(super) struct Draft {
    head: Revision,
    done: Vec<Arc<Commit>>,
    open: Vec<Change>,
    open_bytes: usize,
    /// Who asks for what is pushed next.
    by: Option<Actor>,
    open_by: Actors,
    /// Of each commit that is done.
    done_by: Vec<Actors>,
}

impl Draft {
    /// Goes on after `head`.
    pub(super) fn after(head: Revision) -> Self {
        Self {
            head,
            done: Vec::new(),
            open: Vec::new(),
            open_bytes: 0,
            by: None,
            open_by: Actors::default(),
            done_by: Vec::new(),
        }
    }

    /// From here on, `by` asks for what is pushed; none for what time brings.
    pub(super) fn act(&mut self, by: Option<&Actor>) {
        if self.by.as_ref() != by {
            self.by = by.cloned();
        }
    }

    /// The revision that a change of `bytes`, pushed next, will have.
    pub(super) fn revision_for(&mut self, bytes: usize) -> Revision {
        if self.open_bytes + bytes > COMMIT_BYTES {
            self.close();
        }
        self.head.next()
    }

    pub(super) fn push(&mut self, change: Change) {
        self.revision_for(change.bytes());
        self.open_bytes += change.bytes();
        self.open.push(change);
        self.open_by.push(self.by.as_ref());
    }

    /// Ends what belongs together.
    pub(super) fn close(&mut self) {
        if !self.open.is_empty() {
            self.head = self.head.next();
            let changes = std::mem::take(&mut self.open);
            self.done.push(Arc::new(Commit { revision: self.head, changes }));
            self.done_by.push(std::mem::take(&mut self.open_by));
            self.open_bytes = 0;
        }
    }

    /// All commits, in order, and who asked for the changes of each.
    pub(super) fn finish(mut self) -> (Vec<Arc<Commit>>, Vec<Actors>) {
        self.close();
        (self.done, self.done_by)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        catalog::{Kind, Reason},
        types::{
            Content, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, ServiceName, ServiceUrl,
            Status, Ttl, WallTime,
        },
    };

    fn change(draft: &mut Draft, info_bytes: usize) {
        let content = Content::from(Parts {
            service: ServiceName::fold("s").unwrap(),
            url: ServiceUrl::parse("http://h").unwrap(),
            info: Info(Bytes::from(vec![0; info_bytes])),
            labels: BTreeMap::new(),
            zone: String::new(),
            weight: 0,
        });
        let instance = content.instance(Head {
            id: LeaseId(1),
            service: content.service().clone(),
            status: Status::Alive,
            ttl: Ttl(1),
            registered_at: WallTime(0),
            last_updated: WallTime(0),
            revision: draft.revision_for(Instance::bytes_of(content.view())),
        });
        draft.push(Change {
            kind: Kind::Registered,
            reason: Reason::New,
            before: None,
            after: Some(instance),
            times: LeaseTimes { renewed: Moment(0), deadline: Moment(0) },
            braked: false,
        });
    }

    #[test]
    fn what_belongs_together_is_one_commit_as_far_as_it_holds() {
        let mut draft = Draft::after(Revision(7));
        for _ in 0..20 {
            change(&mut draft, 60 << 10);
        }
        draft.close();
        change(&mut draft, 1);
        change(&mut draft, 1);
        draft.close();
        draft.close();
        change(&mut draft, 1);
        let (commits, _) = draft.finish();
        let told: Vec<(u64, usize)> = commits.iter().map(|c| (c.revision.0, c.changes.len())).collect();
        assert_eq!(told, [(8, 8), (9, 8), (10, 4), (11, 2), (12, 1)]);
        for commit in &commits {
            assert!(commit.bytes() <= COMMIT_BYTES);
            // An instance bears the revision it was committed with.
            let of = |change: &Change| change.after.as_ref().map(|after| after.revision);
            assert!(commit.changes.iter().all(|change| of(change) == Some(commit.revision)));
        }
    }
}
