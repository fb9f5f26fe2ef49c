//! Asks the shards questions of operators, over the channels on which they get their connections.
//!
//! A shard answers between two cycles, and works only for requests that still wait. One question is asked at a time, so
//! that operators cannot keep the shards from their work. A request that is not answered in time is told which shard
//! was late.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tickwire_router::{TopicId, Watched};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::hub::CLOSED_AT_ONCE_MAX;
use crate::run::command::{
    CloseOrder, Command, ListedSession, Question, SessionFilter, SessionsWanted, ShardSessions,
};

/// The time that the shards have to answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Why a request of an operator gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum NoAnswer {
    /// A shard has too much to do.
    #[error("shard {shard} did not answer within {} ms: it is overloaded, or the broker is stopping", within.as_millis())]
    Late {
        /// The number of the shard.
        shard: usize,
        /// The time that it had.
        within: Duration,
    },
    /// A shard has ended.
    #[error("shard {0} has ended: the broker is stopping, or the log says why")]
    Ended(usize),
    /// Other requests came before.
    #[error("others who asked before were not answered within {} ms; try again", .0.as_millis())]
    Busy(Duration),
}

/// The number of sessions that were closed, and why there may be more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClosedSessions {
    pub(crate) count: usize,
    /// Why a shard has perhaps not closed all of its sessions.
    pub(crate) missing: Option<NoAnswer>,
}

/// The name of a session, as its `welcome` gave it: the number of its shard, a hyphen, and its own number in that shard
/// in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionName {
    pub(crate) shard: usize,
    pub(crate) number: u32,
}

impl FromStr for SessionName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (shard, number) = text.split_once('-').ok_or(())?;
        Ok(Self {
            shard: shard.parse().map_err(|_| ())?,
            number: u32::from_str_radix(number, 16).map_err(|_| ())?,
        })
    }
}

/// The channels to all shards.
#[derive(Debug)]
pub(crate) struct Inspector {
    /// The channels by the shards' numbers.
    shards: Vec<mpsc::Sender<Command>>,
    within: Duration,
    alone: Mutex<()>,
}

impl Inspector {
    /// Asks these shards, and gives them the time `within` for each question.
    pub(crate) fn new(shards: Vec<mpsc::Sender<Command>>, within: Duration) -> Self {
        Self {
            shards,
            within,
            alone: Mutex::new(()),
        }
    }

    /// The number of a shard that has ended, if there is one.
    pub(crate) fn ended(&self) -> Option<usize> {
        self.shards.iter().position(mpsc::Sender::is_closed)
    }

    /// The `top_k` slowest of the `watched` sessions of each shard.
    ///
    /// # Errors
    /// If not every shard answers in time.
    pub(crate) async fn sessions(
        &self,
        top_k: usize,
        watched: Watched,
    ) -> Result<Vec<ShardSessions>, NoAnswer> {
        self.ask(|answer| Question::Sessions(top_k, watched, answer))
            .await
    }

    /// Closes the session with this name. Returns whether there was one.
    ///
    /// # Errors
    /// If its shard does not answer in time.
    pub(crate) async fn close(&self, name: &str) -> Result<bool, NoAnswer> {
        // The name begins with the shard's number.
        let number = name.split_once('-').and_then(|(shard, _)| shard.parse().ok());
        let Some((shard, commands)) = number.and_then(|shard: usize| Some((shard, self.shards.get(shard)?)))
        else {
            return Ok(false);
        };
        self.ask_one(shard, commands, |closed| Command::Close(name.to_owned(), closed))
            .await
    }

    /// Has all shards book what they have delivered, at the same time.
    ///
    /// # Errors
    /// If not every shard answers in time.
    pub(crate) async fn book(&self) -> Result<(), NoAnswer> {
        let shards = self.shards.iter().enumerate();
        let all = shards.map(|(shard, commands)| self.ask_one(shard, commands, Command::Book));
        join_all(all).await.into_iter().collect()
    }

    /// Closes all sessions that an order selects, in all shards at the same time. A shard closes some of them, and then
    /// serves its other sessions before it closes the next.
    pub(crate) async fn close_all(&self, order: &Arc<CloseOrder>) -> ClosedSessions {
        let shards = self.shards.iter().enumerate();
        let all = shards.map(|(shard, commands)| self.close_all_in(shard, commands, order));
        let mut sum = ClosedSessions::default();
        for (closed, missing) in join_all(all).await {
            sum.count += closed;
            sum.missing = sum.missing.or(missing);
        }
        sum
    }

    async fn close_all_in(
        &self,
        shard: usize,
        commands: &mpsc::Sender<Command>,
        order: &Arc<CloseOrder>,
    ) -> (usize, Option<NoAnswer>) {
        let mut sum = 0;
        loop {
            let closed = self.ask_one(shard, commands, |closed| Command::CloseAll(order.clone(), closed));
            match closed.await {
                Ok(closed) => {
                    sum += closed;
                    if closed < CLOSED_AT_ONCE_MAX {
                        return (sum, None);
                    }
                }
                Err(missing) => return (sum, Some(missing)),
            }
        }
    }

    /// The first `count_max` open sessions that `filter` selects, of those behind `after`: in the order of the shards,
    /// and in each in the order in which they were opened.
    ///
    /// # Errors
    /// If a shard does not answer in time.
    pub(crate) async fn open_sessions(
        &self,
        filter: &Arc<SessionFilter>,
        after: Option<SessionName>,
        count_max: usize,
    ) -> Result<Vec<ListedSession>, NoAnswer> {
        let mut listed = Vec::new();
        let first = after.map_or(0, |after| after.shard);
        for (shard, commands) in self.shards.iter().enumerate().skip(first) {
            if listed.len() == count_max {
                break;
            }
            let wanted = SessionsWanted {
                filter: filter.clone(),
                after: after
                    .filter(|after| after.shard == shard)
                    .map(|after| after.number),
                count_max: count_max - listed.len(),
            };
            let ask = |answer| Command::Answer(Question::Open(wanted, answer));
            listed.extend(self.ask_one(shard, commands, ask).await?);
        }
        Ok(listed)
    }

    /// The answer of one shard.
    async fn ask_one<T>(
        &self,
        shard: usize,
        commands: &mpsc::Sender<Command>,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, NoAnswer> {
        let within = self.within;
        let deadline = Instant::now() + within;
        let late = |_| NoAnswer::Late { shard, within };
        let (answer, answered) = oneshot::channel();
        let sent = timeout_at(deadline, commands.send(command(answer))).await;
        sent.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))?;
        let answered = timeout_at(deadline, answered).await;
        answered.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))
    }

    /// The number of live updates of each topic, from each shard.
    ///
    /// # Errors
    /// If not every shard answers in time.
    pub(crate) async fn topics(&self) -> Result<Vec<Vec<(TopicId, u64)>>, NoAnswer> {
        self.ask(Question::Topics).await
    }

    /// The answers of all shards, in the order of their numbers.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Question) -> Result<Vec<T>, NoAnswer> {
        let within = self.within;
        let deadline = Instant::now() + within;
        let _alone = timeout_at(deadline, self.alone.lock())
            .await
            .map_err(|_| NoAnswer::Busy(within))?;
        let mut asked = Vec::with_capacity(self.shards.len());
        for (shard, commands) in self.shards.iter().enumerate() {
            let (answer, answered) = oneshot::channel();
            let sent = timeout_at(deadline, commands.send(Command::Answer(question(answer)))).await;
            let late = |_| NoAnswer::Late { shard, within };
            sent.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))?;
            asked.push(answered);
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (shard, answered) in asked.into_iter().enumerate() {
            let answer = timeout_at(deadline, answered).await;
            let late = |_| NoAnswer::Late { shard, within };
            answers.push(answer.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))?);
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::command::HowClosed;

    fn inspector(shards: usize, within: Duration) -> (Inspector, Vec<mpsc::Receiver<Command>>) {
        let (handles, commands) = (0..shards).map(|_| mpsc::channel(1)).unzip();
        (Inspector::new(handles, within), commands)
    }

    /// Takes a question about topics and lets it wait for its answer.
    async fn asked(commands: &mut mpsc::Receiver<Command>) -> oneshot::Sender<Vec<(TopicId, u64)>> {
        match commands.recv().await {
            Some(Command::Answer(Question::Topics(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn answers_are_in_the_order_of_the_shards() {
        let (inspector, mut commands) = inspector(2, Duration::from_secs(60));
        let shards = async {
            let first = asked(&mut commands[0]).await;
            let second = asked(&mut commands[1]).await;
            second.send(vec![(TopicId(2), 2)]).expect("it is waited for");
            first.send(vec![(TopicId(1), 1)]).expect("it is waited for");
        };
        let (answers, ()) = tokio::join!(inspector.topics(), shards);
        assert_eq!(answers.expect("answers"), [[(TopicId(1), 1)], [(TopicId(2), 2)]]);
    }

    /// Takes an order to close sessions, and answers that so many were closed.
    async fn closes(commands: &mut mpsc::Receiver<Command>, closed: usize) {
        match commands.recv().await {
            Some(Command::CloseAll(_, answer)) => answer.send(closed).expect("it is waited for"),
            other => panic!("{other:?}"),
        }
    }

    fn everybody() -> Arc<CloseOrder> {
        Arc::new(CloseOrder {
            filter: SessionFilter::default(),
            how: HowClosed::Revoked,
        })
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_shard_closes_again_until_it_has_fewer_than_it_closes_at_once() {
        let (inspector, mut commands) = inspector(2, Duration::from_secs(60));
        let (first, second) = commands.split_at_mut(1);
        let shards = async {
            closes(&mut first[0], CLOSED_AT_ONCE_MAX).await;
            closes(&mut second[0], 0).await;
            closes(&mut first[0], CLOSED_AT_ONCE_MAX).await;
            closes(&mut first[0], 7).await;
        };
        let order = everybody();
        let (closed, ()) = tokio::join!(inspector.close_all(&order), shards);
        assert_eq!((closed.count, closed.missing), (2 * CLOSED_AT_ONCE_MAX + 7, None));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_late_shard_does_not_keep_the_others_from_closing() {
        let within = Duration::from_millis(50);
        let (inspector, mut commands) = inspector(2, within);
        let (first, second) = commands.split_at_mut(1);
        let order = everybody();
        let (closed, ()) = tokio::join!(inspector.close_all(&order), closes(&mut second[0], 3));
        assert_eq!(closed.count, 3);
        assert_eq!(closed.missing, Some(NoAnswer::Late { shard: 0, within }));
        assert!(first[0].try_recv().is_ok(), "it will still close its own");
    }

    #[test]
    fn names_of_sessions() {
        for (text, name) in [
            ("0-1a", Some((0, 26))),
            ("63-ffffffff", Some((63, u32::MAX))),
            ("0-100000000", None),
            ("a-1", None),
            ("1", None),
            ("", None),
            ("-", None),
        ] {
            let parsed: Option<SessionName> = text.parse().ok();
            assert_eq!(parsed.map(|it| (it.shard, it.number)), name, "{text}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_shard_that_does_not_answer_is_named() {
        let within = Duration::from_millis(50);
        let (inspector, mut commands) = inspector(2, within);
        let (first, second) = commands.split_at_mut(1);
        let shards = async {
            let answer = asked(&mut first[0]).await;
            answer.send(Vec::new()).expect("it is waited for");
            asked(&mut second[0]).await
        };
        let (answers, kept) = tokio::join!(inspector.topics(), shards);
        let late = answers.expect_err("one kept it waiting");
        assert_eq!(
            late.to_string(),
            "shard 1 did not answer within 50 ms: it is overloaded, or the broker is stopping"
        );
        assert!(kept.is_closed(), "nobody waits for it any more");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_shard_that_takes_no_question_is_named() {
        let within = Duration::from_millis(50);
        let (inspector, commands) = inspector(1, within);
        let late = NoAnswer::Late { shard: 0, within };
        // The first question fills the channel.
        for _ in 0..2 {
            assert_eq!(inspector.topics().await.expect_err("nobody answers"), late);
        }
        assert_eq!(commands[0].len(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_shard_that_ended_is_named() {
        let (inspector, mut commands) = inspector(2, Duration::from_secs(60));
        commands.pop();
        assert_eq!(
            inspector.topics().await.expect_err("one is gone"),
            NoAnswer::Ended(1)
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_shard_that_ends_before_it_answers_is_named() {
        let (inspector, mut commands) = inspector(1, Duration::from_secs(60));
        let ending = async { drop(asked(&mut commands[0]).await) };
        let (answers, ()) = tokio::join!(inspector.topics(), ending);
        assert_eq!(answers.expect_err("it ended"), NoAnswer::Ended(0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_question_at_a_time() {
        let within = Duration::from_millis(50);
        let (inspector, _commands) = inspector(1, within);
        let _other = inspector.alone.lock().await;
        assert_eq!(
            inspector.topics().await.expect_err("another is asking"),
            NoAnswer::Busy(within)
        );
    }
}
