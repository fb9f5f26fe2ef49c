//! The closed sets of label values of the metrics, taken from the types that define the names.

use tickwire_feed::FaultKind;
use tickwire_lane::node::{EpochReason, LanePhase};
use tickwire_metrics::LabelSets;
use tickwire_router::Op;
use tickwire_wire::deflate::Encoding;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::message::EndReason;
use tickwire_wire::{CloseCode, Kind};

use crate::http::{ENDPOINT_LABELS, REFUSED_STATUSES};

const KINDS: [&str; 3] = [Kind::State.as_str(), Kind::Book.as_str(), Kind::Event.as_str()];

/// The codecs, plain and compressed.
const CODECS: [&str; Encoding::ALL.len()] = {
    let mut names = [""; Encoding::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Encoding::ALL[at].name();
        at += 1;
    }
    names
};

const ERROR_CODES: [&str; ErrorCode::ALL.len()] = {
    let mut names = [""; ErrorCode::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ErrorCode::ALL[at].as_str();
        at += 1;
    }
    names
};

/// The codes in the order of [`CloseCode::SENT`]. The last entry stands for codes that only clients use.
const CLOSE_CODES: [&str; CloseCode::SENT.len() + 1] = [
    "1000", "1001", "1002", "1007", "1008", "1009", "1011", "1012", "4000", "4001", "4002", "4003", "4008",
    "4501", "4503", "other",
];

/// The names in the order of [`FaultKind::ANOMALIES`].
const ANOMALIES: [&str; FaultKind::ANOMALIES.len()] = {
    let mut names = [""; FaultKind::ANOMALIES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = FaultKind::ANOMALIES[at].name();
        at += 1;
    }
    names
};

const END_REASONS: [&str; EndReason::ALL.len()] = {
    let mut names = [""; EndReason::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EndReason::ALL[at].as_str();
        at += 1;
    }
    names
};

const LANE_STATES: [&str; LanePhase::ALL.len()] = {
    let mut names = [""; LanePhase::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = LanePhase::ALL[at].as_str();
        at += 1;
    }
    names
};

const EPOCH_REASONS: [&str; EpochReason::ALL.len()] = {
    let mut names = [""; EpochReason::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EpochReason::ALL[at].as_str();
        at += 1;
    }
    names
};

/// The label values of this broker.
pub(crate) const LABELS: LabelSets = LabelSets {
    kinds: &KINDS,
    codecs: &CODECS,
    request_ops: &Op::NAMES,
    error_codes: &ERROR_CODES,
    close_codes: &CLOSE_CODES,
    routes: &ENDPOINT_LABELS,
    refused_statuses: &REFUSED_STATUSES,
    anomalies: &ANOMALIES,
    end_reasons: &END_REASONS,
    lane_states: &LANE_STATES,
    epoch_reasons: &EPOCH_REASONS,
};

#[cfg(test)]
mod tests {
    use tickwire_wire::Codec;

    use super::*;

    #[test]
    fn names_are_those_of_the_types() {
        for (code, name) in CloseCode::SENT.iter().zip(CLOSE_CODES) {
            assert_eq!(code.to_string(), name);
        }
        for (codec, name) in Codec::ALL.iter().zip(CODECS) {
            assert_eq!(
                (codec.to_string().as_str(), CODECS[*codec as usize]),
                (name, name)
            );
        }
        for kind in [Kind::State, Kind::Book, Kind::Event] {
            assert_eq!(KINDS[kind as usize], kind.as_str());
        }
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, index);
        }
        assert_eq!(REFUSED_STATUSES.last(), Some(&"other"));
    }
}
