//! The report as one HTML file: tables, and diagrams as SVG. Nothing is loaded from elsewhere and no script runs.
//!
//! Two diagrams a scenario: latency by percentile, both on scales of powers of ten, and deliveries over time. What
//! a server did not measure has no line.

use std::fmt::Write as _;

use crate::compare::outcome::{Compared, Comparison, HOW_COMPARED, Summary};
use crate::compare::svg::{Chart, Line, Scale};
use crate::compare::tally::TIMELINE_STEP_MS;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--faint:#8b9099;--rule:#d9dce1;--paper:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--faint:#8b9099;--rule:#343a42;--paper:#15181c}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:68rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.2rem;margin:2.5rem 0 .2rem}\
p{margin:.3rem 0}.faint{color:var(--faint)}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}\
th,td{padding:.2rem .8rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}\
.charts{display:flex;flex-wrap:wrap;gap:1.5rem}svg{max-width:100%;height:auto}\
svg text{fill:var(--faint);font:12px system-ui,sans-serif}svg .rule{stroke:var(--rule)}svg .title{fill:var(--ink)}";

/// Quantiles of the diagram, as shares of those that are later.
const LATER: &[f64] = &[
    0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0005, 0.00025, 0.0001,
];

/// The report.
pub(crate) fn page(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Tickwire and its peers</title>\
         <style>{STYLE}</style><h1>Tickwire and its peers</h1>\
         <p class=\"faint\">{}, {}, {} cores, Linux {}, load before {}. One core for the server, another for the client. \
         {} rounds that alternate between the servers. {HOW_COMPARED} The reference is uWebSockets where it takes part, else \
         the first. Where the client does not cost less than the server, it may be the client that is measured.</p>",
        escaped(&machine.date),
        escaped(&machine.cpu),
        machine.cores,
        escaped(&machine.kernel),
        escaped(&machine.load_before),
        comparison.rounds,
    );
    if comparison.quick {
        page += "<p><strong>A quick run: small and short, no figures to quote.</strong></p>";
    }
    if let Some(growth) = comparison.growth().line() {
        push(&mut page, format_args!("<p>{}.</p>", escaped(&growth)));
    }
    for compared in &comparison.compared {
        section(&mut page, compared);
    }
    page += "</html>\n";
    page
}

fn section(page: &mut String, compared: &Compared) {
    let scenario = &compared.scenario;
    let (name, about) = (escaped(&scenario.name), escaped(&scenario.about));
    push(page, format_args!("<h2 id=\"{name}\">{name}</h2><p>{about}.</p>"));
    let (header, rows) = compared.rows();
    page.push_str("<div class=\"wide\"><table><thead>");
    row(page, "th", &header);
    page.push_str("</thead><tbody>");
    for cells in &rows {
        row(page, "td", cells);
    }
    page.push_str("</tbody></table></div><div class=\"charts\">");
    let summaries = compared.summaries();
    page.push_str(&latencies(&summaries));
    page.push_str(&timelines(&summaries));
    page.push_str("</div>");
    for remark in compared.remarks() {
        push(page, format_args!("<p class=\"faint\">{}</p>", escaped(&remark)));
    }
}

fn row(page: &mut String, element: &str, cells: &[String]) {
    page.push_str("<tr>");
    for cell in cells {
        push(page, format_args!("<{element}>{}</{element}>", escaped(cell)));
    }
    page.push_str("</tr>");
}

fn latencies(summaries: &[Summary<'_>]) -> String {
    let line = |(color, summary): (usize, &Summary<'_>)| {
        let latency = summary.latency()?;
        // A quantile that fewer than a handful of values decide says nothing.
        let decided = |later: &&f64| latency.len() as f64 * **later >= 5.0;
        let point = |later: &f64| {
            let ms = latency.value_at_quantile(1.0 - later) as f64 / 1e3;
            (1.0 / later, ms)
        };
        Some(Line {
            name: summary.peer.to_owned(),
            color,
            points: LATER.iter().filter(decided).map(point).collect(),
        })
    };
    let percentile = |inverse: f64| match inverse {
        ..2.0 => String::new(),
        inverse => format!("{} %", rounded(100.0 - 100.0 / inverse)),
    };
    Chart {
        title: "Latency by percentile, ms",
        x: Scale::Powers,
        x_label: &percentile,
        y: Scale::Powers,
        y_label: &|ms| rounded(ms),
        lines: summaries.iter().enumerate().filter_map(line).collect(),
    }
    .svg()
}

fn timelines(summaries: &[Summary<'_>]) -> String {
    let line = |(color, summary): (usize, &Summary<'_>)| {
        let round = summary.rounds.iter().find(|round| !round.timeline.is_empty())?;
        let step_s = TIMELINE_STEP_MS as f64 / 1e3;
        let point = |(step, count): (usize, &u64)| (step as f64 * step_s, *count as f64 / step_s);
        Some(Line {
            name: summary.peer.to_owned(),
            color,
            points: round.timeline.iter().enumerate().map(point).collect(),
        })
    };
    let rate = |value: f64| match value {
        1e6.. => format!("{} M", rounded(value / 1e6)),
        1e3.. => format!("{} k", rounded(value / 1e3)),
        _ => rounded(value),
    };
    Chart {
        title: "Deliveries per second over time in s, one round",
        x: Scale::Even,
        x_label: &|seconds| rounded(seconds),
        y: Scale::Even,
        y_label: &rate,
        lines: summaries.iter().enumerate().filter_map(line).collect(),
    }
    .svg()
}

/// A number without the digits that only rounding made.
fn rounded(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

/// Text for HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::compare::figures::{Figure, Figures};
    use crate::compare::machine::Machine;
    use crate::compare::measure::Measured;
    use crate::compare::outcome::Round;
    use crate::compare::scenario::Scenario;
    use crate::compare::script::Script;
    use crate::compare::tally::Tally;
    use crate::swarm::report::Faults;

    fn comparison() -> Comparison {
        let script = Rc::new(Script::plain(1));
        let mut tally = Tally::new(script).expect("good bounds");
        for micros in 1..10_000 {
            tally.latency.record(micros).expect("within bounds");
        }
        let mut figures = Figures::default();
        figures.set(Figure::LatencyP99, 9_900.0);
        figures.set(Figure::ClientToServer, 0.5);
        let measured = Measured {
            version: "1 <beta>".to_owned(),
            figures,
            latency: tally.latency,
            timeline: vec![10, 20, 15],
            faults: Faults::default(),
            misdelivered: 0,
            notes: vec!["a & b".to_owned()],
        };
        let error = anyhow::anyhow!("it is not there");
        let rounds = vec![
            Round::new("tickwire", 1, measured),
            Round::failed("ws", 1, &error),
        ];
        let scenario = Scenario::load("hot-1k", true).expect("is there");
        Comparison {
            machine: Machine::here(),
            quick: true,
            rounds: 1,
            compared: vec![Compared { scenario, rounds }],
        }
    }

    #[test]
    fn the_page_has_everything_and_needs_nothing() {
        let page = page(&comparison());
        for part in [
            "<h2 id=\"hot-1k\">",
            "<td>1 &lt;beta&gt;</td>",
            "<td>latency p99</td><td>9.90 ms</td><td>–</td>",
            "<td>client costs less than server</td><td>yes</td><td>–</td>",
            "tickwire, round 1: a &amp; b",
            "it is not there",
            "<polyline",
            "99.9 %",
            "A quick run",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        for loaded in ["<script", "<link", "src=", "http://", "https://"] {
            assert!(!page.contains(loaded), "{loaded} is in the page");
        }
    }

    #[test]
    fn labels_are_short() {
        for (value, text) in [(0.1 + 0.2, "0.3"), (100.0 - 100.0 / 1e4, "99.99"), (5.0, "5")] {
            assert_eq!(rounded(value), text);
        }
    }

    #[test]
    fn json_has_medians_rounds_and_quantiles() {
        let json = serde_json::to_value(comparison()).expect("serialises");
        let compared = &json["compared"][0];
        assert_eq!(compared["medians"][0]["median"]["latency_p99_us"], 9_900.0);
        assert_eq!(
            compared["medians"][0]["client_costs_less"],
            serde_json::json!({"less": 1, "rounds": 1})
        );
        assert_eq!(compared["ratios_to"], "tickwire");
        let median = compared["rounds"][0]["latency"]["0.5"].as_u64();
        assert!(
            median.is_some_and(|median| median.abs_diff(5_000) <= 5),
            "{median:?}"
        );
        assert_eq!(compared["rounds"][1]["latency"], serde_json::Value::Null);
    }
}
