//! What a node of a cluster says of itself, to operators and to `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tickwire_lane::node::{LanePhase, NodeStanding};
use tickwire_metrics::{LocalMetrics, Metric};
use tickwire_wire::Micros;

/// The time between two exports of the metrics.
const EXPORT_US: u64 = 250_000;

/// The state of a lane at this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LaneReport {
    /// The lane.
    pub(crate) lane: String,
    /// What the node does.
    pub(crate) state: &'static str,
    /// Whether the node serves what the log has.
    pub(crate) ready: bool,
    /// The writer, if one is known.
    pub(crate) writer: Option<String>,
    /// The term of the writer.
    pub(crate) term: u32,
    /// The epoch of the numbers.
    pub(crate) epoch: String,
    /// Up to which entry of the log everything has entered.
    pub(crate) position: u64,
    /// The newest entry that is known of.
    pub(crate) end: u64,
    /// The number of entries that have not entered.
    pub(crate) lag_entries: u64,
    /// Messages of this node's publishers that are not settled.
    pub(crate) unsettled: u64,
    /// Their bytes.
    pub(crate) unsettled_bytes: usize,
}

/// The state of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ClusterReport {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// This node.
    pub(crate) node: String,
    /// The servers.
    pub(crate) nats: String,
    /// Whether it is connected to them.
    pub(crate) connected: bool,
    /// Its lanes.
    pub(crate) lanes: Vec<LaneReport>,
}

/// The state of a node, for all threads.
#[derive(Debug)]
pub(crate) struct ClusterStatus(Mutex<ClusterReport>);

impl ClusterStatus {
    pub(super) fn new(cluster: &str, node: String, nats: String, lane: &str) -> Self {
        let lane = LaneReport {
            lane: lane.to_owned(),
            state: LanePhase::Joining.as_str(),
            ready: false,
            writer: None,
            term: 0,
            epoch: String::new(),
            position: 0,
            end: 0,
            lag_entries: 0,
            unsettled: 0,
            unsettled_bytes: 0,
        };
        Self(Mutex::new(ClusterReport {
            cluster: cluster.to_owned(),
            node,
            nats,
            connected: false,
            lanes: vec![lane],
        }))
    }

    /// The state now.
    pub(crate) fn report(&self) -> ClusterReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the node is not ready, if it is not.
    pub(crate) fn unready(&self) -> Option<String> {
        let report = self.report();
        let lane = report.lanes.iter().find(|lane| !lane.ready)?;
        Some(format!(
            "lane {}: {}, {} entries behind; {}",
            lane.lane,
            lane.state,
            lane.lag_entries,
            if report.connected {
                "connected to NATS"
            } else {
                "not connected to NATS"
            }
        ))
    }
}

/// Writes the state of a node.
#[derive(Debug)]
pub(super) struct StatusWriter {
    status: Arc<ClusterStatus>,
    exported: Micros,
    last: Option<(NodeStanding, bool)>,
    phase: Option<LanePhase>,
    entered: u64,
}

impl StatusWriter {
    pub(super) const fn new(status: Arc<ClusterStatus>) -> Self {
        Self {
            status,
            exported: Micros(0),
            last: None,
            phase: None,
            entered: 0,
        }
    }

    pub(super) fn write(&mut self, standing: &NodeStanding, is_current: bool, entered: u64) {
        self.entered = entered;
        let is_serving = matches!(standing.phase, LanePhase::Following | LanePhase::Writing);
        let is_news = self.phase != Some(standing.phase);
        if !is_news
            && self
                .last
                .as_ref()
                .is_some_and(|(last, was)| last == standing && *was == is_current)
        {
            return;
        }
        if is_news {
            tracing::info!(
                state = standing.phase.as_str(),
                writer = standing.writer.map(|writer| writer.to_string()),
                position = standing.standing.place.position.0,
                epoch = %standing.standing.epoch,
                "the lane"
            );
            self.phase = Some(standing.phase);
            self.exported = Micros(0);
        }
        let mut report = self.status.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.connected = standing.is_connected;
        let Some(lane) = report.lanes.first_mut() else {
            return;
        };
        let position = standing.standing.place.position.0;
        lane.state = standing.phase.as_str();
        lane.ready = is_serving && (is_current || lane.ready);
        lane.writer = standing.writer.map(|writer| writer.to_string());
        lane.term = standing.standing.term.0;
        lane.epoch = standing.standing.epoch.to_string();
        lane.position = position;
        lane.end = standing.log_end.0;
        lane.lag_entries = standing.log_end.0.saturating_sub(position);
        lane.unsettled = standing.unsettled;
        lane.unsettled_bytes = standing.unsettled_bytes;
        drop(report);
        self.last = Some((standing.clone(), is_current));
    }

    /// Exports the metrics, if it is time.
    pub(super) fn export(&mut self, metrics: &mut LocalMetrics, now: Micros) {
        if now.since(self.exported) < EXPORT_US {
            return;
        }
        self.exported = now;
        let report = self.status.report();
        for lane in &report.lanes {
            metrics.set(Metric::LanePosition, &[], lane.position);
            metrics.set(Metric::LaneEnd, &[], lane.end);
            metrics.set(Metric::LaneTerm, &[], u64::from(lane.term));
            metrics.set(Metric::LaneUnsettled, &[], lane.unsettled);
            for (at, phase) in LanePhase::ALL.iter().enumerate() {
                metrics.set(Metric::LaneState, &[at], u64::from(phase.as_str() == lane.state));
            }
        }
        metrics.set(Metric::LaneMessages, &[], self.entered);
        metrics.flush();
    }
}
