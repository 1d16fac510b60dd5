//! A registered replica, as the registry shows it.

use std::{fmt, ops::Deref};

use triomphe::ThinArc;

use super::{Content, ContentRef, LeaseId, Moment, Revision, ServiceName, Ttl, WallTime};

/// One registered replica at one revision. A change makes a new one. It is one allocation,
/// shared by all who hold it; cloning it is cheap.
#[derive(Clone)]
pub struct Instance(ThinArc<Head, u8>);

/// What an instance has beside its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub id: LeaseId,
    /// Whether its stream is gone and its grace runs.
    pub status: Status,
    /// The granted TTL.
    pub ttl: Ttl,
    /// When the registration began.
    pub registered_at: WallTime,
    /// When the content last changed.
    pub last_updated: WallTime,
    /// The revision of its last change.
    pub revision: Revision,
    /// The service it belongs to.
    pub service: ServiceName,
}

impl Instance {
    /// An instance of this content, whose service the head names.
    pub fn new(head: Head, content: ContentRef<'_>) -> Self {
        debug_assert_eq!(head.service, *content.service(), "of one service");
        Self(ThinArc::from_header_and_slice(head, content.packed()))
    }

    /// What the client said of it.
    pub fn content(&self) -> ContentRef<'_> {
        ContentRef::new(&self.service, &self.0.slice)
    }

    /// What it has beside its content.
    pub fn clone_head(&self) -> Head {
        Head::clone(self)
    }

    /// The same with another head.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Head)) -> Self {
        let mut head = self.clone_head();
        change(&mut head);
        Self::new(head, self.content())
    }

    /// An upper bound of the bytes that an event with this instance takes on the wire.
    pub fn event_bytes(&self) -> usize {
        Self::bytes_of(self.content())
    }

    /// The same of an instance with this content.
    pub fn bytes_of(content: ContentRef<'_>) -> usize {
        // Ids, times, numbers, tags and lengths come to less than 256 bytes.
        256 + content.bytes()
    }

    /// About the bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        Self::memory_of(self.content())
    }

    /// The same of an instance with this content.
    pub fn memory_of(content: ContentRef<'_>) -> usize {
        // Its counter, its length, and what an allocator rounds up.
        size_of::<Head>() + content.packed().len() + 40
    }

    /// Whether it is the other one, not only equal to it.
    pub fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.0.as_ptr(), other.0.as_ptr())
    }
}

impl Content {
    /// An instance of this content.
    pub fn instance(&self, head: Head) -> Instance {
        Instance::new(head, self.view())
    }
}

impl Deref for Instance {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.0.header.header
    }
}

impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || (**self == **other && self.content() == other.content())
    }
}

impl Eq for Instance {}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("head", &**self).field("content", &self.content()).finish()
    }
}

/// Whether an instance is known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its lease lives.
    Alive,
    /// Its stream dropped and its grace runs.
    Suspect,
}

/// The times of a lease, which move without a change of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The last renewal.
    pub renewed: Moment,
    /// When it lapses unless renewed.
    pub deadline: Moment,
}
