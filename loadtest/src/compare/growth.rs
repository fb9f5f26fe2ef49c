//! How the cost of a delivery grows with the number of subscribers: the same server in two scenarios of one run.
//!
//! A server that was not measured in both has no growth here, and a run without both scenarios has none at all. What the
//! floor's cost grows by is the kernel's and the caches' part, which no server can avoid.

use serde::{Serialize, Serializer};

use crate::compare::figures::Figure;
use crate::compare::outcome::{Compared, Summary};

/// Which figure grows between which scenarios.
const GROWS: Figure = Figure::ServerCpuPerDelivery;
const FROM: &str = "hot-1k";
const TO: &str = "hot-19k";

/// The growth of each server's cost, by how many times.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Growth(Vec<(&'static str, f64)>);

impl Growth {
    /// What the medians of both scenarios say.
    pub(crate) fn of(compared: &[Compared]) -> Self {
        let medians = |name: &str| {
            let compared = compared.iter().find(|compared| compared.scenario.name == name);
            let summaries = compared.map(Compared::summaries).unwrap_or_default();
            let median = |summary: Summary<'_>| Some((summary.peer, summary.median.get(GROWS)?));
            summaries.into_iter().filter_map(median).collect::<Vec<_>>()
        };
        let many = medians(TO);
        let growth = |(peer, few): (&'static str, f64)| {
            let (_, many) = many.iter().find(|(other, _)| *other == peer)?;
            (few > 0.0).then_some((peer, many / few))
        };
        Self(medians(FROM).into_iter().filter_map(growth).collect())
    }

    /// In a line; none if nothing grew.
    pub(crate) fn line(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let each: Vec<String> = self
            .0
            .iter()
            .map(|(peer, times)| format!("{peer} {times:.2}×"))
            .collect();
        Some(format!(
            "{}, growth {FROM} → {TO}: {}",
            GROWS.label(),
            each.join(", ")
        ))
    }
}

impl Serialize for Growth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'g> {
            figure: &'static str,
            from: &'static str,
            to: &'static str,
            #[serde(serialize_with = "as_map")]
            times: &'g [(&'static str, f64)],
        }
        let fields = Fields {
            figure: GROWS.key(),
            from: FROM,
            to: TO,
            times: &self.0,
        };
        match self.0.is_empty() {
            true => serializer.serialize_none(),
            false => fields.serialize(serializer),
        }
    }
}

fn as_map<S: Serializer>(times: &&[(&'static str, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(times.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::figures::Figures;
    use crate::compare::outcome::Round;
    use crate::compare::scenario::Scenario;

    /// A scenario in which these servers' deliveries cost so much.
    fn compared(name: &str, costs: &[(&'static str, f64)]) -> Compared {
        let error = anyhow::anyhow!("not really measured");
        let round = |(peer, cost): &(&'static str, f64)| {
            let mut round = Round::failed(peer, 1, &error);
            round.figures = Figures::default();
            round.figures.set(GROWS, *cost);
            round
        };
        Compared {
            scenario: Scenario::load(name, true).expect("is there"),
            rounds: costs.iter().map(round).collect(),
        }
    }

    #[test]
    fn it_is_of_servers_measured_in_both() {
        let few = compared("hot-1k", &[("tickwire", 3.0), ("ws", 4.0), ("floor", 2.0)]);
        let many = compared("hot-19k", &[("floor", 2.5), ("tickwire", 4.2), ("nats", 9.0)]);
        let growth = Growth::of(&[few, many]);
        assert_eq!(
            growth.line().as_deref(),
            Some("server CPU per delivery, growth hot-1k → hot-19k: tickwire 1.40×, floor 1.25×")
        );
        assert_eq!(
            serde_json::to_value(&growth).expect("serialises"),
            serde_json::json!({
                "figure": "server_cpu_us_per_delivery",
                "from": "hot-1k",
                "to": "hot-19k",
                "times": { "tickwire": 4.2 / 3.0, "floor": 1.25 },
            })
        );
    }

    #[test]
    fn without_both_there_is_none() {
        let growth = Growth::of(&[compared("hot-1k", &[("tickwire", 3.0)])]);
        assert_eq!(growth.line(), None);
        assert_eq!(serde_json::to_string(&growth).expect("serialises"), "null");
    }
}
