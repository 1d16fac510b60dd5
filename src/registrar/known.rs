//! What is known of an engine's containers: whole passes and single events, each with its turn, so that
//! an answer that comes late overwrites nothing newer. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{
    docker::{Event, EventKind, Observed},
    facts::Container,
};

/// The containers of one engine. Nothing is known of them until the first pass was taken.
#[derive(Debug, Default)]
pub struct Known {
    containers: BTreeMap<String, Observed>,
    /// Of containers that something happened to since the last pass began: which event was the last.
    touched: HashMap<String, u64>,
    /// Events so far.
    turn: u64,
    complete: bool,
}

/// The moment at which something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u64);

impl Known {
    /// Whether a pass was taken: what is not known is then not there.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What runs, and what did when it was last looked at.
    pub fn containers(&self) -> Vec<Container> {
        self.containers.values().map(|observed| observed.container.clone()).collect()
    }

    /// Something happened: Docker has to be asked what came of it, and the answer brought with this turn. None:
    /// what it ended has been started again since.
    pub fn event(&mut self, event: &Event) -> Option<Turn> {
        let known = self.containers.get(&event.id);
        if event.kind == EventKind::Ended && known.is_some_and(|observed| observed.started > event.at) {
            return None;
        }
        self.turn += 1;
        self.touched.insert(event.id.clone(), self.turn);
        Some(Turn(self.turn))
    }

    /// What came of an event: the container, if it is there; whether what is known changed.
    pub fn looked(&mut self, id: &str, turn: Turn, found: Option<Observed>) -> bool {
        // Something happened since, or a pass that was asked later has been taken.
        if self.touched.get(id) != Some(&turn.0) {
            return false;
        }
        match found.filter(|found| found.container.state.running || found.container.state.restarting) {
            Some(found) => self.containers.insert(id.to_owned(), found.clone()).as_ref() != Some(&found),
            None => self.containers.remove(id).is_some(),
        }
    }

    /// A pass begins: all containers are about to be asked for.
    pub fn begin_pass(&self) -> Turn {
        Turn(self.turn)
    }

    /// Takes what a pass found. Containers to which something happened since it began stay as they are
    /// known: what was asked of them then is newer.
    pub fn end_pass(&mut self, began: Turn, found: Vec<Observed>) {
        self.touched.retain(|_, turn| *turn > began.0);
        let touched = &self.touched;
        self.containers.retain(|id, _| touched.contains_key(id));
        for observed in found {
            if !touched.contains_key(&observed.container.id) {
                self.containers.insert(observed.container.id.clone(), observed);
            }
        }
        self.complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::facts::State;

    fn running(id: &str, started: i64) -> Observed {
        let state = State { running: true, ..State::default() };
        Observed { container: Container { id: id.to_owned(), state, ..Container::default() }, started }
    }

    fn event(id: &str, at: i64, kind: EventKind) -> Event {
        Event { id: id.to_owned(), at, kind }
    }

    fn ids(known: &Known) -> Vec<String> {
        known.containers().into_iter().map(|container| container.id).collect()
    }

    #[test]
    fn events_between_passes_show_and_remove() {
        let mut known = Known::default();
        known.end_pass(known.begin_pass(), vec![running("a", 1)]);
        let turn = known.event(&event("b", 2, EventKind::Changed)).unwrap();
        assert!(known.looked("b", turn, Some(running("b", 2))));
        assert_eq!(ids(&known), ["a", "b"]);
        let turn = known.event(&event("a", 3, EventKind::Ended)).unwrap();
        assert_eq!(ids(&known), ["a", "b"], "Docker has to confirm it");
        assert!(known.looked("a", turn, None));
        assert_eq!(ids(&known), ["b"]);
        known.end_pass(known.begin_pass(), vec![running("c", 4)]);
        assert_eq!(ids(&known), ["c"], "the pass knows better");
    }

    #[test]
    fn a_late_answer_overwrites_nothing_newer() {
        let mut known = Known::default();
        let first = known.event(&event("a", 1, EventKind::Changed)).unwrap();
        known.event(&event("a", 2, EventKind::Ended)).unwrap();
        assert!(!known.looked("a", first, Some(running("a", 1))), "it died since");
        let second = known.event(&event("a", 3, EventKind::Changed)).unwrap();
        let pass = known.begin_pass();
        known.end_pass(pass, vec![]);
        assert!(!known.looked("a", second, Some(running("a", 3))), "the pass was asked later");
        assert!(ids(&known).is_empty());
    }

    #[test]
    fn a_pass_does_not_undo_what_happened_while_it_was_under_way() {
        let mut known = Known::default();
        known.end_pass(known.begin_pass(), vec![running("a", 1), running("b", 1)]);
        let pass = known.begin_pass();
        let ended = known.event(&event("a", 2, EventKind::Ended)).unwrap();
        let turn = known.event(&event("c", 2, EventKind::Changed)).unwrap();
        assert!(known.looked("a", ended, None));
        known.end_pass(pass, vec![running("a", 1), running("b", 1)]);
        assert_eq!(ids(&known), ["b"]);
        assert!(known.looked("c", turn, Some(running("c", 2))));
        assert_eq!(ids(&known), ["b", "c"]);
    }

    #[test]
    fn a_death_that_is_told_late_does_not_hide_who_was_started_again() {
        let mut known = Known::default();
        known.end_pass(known.begin_pass(), vec![running("a", 10)]);
        assert_eq!(known.event(&event("a", 9, EventKind::Ended)), None);
        assert_eq!(ids(&known), ["a"]);
    }
}
