//! Records, commits and evictions as values of the tables, and back. What comes back was
//! checked as at the door: names and urls parse to themselves, numbers mean something.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    catalog::{Change, Commit, Eviction, Kind, Reason},
    types::{
        Content, Head, Info, Instance, LeaseId, LeaseTimes, Parts, Revision, ServiceName, ServiceUrl, Status,
        Ttl, WallTime,
    },
};

use super::{
    Record, Standing,
    value::{
        ChangeValue, CommitValue, ContentValue, EvictionsValue, InstanceValue, KindValue, ReasonValue,
        RecordValue, SpanValue, StandingValue, StatusValue,
    },
};

/// What a value is not, though its checksum is good.
pub(super) type Wrong = &'static str;

/// Instances by id, as they were read last: history and records share them again, as they
/// did when they were written.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<LeaseId, Instance>);

impl Known {
    /// The instance of a value, which is known from now on.
    fn learn(&mut self, value: InstanceValue) -> Result<Instance, Wrong> {
        let instance = self.recognize(value)?;
        self.0.insert(instance.id, instance.clone());
        Ok(instance)
    }

    fn recognize(&self, value: InstanceValue) -> Result<Instance, Wrong> {
        let instance = value.into_instance()?;
        let known = self.0.get(&instance.id).filter(|known| **known == instance).cloned();
        Ok(known.unwrap_or(instance))
    }
}

// === Records ===

impl From<&Record> for RecordValue {
    fn from(record: &Record) -> Self {
        let Record { instance, standing, drop_grace, token, peer, client_id, named } = record;
        let (standing, since) = match standing {
            Standing::Live => (StandingValue::Live, 0),
            Standing::Lapsed(at) => (StandingValue::Lapsed, at.0),
            Standing::Dead(at) => (StandingValue::Dead, at.0),
        };
        Self {
            instance: Some(InstanceValue::from(instance)),
            standing: standing.into(),
            since,
            drop_grace: drop_grace
                .map(|span| SpanValue { seconds: span.as_secs(), nanos: span.subsec_nanos() }),
            token: Bytes::copy_from_slice(token),
            peer: match peer {
                IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
                IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
            },
            client_id: client_id.as_deref().map(str::to_owned),
            named: *named,
        }
    }
}

impl RecordValue {
    pub(super) fn into_record(self, known: &Known) -> Result<Record, Wrong> {
        let at = WallTime(self.since);
        Ok(Record {
            instance: known.recognize(self.instance.ok_or("it has no instance")?)?,
            standing: match StandingValue::try_from(self.standing) {
                Ok(StandingValue::Live) => Standing::Live,
                Ok(StandingValue::Lapsed) => Standing::Lapsed(at),
                Ok(StandingValue::Dead) => Standing::Dead(at),
                Ok(StandingValue::Unspecified) | Err(_) => return Err("it stands in no known way"),
            },
            drop_grace: self.drop_grace.map(SpanValue::to_duration).transpose()?,
            // Whole hashes were kept once.
            token: match self.token.len() {
                16 | 32 => self.token.first_chunk::<16>().copied(),
                _ => None,
            }
            .ok_or("its token's hash has no 16 bytes")?,
            peer: match *self.peer {
                [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                ref six => <[u8; 16]>::try_from(six)
                    .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
                    .map_err(|_| "its peer has neither 4 nor 16 bytes")?,
            },
            client_id: self.client_id.map(Arc::from),
            named: self.named,
        })
    }
}

impl SpanValue {
    fn to_duration(self) -> Result<Duration, Wrong> {
        if self.nanos < 1_000_000_000 {
            Ok(Duration::new(self.seconds, self.nanos))
        } else {
            Err("its grace has more than a second of nanoseconds")
        }
    }
}

// === Instances ===

impl From<&Instance> for InstanceValue {
    fn from(instance: &Instance) -> Self {
        let Head { id, status, ttl, registered_at, last_updated, revision, service } = &**instance;
        let content = instance.content();
        Self {
            id: Bytes::copy_from_slice(&{ id.0 }.to_be_bytes()),
            content: Some(ContentValue {
                service: service.as_str().to_owned(),
                url: content.url().to_owned(),
                info: Bytes::copy_from_slice(content.info()),
                labels: content.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                zone: content.zone().to_owned(),
                weight: content.weight(),
            }),
            status: match status {
                Status::Alive => StatusValue::Alive,
                Status::Suspect => StatusValue::Suspect,
            }
            .into(),
            ttl: ttl.0,
            registered_at: registered_at.0,
            last_updated: last_updated.0,
            revision: revision.0,
        }
    }
}

impl InstanceValue {
    fn into_instance(self) -> Result<Instance, Wrong> {
        let id = <[u8; 16]>::try_from(&*self.id).map_err(|_| "its id has no 16 bytes")?;
        let content = self.content.ok_or("it has no content")?.into_content()?;
        Ok(content.instance(Head {
            id: LeaseId(u128::from_be_bytes(id)),
            status: match StatusValue::try_from(self.status) {
                Ok(StatusValue::Alive) => Status::Alive,
                Ok(StatusValue::Suspect) => Status::Suspect,
                Ok(StatusValue::Unspecified) | Err(_) => return Err("it has no known status"),
            },
            ttl: Ttl(self.ttl),
            registered_at: WallTime(self.registered_at),
            last_updated: WallTime(self.last_updated),
            revision: Revision(self.revision),
            service: content.service().clone(),
        }))
    }
}

impl ContentValue {
    fn into_content(self) -> Result<Content, Wrong> {
        let service = ServiceName::fold(&self.service).ok().filter(|name| name.as_str() == self.service);
        Ok(Content::from(Parts {
            service: service.ok_or("its service's name is none")?,
            url: ServiceUrl::parse(&self.url).map_err(|_| "its url is none")?,
            info: Info(self.info),
            labels: self.labels,
            zone: self.zone,
            weight: self.weight,
        }))
    }
}

// === Commits ===

impl CommitValue {
    pub(super) fn of(commit: &Commit, anchor: WallTime) -> Self {
        Self { changes: commit.changes.iter().map(|change| ChangeValue::of(change, anchor)).collect() }
    }

    pub(super) fn into_commit(
        self,
        revision: Revision,
        anchor: WallTime,
        known: &mut Known,
    ) -> Result<Commit, Wrong> {
        if self.changes.is_empty() {
            return Err("it has no change");
        }
        let changes: Result<_, _> =
            self.changes.into_iter().map(|change| change.into_change(anchor, known)).collect();
        Ok(Commit { revision, changes: changes? })
    }
}

impl ChangeValue {
    fn of(change: &Change, anchor: WallTime) -> Self {
        let Change { kind, reason, before, after, times, braked } = change;
        Self {
            kind: match kind {
                Kind::Registered => KindValue::Registered,
                Kind::Updated => KindValue::Updated,
                Kind::Suspect => KindValue::Suspect,
                Kind::Deregistered => KindValue::Deregistered,
                Kind::Expired => KindValue::Expired,
            }
            .into(),
            reason: match reason {
                Reason::New => ReasonValue::New,
                Reason::Content => ReasonValue::Content,
                Reason::Revived => ReasonValue::Revived,
                Reason::Recovered => ReasonValue::Recovered,
                Reason::Replaced => ReasonValue::Replaced,
                Reason::Client => ReasonValue::Client,
                Reason::TtlLapsed => ReasonValue::TtlLapsed,
                Reason::StreamDropped => ReasonValue::StreamDropped,
                Reason::EnteredFilter => ReasonValue::EnteredFilter,
                Reason::LeftFilter => ReasonValue::LeftFilter,
            }
            .into(),
            before: before.as_ref().map(InstanceValue::from),
            after: after.as_ref().map(InstanceValue::from),
            renewed: anchor.of(times.renewed).0,
            deadline: anchor.of(times.deadline).0,
            braked: *braked,
        }
    }

    fn into_change(self, anchor: WallTime, known: &mut Known) -> Result<Change, Wrong> {
        if self.before.is_none() && self.after.is_none() {
            return Err("a change of it has no instance");
        }
        Ok(Change {
            kind: match KindValue::try_from(self.kind) {
                Ok(KindValue::Registered) => Kind::Registered,
                Ok(KindValue::Updated) => Kind::Updated,
                Ok(KindValue::Suspect) => Kind::Suspect,
                Ok(KindValue::Deregistered) => Kind::Deregistered,
                Ok(KindValue::Expired) => Kind::Expired,
                Ok(KindValue::Unspecified) | Err(_) => return Err("a change of it is of no known kind"),
            },
            reason: match ReasonValue::try_from(self.reason) {
                Ok(ReasonValue::New) => Reason::New,
                Ok(ReasonValue::Content) => Reason::Content,
                Ok(ReasonValue::Revived) => Reason::Revived,
                Ok(ReasonValue::Recovered) => Reason::Recovered,
                Ok(ReasonValue::Replaced) => Reason::Replaced,
                Ok(ReasonValue::Client) => Reason::Client,
                Ok(ReasonValue::TtlLapsed) => Reason::TtlLapsed,
                Ok(ReasonValue::StreamDropped) => Reason::StreamDropped,
                Ok(ReasonValue::EnteredFilter) => Reason::EnteredFilter,
                Ok(ReasonValue::LeftFilter) => Reason::LeftFilter,
                Ok(ReasonValue::Unspecified) | Err(_) => {
                    return Err("a change of it has no known reason");
                }
            },
            before: self.before.map(|instance| known.learn(instance)).transpose()?,
            after: self.after.map(|instance| known.learn(instance)).transpose()?,
            times: LeaseTimes {
                renewed: WallTime(self.renewed).moment(anchor),
                deadline: WallTime(self.deadline).moment(anchor),
            },
            braked: self.braked,
        })
    }
}

// === Evictions ===

impl EvictionsValue {
    pub(super) fn of(evictions: &[Eviction]) -> Self {
        Self {
            keys: evictions.iter().map(|eviction| eviction.key).collect(),
            revisions: evictions.iter().map(|eviction| eviction.revision.0).collect(),
        }
    }

    pub(super) fn to_evictions(&self) -> Result<impl Iterator<Item = Eviction> + '_, Wrong> {
        if self.keys.len() != self.revisions.len() {
            return Err("it has not as many keys as revisions");
        }
        let both = self.keys.iter().zip(&self.revisions);
        Ok(both.map(|(key, revision)| Eviction { key: *key, revision: Revision(*revision) }))
    }
}
