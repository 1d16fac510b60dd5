//! Readers: some follow through all of an epoch, one looks here and there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use leasehold::{
    catalog::{Cursor, Delta, Since},
    types::{Filter, Revision, ServiceName},
};

use super::{
    record::{Epoch, Life, Read},
    rng::Rng,
};

fn filters() -> [Filter; 3] {
    let service = ServiceName::fold("s0").unwrap();
    let gold = [("tier".to_owned(), "gold".to_owned())];
    [Filter::default(), Filter::new(vec![service], [].into()), Filter::new(vec![], gold.into())]
}

/// A reader that goes on where it was, from life to life.
pub struct Watcher {
    filter: Filter,
    max_bytes: usize,
    cursor: Cursor,
}

/// One for each filter, from the beginning of an epoch.
pub fn watchers(epoch: &Epoch) -> Vec<Watcher> {
    let cursor = Cursor(epoch.base.0);
    let each = filters().into_iter().zip([usize::MAX, 1, 3000]);
    each.map(|(filter, max_bytes)| Watcher { filter, max_bytes, cursor }).collect()
}

impl Watcher {
    /// Reads as it comes, until the life is over and everything was read.
    pub async fn follow(mut self, life: Arc<Life>) -> Self {
        let mut bell = life.engine.view().subscribe();
        loop {
            let last = life.over.load(Ordering::SeqCst);
            bell.borrow_and_update();
            while let Some(cursor) = read(&life, self.cursor, &self.filter, self.max_bytes) {
                self.cursor = cursor;
            }
            if last {
                return self;
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), bell.changed()).await;
        }
    }
}

/// Notes what came after a cursor, and says where that ends; none at the end of all.
fn read(life: &Life, cursor: Cursor, filter: &Filter, max_bytes: usize) -> Option<Cursor> {
    let since = life.engine.view().read().since(cursor, filter, max_bytes);
    if life.dead.load(Ordering::SeqCst) {
        return None;
    }
    let Since::Deltas(deltas, to) = since else { panic!("{cursor:?} is in the history") };
    if to == cursor {
        return None;
    }
    let events = |Delta { revision, events }| events.into_iter().map(move |event| (revision, event));
    let told = deltas.into_iter().flat_map(events).collect();
    life.reads.lock().push(Read::Since { after: cursor.0, to: to.0, filter: filter.clone(), told });
    Some(to)
}

/// Takes lists and snapshots, and reads from any revision on.
pub async fn look(life: Arc<Life>, mut rng: Rng) {
    let filters = filters();
    while !life.over.load(Ordering::SeqCst) {
        let filter = rng.pick(&filters);
        let taken = match rng.below(3) {
            0 => {
                let catalog = life.engine.view().read();
                let mut instances: Vec<_> = catalog.matching(&Filter::default()).cloned().collect();
                instances.sort_by_key(|instance| instance.id);
                Some(Read::List { revision: catalog.revision(), instances })
            }
            1 => {
                let snapshot = life.engine.view().snapshot(&filter).unwrap();
                let mut instances = snapshot.instances().to_vec();
                instances.sort_by_key(|instance| instance.id);
                Some(Read::Snapshot { revision: snapshot.revision(), filter, instances })
            }
            _ => {
                let given = life.engine.view().read().revision().0 - life.base.0;
                let from = Revision(life.base.0 + rng.below(given as usize + 1) as u64);
                read(&life, Cursor(from), &filter, rng.pick(&[1, 2000, usize::MAX]));
                None
            }
        };
        if let Some(taken) = taken
            && !life.dead.load(Ordering::SeqCst)
        {
            life.reads.lock().push(taken);
        }
        tokio::time::sleep(Duration::from_millis(rng.below(20) as u64)).await;
    }
}
