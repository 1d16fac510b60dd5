//! Who has a place among the connections, and who gives way when all are taken: the longest
//! idle one, for a newcomer has something to say. A connection with an open request is never
//! idle, and one that has not spoken yet is so since it was accepted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::Id, time::Instant};

use crate::call::Connection;

/// Who was busy so lately is left alone: a handshake takes a while.
pub const LEAST_IDLE: Duration = Duration::from_millis(100);
/// All connections are looked at no more often than this, however many newcomers wait: what was
/// found is used up first.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many may be about to end: they take room beside the others until they have.
const MOST_LEAVING: usize = 64;

/// The connections that are open.
#[derive(Debug)]
pub struct Seats {
    max: usize,
    taken: HashMap<Id, Seat>,
    /// Of those, who gives way.
    leaving: usize,
    /// Who was idle when all were looked at, and since when; the longest idle one last.
    idle: Vec<(Instant, Id)>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Seat {
    connection: Arc<Connection>,
    leaving: bool,
}

impl Seats {
    /// So many seats.
    pub fn new(max: usize) -> Self {
        Self { max, taken: HashMap::new(), leaving: 0, idle: Vec::new(), looked: None }
    }

    /// Gives a connection the seat that there is room for.
    pub fn take(&mut self, task: Id, connection: Arc<Connection>) {
        self.taken.insert(task, Seat { connection, leaving: false });
    }

    /// It has ended.
    pub fn leave(&mut self, task: Id) {
        if self.taken.remove(&task).is_some_and(|seat| seat.leaving) {
            self.leaving -= 1;
        }
    }

    /// Whether there is room for one more, without anybody giving way.
    pub fn has_room(&self) -> bool {
        self.taken.len() - self.leaving < self.max
    }

    /// Has the longest idle connection give way. False if nobody is idle, or so many are about
    /// to end that one has to be waited for.
    pub fn shed(&mut self) -> bool {
        if self.leaving >= MOST_LEAVING {
            return false;
        }
        let now = Instant::now();
        if self.idle.is_empty() && self.looked.is_none_or(|looked| now - looked >= LOOK_EVERY) {
            self.looked = Some(now);
            let idle = |(id, seat): (&Id, &Seat)| Some((seat.idle_since(now)?, *id));
            self.idle = self.taken.iter().filter_map(idle).collect();
            self.idle.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        }
        while let Some((since, id)) = self.idle.pop() {
            // It may have ended meanwhile, or have been busy.
            if let Some(seat) = self.taken.get_mut(&id)
                && seat.idle_since(now) == Some(since)
            {
                seat.leaving = true;
                self.leaving += 1;
                seat.connection.traffic().shed.add(1);
                seat.connection.leaving();
                return true;
            }
        }
        false
    }
}

impl Seat {
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        let since = self.connection.idle_since().filter(|_| !self.leaving);
        since.filter(|since| now.saturating_duration_since(*since) >= LEAST_IDLE)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    fn newcomer(seats: &mut Seats) -> Arc<Connection> {
        let connection = Arc::new(Connection::default());
        seats.take(tokio::spawn(async {}).id(), Arc::clone(&connection));
        connection
    }

    /// Waits until somebody has been idle for long enough.
    async fn shed(seats: &mut Seats) {
        let shed = async {
            while !seats.shed() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(Duration::from_secs(10), shed).await.expect("somebody is idle");
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_the_busy_never() {
        let mut seats = Seats::new(3);
        let [busy, first, second] = [(); 3].map(|()| newcomer(&mut seats));
        let request = busy.open_request();
        assert!(!seats.has_room());
        shed(&mut seats).await;
        assert!(first.is_leaving() && !second.is_leaving() && seats.has_room());
        let third = newcomer(&mut seats);
        assert!(!seats.has_room());
        shed(&mut seats).await;
        assert!(second.is_leaving() && !third.is_leaving());
        shed(&mut seats).await;
        assert!(third.is_leaving() && !busy.is_leaving());
        sleep(LEAST_IDLE + LOOK_EVERY).await;
        assert!(!seats.shed(), "only the busy one is left");
        drop(request);
        shed(&mut seats).await;
        assert!(busy.is_leaving());
    }

    #[tokio::test]
    async fn an_answer_on_its_way_keeps_a_connection() {
        let mut seats = Seats::new(1);
        let connection = newcomer(&mut seats);
        let held = connection.hold(1).expect("room");
        sleep(LEAST_IDLE + LOOK_EVERY).await;
        assert!(!seats.shed());
        drop(held);
        shed(&mut seats).await;
    }
}
