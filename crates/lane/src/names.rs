//! The names of a journal's files. They begin with a position, in so many digits that they are in order.

use crate::Position;

/// The digits of the largest position.
const DIGITS: usize = 20;
const SEGMENT: &str = ".segment";
const CHECKPOINT: &str = ".checkpoint";
const INDEX: &str = ".index";
/// Added to the name of a file that is kept and not read.
const ASIDE: &str = ".damaged";

/// A checkpoint that is not whole.
pub const CHECKPOINT_BEGUN: &str = "checkpoint.begun";
/// An index that is not whole.
pub const INDEX_BEGUN: &str = "index.begun";
/// The file that only one process can lock.
pub const LOCK: &str = "lock";

/// The name of the segment whose entries come behind `position`.
#[must_use]
pub fn segment_name(position: Position) -> String {
    format!("{:0DIGITS$}{SEGMENT}", position.0)
}

/// The name of the checkpoint of `position`.
#[must_use]
pub fn checkpoint_name(position: Position) -> String {
    format!("{:0DIGITS$}{CHECKPOINT}", position.0)
}

/// The name of the index of the segment whose entries come behind `position`.
#[must_use]
pub fn index_name(position: Position) -> String {
    format!("{:0DIGITS$}{INDEX}", position.0)
}

/// The positions of the indexes among `names`, in order.
#[must_use]
pub fn index_positions(names: &[String]) -> Vec<Position> {
    of(names, INDEX)
}

/// The name of a file that is put aside.
#[must_use]
pub fn aside_name(name: &str) -> String {
    format!("{name}{ASIDE}")
}

/// The positions of the segments and of the checkpoints among `names`, each in order.
#[must_use]
pub fn positions(names: &[String]) -> (Vec<Position>, Vec<Position>) {
    (of(names, SEGMENT), of(names, CHECKPOINT))
}

/// The positions of the files whose names end with `suffix`, in order.
fn of(names: &[String], suffix: &str) -> Vec<Position> {
    let digits = names.iter().filter_map(|name| name.strip_suffix(suffix));
    let digits = digits.filter(|digits| digits.len() == DIGITS);
    let mut positions: Vec<Position> = digits
        .filter_map(|digits| digits.parse().ok().map(Position))
        .collect();
    positions.sort_unstable();
    positions
}
