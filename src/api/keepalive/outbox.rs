//! Answers on their way from the task that reads a stream to the response that the client
//! reads. One lock hands over all that are there; reading never waits for the client.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio_stream::Stream;
use tonic::Status;

use crate::proto::KeepAliveResponse;

/// Answers that wait for a client before they are merged; as many again may be on their way.
const ROOM: usize = 16;

type Answer = Result<KeepAliveResponse, Status>;

/// The reading task's end. The response ends when it is dropped.
pub(super) struct Outbox(Arc<Mutex<Shared>>);

/// The response's end.
pub struct Answers {
    shared: Arc<Mutex<Shared>>,
    taken: VecDeque<Answer>,
}

#[derive(Default)]
struct Shared {
    waiting: VecDeque<Answer>,
    /// No more come.
    ended: bool,
    /// Nobody takes any more.
    closed: bool,
    /// Woken when answers are there.
    taker: Option<Waker>,
    /// Woken when nobody takes them any more.
    giver: Option<Waker>,
}

/// Both ends.
pub(super) fn outbox() -> (Outbox, Answers) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (Outbox(Arc::clone(&shared)), Answers { shared, taken: VecDeque::new() })
}

// === impl Outbox ===

impl Outbox {
    /// Gives answers, in order; where there is no room, `merge` puts one into the last that
    /// waits.
    pub(super) fn give(
        &self,
        answers: impl IntoIterator<Item = KeepAliveResponse>,
        mut merge: impl FnMut(&mut KeepAliveResponse, KeepAliveResponse),
    ) {
        let mut shared = self.0.lock();
        for answer in answers {
            let full = shared.waiting.len() >= ROOM;
            match shared.waiting.back_mut() {
                Some(Ok(last)) if full => merge(last, answer),
                _ => shared.waiting.push_back(Ok(answer)),
            }
        }
        shared.wake_taker();
    }

    /// Gives a last word, room or not.
    pub(super) fn last(&self, word: Answer) {
        let mut shared = self.0.lock();
        shared.waiting.push_back(word);
        shared.wake_taker();
    }

    /// Whether nobody takes answers any more; the task is woken when it comes to that.
    pub(super) fn poll_closed(&self, cx: &Context<'_>) -> bool {
        let mut shared = self.0.lock();
        if !shared.giver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            shared.giver = Some(cx.waker().clone());
        }
        shared.closed
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.ended = true;
        shared.wake_taker();
    }
}

impl Shared {
    fn wake_taker(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

// === impl Answers ===

impl Stream for Answers {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = &mut *self;
        if this.taken.is_empty() {
            let mut shared = this.shared.lock();
            mem::swap(&mut this.taken, &mut shared.waiting);
            if this.taken.is_empty() {
                if shared.ended {
                    return Poll::Ready(None);
                }
                shared.taker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(this.taken.pop_front())
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.closed = true;
        if let Some(giver) = shared.giver.take() {
            giver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    fn answer(ttl_seconds: u32) -> KeepAliveResponse {
        KeepAliveResponse { ttl_seconds, ..KeepAliveResponse::default() }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_merged_and_last_words_are_not() {
        let (outbox, answers) = outbox();
        let all = ROOM as u32 + 5;
        outbox.give((1..=all).map(answer), |last, more| last.ttl_seconds = more.ttl_seconds);
        outbox.last(Err(Status::unavailable("bye")));
        drop(outbox);
        let got: Vec<Option<u32>> =
            answers.map(|answer| answer.ok().map(|it| it.ttl_seconds)).collect().await;
        let mut expect: Vec<Option<u32>> = (1..ROOM as u32).map(Some).collect();
        expect.extend([Some(all), None]);
        assert_eq!(got, expect);
    }

    #[tokio::test]
    async fn each_end_hears_of_the_other() {
        let (outbox, mut answers) = outbox();
        let taken = tokio::spawn(async move {
            let first = answers.next().await;
            (first, answers)
        });
        tokio::task::yield_now().await;
        outbox.give([answer(1)], |_, _| panic!("there is room"));
        let (first, answers) = taken.await.expect("the task");
        assert_eq!(first.expect("an answer").expect("no status"), answer(1));
        let closed = tokio::spawn(std::future::poll_fn(move |cx| {
            if outbox.poll_closed(cx) { Poll::Ready(()) } else { Poll::Pending }
        }));
        tokio::task::yield_now().await;
        assert!(!closed.is_finished());
        drop(answers);
        closed.await.expect("the task");
    }
}
