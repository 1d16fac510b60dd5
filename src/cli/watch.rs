//! `leasehold watch`: what lives, then every change. A lost connection is taken up again
//! where it broke, so that nothing is missed and nothing shown twice.

use std::time::{Duration, SystemTime};

use clap::Args;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    Failure, Filter,
    output::{self, Output},
    remote::{Remote, Target},
    signals, when,
};
use crate::client::{
    backoff::Backoff,
    cause::{is_transient, reason},
};
use crate::proto::{Event, WatchRequest, WatchResponse, watch_response::Type};

/// The longest wait between two tries.
const RETRY_CAP: Duration = Duration::from_secs(10);

/// Show what lives, and every change as it happens
#[derive(Args, Debug)]
pub struct Watch {
    #[command(flatten)]
    filter: Filter,

    /// Go on after this token of a former watch with the same filter
    #[arg(long, value_name = "TOKEN")]
    resume_token: Option<String>,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    target: Target,
}

/// Why a stream is over.
enum End {
    /// Asked for by a signal.
    Stopped,
    /// The connection or the server went away; the token still counts.
    Lost(String),
}

impl Watch {
    /// Prints until a signal.
    pub async fn run(self) -> Result<(), Failure> {
        let stop = signals::stop_token()
            .map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))?;
        let remote = tokio::select! {
            remote = self.target.connect() => remote?,
            () = stop.cancelled() => return Ok(()),
        };
        let mut request = WatchRequest {
            service: self.filter.service,
            labels: self.filter.labels.into_iter().collect(),
            resume_token: self.resume_token.unwrap_or_default(),
            bookmark_interval: None,
        };
        let mut backoff = Backoff::new(RETRY_CAP);
        let mut answered = false;
        loop {
            let why =
                match stream(&remote, &mut request, self.output, &stop, &mut backoff, &mut answered).await? {
                    End::Stopped => return Ok(()),
                    End::Lost(why) => why,
                };
            let wait = backoff.next(Duration::ZERO);
            output::note(&format!(
                "connection lost: {}; {} in {:.1}s",
                output::plain(&why),
                if request.resume_token.is_empty() { "starting over" } else { "resuming" },
                wait.as_secs_f64()
            ));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

/// One stream, from its start to its end; keeps the token in `request` up to date.
async fn stream(
    remote: &Remote,
    request: &mut WatchRequest,
    output: Output,
    stop: &CancellationToken,
    backoff: &mut Backoff,
    answered: &mut bool,
) -> Result<End, Failure> {
    let mut registry = remote.registry.clone();
    // Until something was answered, a server that is not there is the person's mistake.
    let judge = |status: Status, answered: bool| {
        if answered && is_transient(&status) {
            Ok(End::Lost(reason(&status)))
        } else {
            Err(remote.failure(&status))
        }
    };
    let opened = tokio::select! {
        opened = registry.watch(request.clone()) => opened,
        () = stop.cancelled() => return Ok(End::Stopped),
    };
    let mut messages = match opened {
        Ok(opened) => opened.into_inner(),
        Err(status) => return judge(status, *answered),
    };
    loop {
        let message = tokio::select! {
            message = messages.message() => message,
            () = stop.cancelled() => return Ok(End::Stopped),
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(End::Lost("the server ended the watch".to_owned())),
            Err(status) => return judge(status, *answered),
        };
        *answered = true;
        backoff.reset();
        show(&message, output)?;
        // Printed first: a token must not pass what nobody saw.
        if !message.resume_token.is_empty() {
            request.resume_token = message.resume_token;
        }
    }
}

fn show(message: &WatchResponse, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return output::line(&output::json("WatchResponse", message)?);
    }
    if message.r#type() == Type::Reset {
        output::note("the server cannot go on from there: what lives is shown anew");
    }
    let time = when::clock(SystemTime::now());
    let lines: Vec<String> = message.events.iter().map(|event| event_line(&time, event)).collect();
    if lines.is_empty() { Ok(()) } else { output::line(&lines.join("\n")) }
}

/// `2026-01-31T12:00:00Z REGISTERED NEW orders http://10.0.0.1:80 01J…`
fn event_line(time: &str, event: &Event) -> String {
    let none = crate::proto::Instance::default();
    let instance = event.instance.as_ref().unwrap_or(&none);
    let text = format!(
        "{time}  {:<12}  {:<14}  {}  {}  {}{}",
        event.r#type().as_str_name(),
        event.reason().as_str_name(),
        instance.service,
        instance.url,
        instance.id,
        if event.braked { "  (held back by the brake)" } else { "" }
    );
    output::plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Instance, event};

    #[test]
    fn an_event_is_one_line() {
        let mut event = Event {
            r#type: event::Type::Expired.into(),
            reason: event::Reason::TtlLapsed.into(),
            instance: Some(Instance {
                id: "01J".to_owned(),
                service: "orders".to_owned(),
                url: "http://a".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(event_line("T", &event), "T  EXPIRED       TTL_LAPSED      orders  http://a  01J");
        event.braked = true;
        assert!(event_line("T", &event).ends_with("01J  (held back by the brake)"));
    }
}
