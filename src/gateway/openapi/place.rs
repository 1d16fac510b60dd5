//! Which path each operation stands under. OpenAPI knows a path by its shape: two that
//! differ in the names of their variables only are one, and hold one operation a method.

use std::collections::{HashMap, HashSet};

use http::Method;

use super::{operations::Operation, paths::Slot, reach::Reach};

/// An operation with its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub operation: &'a Operation<'a>,
    /// The key of the path item.
    pub method: &'static str,
    pub path: String,
    pub slots: Vec<Slot>,
}

/// Finds a place for each operation, in their order. One whose path is taken stands under
/// it with its patterns written out. Left out are those that are never reached, because a
/// later one takes all their requests, and those whose method OpenAPI has no word for.
pub(super) fn place<'a>(operations: &'a [Operation<'a>]) -> Vec<Placed<'a>> {
    let mut later: Vec<(&str, Reach)> = Vec::new();
    let mut reachable = Vec::new();
    for operation in operations.iter().rev() {
        let Some(method) = key(&operation.rule.method) else { continue };
        let reach = Reach::of(&operation.path.flat());
        if !later.iter().any(|(other, by)| *other == method && by.covers(&reach)) {
            reachable.push((operation, method));
        }
        later.push((method, reach));
    }
    reachable.reverse();

    let (mut taken, mut placed) = (HashSet::new(), Vec::new());
    for (operation, method) in reachable {
        let choices = [operation.path.whole(), operation.path.expanded()];
        let choice = choices.into_iter().find(|(path, _)| taken.insert((method, shape(path))));
        placed.extend(choice.map(|(path, slots)| Placed { operation, method, path, slots }));
    }

    // Of several spellings of one path, the first is that of all.
    let mut spellings: HashMap<String, (String, Vec<String>)> = HashMap::new();
    for one in &mut placed {
        let names = || one.slots.iter().map(|slot| slot.name.clone()).collect();
        let (path, names) = spellings.entry(shape(&one.path)).or_insert_with(|| (one.path.clone(), names()));
        one.path.clone_from(path);
        for (slot, name) in one.slots.iter_mut().zip(names) {
            slot.name.clone_from(name);
        }
    }
    placed
}

/// A path without the names of its variables.
fn shape(path: &str) -> String {
    let mut shape = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '{' => inside = true,
            '}' => {
                inside = false;
                shape.push_str("{}");
            }
            c if !inside => shape.push(c),
            _ => {}
        }
    }
    shape
}

fn key(method: &Method) -> Option<&'static str> {
    ["get", "put", "post", "delete", "options", "head", "patch", "trace"]
        .into_iter()
        .find(|key| method.as_str().eq_ignore_ascii_case(key))
}
