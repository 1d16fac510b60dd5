//! Signals that are sent to us reach the child, each of them once.

use std::{os::unix::process::CommandExt as _, process::Command};

use super::{
    rig::{Family, NOWHERE, child, command_line, hear, run_child, signal, state_of},
    support::{BINARY, SOON, process::Process, wait_for},
};

const PASSED_ON: [&str; 11] =
    ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "ALRM", "VTALRM", "PROF", "URG"];

#[test]
fn each_reaches_the_child_once() {
    let (mut process, _) = run_child(NOWHERE, "once", &[], &PASSED_ON);
    for round in 1..=2 {
        for name in PASSED_ON {
            process.signal(name);
            hear(&mut process, &format!("got {name} {round}"));
        }
    }
    end(process);
}

#[test]
fn what_the_child_sends_us_does_not_come_back() {
    let (mut process, family) = run_child(NOWHERE, "loop", &[], &["USR1", "USR2"]);
    process.write_line(&format!("send USR1 {}", family.parent));
    process.write_line("say sent");
    hear(&mut process, "said sent");
    // Had the first been passed on, it would have come before this one.
    process.signal("USR2");
    hear(&mut process, "got USR2 1");
    assert!(!process.stdout().contains("got USR1"), "{}", process.stdout());
    end(process);
}

#[test]
fn who_ignores_a_signal_lives_on_and_so_do_we() {
    let (mut process, family) = run_child(NOWHERE, "stubborn", &[], &["TERM", "INT", "HUP"]);
    for name in ["TERM", "INT", "HUP"] {
        process.signal(name);
        hear(&mut process, &format!("got {name} 1"));
    }
    assert!(process.exited().is_none() && state_of(family.child).is_some());
    end(process);
}

#[test]
fn we_stop_and_go_on_with_the_child() {
    let words = child(&["CONT"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = command_line(Command::new(BINARY), NOWHERE, "stops", &[], &words);
    // The kernel stops nobody in a group that no shell could continue.
    command.process_group(0);
    let mut process = Process::spawn(command);
    let family = Family::of(&mut process);
    for round in 1..=2 {
        process.signal("TSTP");
        both(family, 'T');
        process.signal("CONT");
        hear(&mut process, &format!("got CONT {round}"));
        wait_for("both to go on", SOON, || {
            let states = [family.child, family.parent].map(state_of);
            states.iter().all(|state| state.is_some_and(|state| state != 'T')).then_some(())
        });
    }
    end(process);
}

#[test]
fn a_child_that_somebody_else_stops_does_not_stop_us() {
    let (mut process, family) = run_child(NOWHERE, "paused", &[], &["USR1"]);
    signal("STOP", family.child);
    wait_for("the child to stop", SOON, || (state_of(family.child) == Some('T')).then_some(()));
    // It waits for the child to be continued; that we pass it on shows that we are not stopped.
    process.signal("USR1");
    process.signal("CONT");
    hear(&mut process, "got USR1 1");
    end(process);
}

#[test]
fn a_signal_without_a_name_is_told_of() {
    let (process, _) = run_child(NOWHERE, "realtime", &[], &[]);
    process.signal("RTMIN+1");
    super::rig::noted(&process, "signal 35 has no name");
    end(process);
}

fn both(family: Family, state: char) {
    wait_for("both to be so", SOON, || {
        [family.child, family.parent].iter().all(|id| state_of(*id) == Some(state)).then_some(())
    });
}

fn end(mut process: Process) {
    process.write_line("exit 8");
    assert_eq!(process.wait_exit(SOON).code(), Some(8), "{}", process.stderr());
}
