//! Asks the shards questions of operators, over the channels on which they get their connections.
//!
//! A shard answers between two cycles, and works only for requests that still wait. One question is asked at a time, so
//! that operators cannot keep the shards from their work. A request that is not answered in time is told which shard
//! was late.

use std::time::Duration;

use thiserror::Error;
use tickwire_router::{TopicId, Watched};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::run::command::{Command, Question, ShardSessions};

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
        let within = self.within;
        let deadline = Instant::now() + within;
        // The name begins with the shard's number.
        let number = name.split_once('-').and_then(|(shard, _)| shard.parse().ok());
        let Some((shard, commands)) = number.and_then(|shard: usize| Some((shard, self.shards.get(shard)?)))
        else {
            return Ok(false);
        };
        let late = |_| NoAnswer::Late { shard, within };
        let (answer, closed) = oneshot::channel();
        let sent = timeout_at(deadline, commands.send(Command::Close(name.to_owned(), answer))).await;
        sent.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))?;
        let closed = timeout_at(deadline, closed).await;
        closed.map_err(late)?.map_err(|_| NoAnswer::Ended(shard))
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
