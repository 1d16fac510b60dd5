//! Which signals the child is sent, and when we stop as it does. Pure.
//!
//! The child stays in our process group, so that a terminal treats us as one job. What the terminal sends, it
//! sends to the whole group: the child has it already, and must not get it twice. The kernel marks what it
//! sends itself; what a process sent to us is passed on.

use rustix::process::Signal;

/// Who sent a signal to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The terminal, most of the time.
    Kernel,
    /// The child itself; it has sent it to its whole group, most of the time.
    Child,
    /// Any other process.
    Other,
}

/// How we and the child stand.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The child is in our process group.
    pub shares_group: bool,
    /// We lead the session: when the terminal hangs up, we alone are told.
    pub leads_session: bool,
    /// The child is stopped, and was not continued.
    pub is_stopped: bool,
}

/// Whether the child is to be sent what was sent to us.
pub fn is_passed_on(signal: Signal, sender: Sender, scene: Scene) -> bool {
    if signal == Signal::CONT && !scene.is_stopped {
        // A shell continues the whole group.
        return false;
    }
    match sender {
        Sender::Other => true,
        Sender::Child => false,
        Sender::Kernel => {
            let for_us_alone = scene.leads_session && [Signal::HUP, Signal::CONT].contains(&signal);
            for_us_alone || !scene.shares_group
        }
    }
}

/// Whether we stop, too, when the child stopped by `signal`: the shell that gave us the terminal waits for us.
/// `was_asked` tells that the child was asked to stop: programs that tidy up before then stop themselves by
/// [`Signal::STOP`]. That one out of nowhere is somebody else's business with the child.
pub fn is_followed(signal: i32, was_asked: bool) -> bool {
    let asks = [Signal::TSTP, Signal::TTIN, Signal::TTOU];
    asks.iter().any(|ask| ask.as_raw() == signal) || (was_asked && signal == Signal::STOP.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Scene = Scene { shares_group: true, leads_session: false, is_stopped: false };

    #[test]
    fn every_signal_reaches_the_child_once() {
        #[track_caller]
        fn check(signal: Signal, sender: Sender, scene: Scene, expect: bool) {
            assert_eq!(is_passed_on(signal, sender, scene), expect, "{signal:?} {sender:?} {scene:?}");
        }
        for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::TSTP, Signal::WINCH] {
            check(signal, Sender::Other, JOB, true);
            check(signal, Sender::Kernel, JOB, false);
            check(signal, Sender::Child, JOB, false);
            check(signal, Sender::Kernel, Scene { shares_group: false, ..JOB }, true);
        }
        let leader = Scene { leads_session: true, ..JOB };
        check(Signal::HUP, Sender::Kernel, leader, true);
        check(Signal::INT, Sender::Kernel, leader, false);
        let stopped = Scene { is_stopped: true, ..JOB };
        check(Signal::CONT, Sender::Other, JOB, false);
        check(Signal::CONT, Sender::Other, stopped, true);
        check(Signal::CONT, Sender::Kernel, stopped, false);
        check(Signal::CONT, Sender::Kernel, Scene { leads_session: true, ..stopped }, true);
    }

    #[test]
    fn a_stop_from_the_terminal_is_followed() {
        for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            assert!(is_followed(signal.as_raw(), false), "{signal:?}");
        }
        assert!(is_followed(Signal::STOP.as_raw(), true));
        assert!(!is_followed(Signal::STOP.as_raw(), false), "a debugger's, say");
    }
}
