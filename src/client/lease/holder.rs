//! What all clones of a client and their leases share: the way to the one task that holds, which runs while there is
//! anything to hold.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle as Runtime,
    sync::{mpsc, oneshot, watch},
};

use super::{
    Ended, State,
    book::{Handle, How},
    task::Task,
};
use crate::{
    client::connect::Dial,
    proto::{RegisterRequest, RegisterResponse},
};

/// The way to the task that holds.
pub(in crate::client) struct Holder {
    dial: Dial,
    /// Where the client was made, if that was in a runtime.
    runtime: Option<Runtime>,
    next: AtomicU64,
    /// None: no task runs.
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
}

/// What holders ask of the task.
pub(super) enum Command {
    Hold(Handle, RegisterRequest, Option<Box<RegisterResponse>>, Told),
    Update(Handle, RegisterRequest),
    End(Handle, How, Duration, Option<oneshot::Sender<Result<(), String>>>),
    /// All of them; one answer for each.
    Close(Duration, oneshot::Sender<Vec<oneshot::Receiver<Result<(), String>>>>),
}

/// Where a holder is told of its lease.
pub(super) struct Told {
    pub states: watch::Sender<State>,
    pub facts: Arc<Mutex<Facts>>,
}

/// What is known of a lease besides its state.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The last answer to a registration.
    pub answer: Option<RegisterResponse>,
    /// Why the last update was refused.
    pub refusal: Option<String>,
}

impl Holder {
    pub(in crate::client) fn new(dial: Dial) -> Self {
        Self {
            dial,
            runtime: Runtime::try_current().ok(),
            next: AtomicU64::new(0),
            commands: Mutex::new(None),
        }
    }

    /// Has the task hold a registration, and starts the task if none runs.
    pub(super) fn hold(
        self: &Arc<Self>,
        request: RegisterRequest,
        answer: Option<RegisterResponse>,
        told: Told,
    ) -> Handle {
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::Hold(handle, request, answer.map(Box::new), told);
        let mut commands = self.commands.lock();
        if let Some(sender) = &*commands {
            match sender.send(command) {
                Ok(()) => return handle,
                // Its runtime was shut down.
                Err(unsent) => command = unsent.0,
            }
        }
        let Some(runtime) = Runtime::try_current().ok().or_else(|| self.runtime.clone()) else {
            if let Command::Hold(_, _, _, told) = command {
                let why = "there is no tokio runtime: make the client, or hold, within one";
                told.states.send_replace(State::Ended(Ended::Refused(why.to_owned())));
            }
            return handle;
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        // The receiver is here.
        let _ = sender.send(command);
        *commands = Some(sender);
        let (holder, dial) = (Arc::clone(self), self.dial.clone());
        runtime.spawn(async move { Task::new(holder, dial, receiver).run().await });
        handle
    }

    /// Tells the task something; false: no task runs, so that there is nothing to hold.
    pub(super) fn tell(&self, command: Command) -> bool {
        self.commands.lock().as_ref().is_some_and(|commands| commands.send(command).is_ok())
    }

    /// The task ends, unless it was told something that it has not read: whoever comes next starts another.
    pub(super) fn end_task(&self, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut sender = self.commands.lock();
        let ends = commands.is_empty();
        if ends {
            *sender = None;
        }
        ends
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("holds", &self.commands.lock().is_some()).finish_non_exhaustive()
    }
}
