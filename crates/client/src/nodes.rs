//! Which node of a cluster a client connects to next. Pure: the time and the chance are arguments.
//!
//! The order is random at the beginning, so the clients of a node that dies spread over the others; a node that failed moves to
//! the end. Attempts are made in rounds. In a round each node is tried once, without a wait in between. Only when all were
//! tried does the client wait, and another round begins. A node that asked for time (`Retry-After`) is left alone until
//! then.
//!
//! With one node each attempt is a round of its own: there is no attempt without a wait.

use std::time::Duration;

use tokio::time::Instant;

/// One node.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Its number among the URLs, counted from 0.
    number: usize,
    /// When it may be tried again, if it asked for time.
    not_before: Option<Instant>,
}

impl Node {
    /// How long the node is to be left alone.
    fn closed_for(&self, now: Instant) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

/// What the end of a connection, or of an attempt to make one, says about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeFailure {
    /// How long the node asked to be left alone.
    pub(crate) asked: Duration,
    /// Whether another attempt at this node may succeed.
    pub(crate) may_pass: bool,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Connect to another node, without a wait.
    AtOnce,
    /// Each node was tried: wait. The node that comes next asked for this much time.
    AfterWait { asked: Duration },
    /// No node lets this client in, now or later.
    Never,
}

/// The nodes of a cluster, and the one that the client uses or tries.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// The nodes, those that failed last at the end. The last `tried` of them were tried in this round.
    order: Vec<Node>,
    tried: usize,
    /// The place of the current node in the order.
    current: usize,
    /// Whether an attempt of this round may pass when it is repeated.
    may_pass: bool,
}

impl Nodes {
    /// `count` nodes, at least one, in the order of the numbers that `random` gives.
    pub(crate) fn new(count: usize, mut random: impl FnMut() -> u64) -> Self {
        let mut order: Vec<Node> = (0..count)
            .map(|number| Node {
                number,
                not_before: None,
            })
            .collect();
        order.sort_by_cached_key(|_| random());
        Self {
            order,
            tried: 0,
            current: 0,
            may_pass: false,
        }
    }

    /// The number of the node to connect to, counted from 0.
    pub(crate) fn current(&self) -> usize {
        self.order[self.current].number
    }

    /// Begins a new round, since a connection lasted.
    pub(crate) fn lasted(&mut self) {
        self.tried = 0;
        self.may_pass = false;
    }

    /// Notes that the current node failed, and goes on to the next one.
    pub(crate) fn failed(&mut self, failure: NodeFailure, now: Instant) -> Next {
        let mut node = self.order.remove(self.current);
        node.not_before = (!failure.asked.is_zero()).then(|| now + failure.asked);
        self.order.push(node);
        self.tried += 1;
        self.may_pass |= failure.may_pass;
        let untried = &self.order[..self.order.len() - self.tried];
        if let Some(open) = untried.iter().position(|node| node.closed_for(now).is_zero()) {
            self.current = open;
            return Next::AtOnce;
        }
        if untried.is_empty() && !self.may_pass {
            return Next::Never;
        }
        self.lasted();
        // Of those that are open equally soon it is the first.
        let soonest = self
            .order
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| node.closed_for(now));
        let (current, asked) = soonest.map_or((0, Duration::ZERO), |(at, node)| (at, node.closed_for(now)));
        self.current = current;
        Next::AfterWait { asked }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const AGAIN: NodeFailure = NodeFailure {
        asked: Duration::ZERO,
        may_pass: true,
    };
    const FINAL: NodeFailure = NodeFailure {
        asked: Duration::ZERO,
        may_pass: false,
    };
    const WAIT: Next = Next::AfterWait {
        asked: Duration::ZERO,
    };

    fn asks(seconds: u64) -> NodeFailure {
        NodeFailure {
            asked: Duration::from_secs(seconds),
            may_pass: true,
        }
    }

    /// Nodes in the order of their numbers.
    fn ordered(count: usize) -> Nodes {
        let mut next = 0;
        Nodes::new(count, || {
            next += 1;
            next
        })
    }

    #[test]
    fn one_node_is_never_tried_without_a_wait() {
        let now = Instant::now();
        let mut nodes = ordered(1);
        for _ in 0..5 {
            assert_eq!(nodes.failed(AGAIN, now), WAIT);
        }
        let asked = Duration::from_secs(7);
        assert_eq!(nodes.failed(asks(7), now), Next::AfterWait { asked });
        assert_eq!(nodes.failed(FINAL, now), Next::Never);
    }

    #[test]
    fn clients_spread_over_all_nodes_and_those_of_a_dead_node_over_the_others() {
        let now = Instant::now();
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]] {
            let mut order = order.into_iter();
            let mut nodes = Nodes::new(3, || order.next().expect("one number for each node"));
            *first.entry(nodes.current()).or_insert(0) += 1;
            assert_eq!(nodes.failed(AGAIN, now), Next::AtOnce);
            *second.entry(nodes.current()).or_insert(0) += 1;
        }
        let even = BTreeMap::from([(0, 2), (1, 2), (2, 2)]);
        assert_eq!((first, second), (even.clone(), even));
    }

    #[test]
    fn a_node_that_failed_is_tried_last() {
        let now = Instant::now();
        let mut nodes = ordered(3);
        nodes.failed(AGAIN, now);
        nodes.lasted();
        let mut tried = vec![nodes.current()];
        while nodes.failed(AGAIN, now) == Next::AtOnce {
            tried.push(nodes.current());
        }
        assert_eq!(tried, [1, 2, 0]);
    }

    #[test]
    fn a_connection_that_did_not_last_does_not_begin_a_new_round() {
        let now = Instant::now();
        let mut nodes = ordered(2);
        assert_eq!(nodes.failed(AGAIN, now), Next::AtOnce);
        assert_eq!(nodes.failed(AGAIN, now), WAIT, "both have dropped it");
        assert_eq!(nodes.current(), 0, "its failure is the older one");
        nodes.lasted();
        assert_eq!(nodes.failed(AGAIN, now), Next::AtOnce);
    }

    #[test]
    fn a_node_that_asks_for_time_is_left_alone_until_then() {
        let now = Instant::now();
        let mut nodes = ordered(2);
        assert_eq!(nodes.failed(asks(5), now), Next::AtOnce);
        assert_eq!(nodes.failed(AGAIN, now), WAIT);
        assert_eq!(nodes.current(), 1, "the other one, which did not ask for time");
        let soon = now + Duration::from_secs(4);
        assert_eq!(nodes.failed(AGAIN, soon), WAIT);
        assert_eq!(nodes.current(), 1);
        let asked = Duration::from_secs(1);
        assert_eq!(nodes.failed(asks(9), soon), Next::AfterWait { asked });
        assert_eq!(nodes.current(), 0, "both have asked: the sooner one");
    }

    #[test]
    fn only_a_round_of_final_refusals_ends_the_client() {
        let now = Instant::now();
        let ends = |failures: &[NodeFailure]| {
            let mut nodes = ordered(3);
            failures.iter().map(|failure| nodes.failed(*failure, now)).last()
        };
        assert_eq!(ends(&[FINAL, FINAL]), Some(Next::AtOnce));
        assert_eq!(ends(&[FINAL, FINAL, FINAL]), Some(Next::Never));
        assert_eq!(ends(&[FINAL, AGAIN, FINAL]), Some(WAIT));
        let second_round = [FINAL, AGAIN, FINAL, FINAL, FINAL, FINAL];
        assert_eq!(ends(&second_round), Some(Next::Never));
        // One that asked for time was not asked in the second round.
        let waits = ends(&[FINAL, asks(5), FINAL, FINAL, FINAL]);
        assert!(matches!(waits, Some(Next::AfterWait { .. })), "{waits:?}");
    }

    proptest! {
        /// Between two waits no node is tried twice, and if no node asks for time each one is tried.
        #[test]
        fn a_round_tries_each_node_once(
            order in prop::collection::vec(any::<u64>(), 1..6),
            failures in prop::collection::vec((0_u64..3, 0_u64..20, any::<bool>()), 1..60),
        ) {
            let mut now = Instant::now();
            let mut random = order.iter().copied();
            let mut nodes = Nodes::new(order.len(), || random.next().unwrap_or(0));
            let mut tried = vec![nodes.current()];
            let mut has_asked = false;
            for (asked, passed, lasted) in failures {
                now += Duration::from_secs(passed);
                if lasted {
                    nodes.lasted();
                    tried = vec![nodes.current()];
                }
                has_asked |= asked > 0;
                match nodes.failed(asks(asked), now) {
                    Next::AtOnce => {
                        prop_assert!(!tried.contains(&nodes.current()));
                        tried.push(nodes.current());
                    }
                    Next::AfterWait { .. } => {
                        prop_assert!(has_asked || tried.len() == order.len());
                        tried = vec![nodes.current()];
                    }
                    Next::Never => prop_assert!(false, "each may pass"),
                }
            }
        }
    }
}
