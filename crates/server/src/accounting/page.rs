//! A day's books as operators get them: as JSON, or as CSV with a row for each account and family.

use std::str::FromStr;

use serde::Serialize;
use tickwire_router::{Families, FamilyCount};
use tickwire_wire::Micros;

use super::AccountName;
use super::day::{DayBooks, DayNumber};

/// The names of the columns.
const HEADER: &str = "day,kind,name,issuer,family,addresses,peak_connections,delivered,repeated,bytes\r\n";

/// The day of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedDay {
    /// This day.
    Today,
    /// The day before.
    Yesterday,
    /// A day by its date.
    Date(DayNumber),
}

impl WantedDay {
    pub(super) const fn number(self, today: DayNumber) -> DayNumber {
        match self {
            Self::Today => today,
            Self::Yesterday => today.before(),
            Self::Date(day) => day,
        }
    }
}

impl FromStr for WantedDay {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "today" => Ok(Self::Today),
            "yesterday" => Ok(Self::Yesterday),
            date => date.parse().map(Self::Date),
        }
    }
}

/// The page of a day.
#[derive(Debug, Serialize)]
pub(crate) struct AccountsPage {
    day: String,
    /// The moment of the page, of a day that has not ended.
    until: Option<Micros>,
    /// Whether all users were told apart.
    users_complete: bool,
    delivered: u64,
    repeated: u64,
    bytes: u64,
    families: Vec<FamilyTotal>,
    accounts: Vec<AccountRow>,
}

#[derive(Debug, Serialize)]
struct FamilyTotal {
    family: String,
    users: usize,
    #[serde(flatten)]
    count: Counted,
}

#[derive(Debug, Serialize)]
struct AccountRow {
    kind: &'static str,
    name: Option<String>,
    issuer: Option<String>,
    peak_connections: u32,
    families: Vec<FamilyRow>,
}

#[derive(Debug, Serialize)]
struct FamilyRow {
    family: String,
    addresses: usize,
    #[serde(flatten)]
    count: Counted,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Counted {
    delivered: u64,
    repeated: u64,
    bytes: u64,
}

impl From<FamilyCount> for Counted {
    fn from(count: FamilyCount) -> Self {
        Self {
            delivered: count.delivered,
            repeated: count.repeated,
            bytes: count.bytes,
        }
    }
}

impl AccountsPage {
    /// The page of `day`, which lasts if it has a moment `until` which it says everything.
    pub(super) fn new(day: &DayBooks, families: &Families, until: Option<Micros>) -> Self {
        let (names, users) = (families.names(), day.users_by_family());
        let mut totals = vec![FamilyCount::default(); names.len()];
        let rows = day.rows();
        for (family, count, _) in rows.iter().flat_map(|row| &row.families) {
            totals[family.index()] += *count;
        }
        let mut all = FamilyCount::default();
        totals.iter().for_each(|total| all += *total);
        let by_family = names.iter().zip(totals).zip(users);
        let by_family =
            by_family.filter(|((_, total), users)| *total != FamilyCount::default() || *users > 0);
        let accounts = rows.iter().map(|row| {
            let (kind, name, issuer) = match row.name {
                AccountName::Anonymous => ("anonymous", None, None),
                AccountName::Key(name) => ("key", Some(name), None),
                AccountName::Subject { subject, issuer } => ("subject", Some(subject), issuer.as_ref()),
                AccountName::Others => ("others", None, None),
            };
            let families = row.families.iter().map(|(family, count, addresses)| FamilyRow {
                family: names[family.index()].to_string(),
                addresses: *addresses,
                count: (*count).into(),
            });
            AccountRow {
                kind,
                name: name.cloned(),
                issuer: issuer.cloned(),
                peak_connections: row.peak,
                families: families.collect(),
            }
        });
        Self {
            day: day.number().to_string(),
            until,
            users_complete: day.users_lost() == 0,
            delivered: all.delivered,
            repeated: all.repeated,
            bytes: all.bytes,
            families: by_family
                .map(|((name, total), users)| FamilyTotal {
                    family: name.to_string(),
                    users,
                    count: total.into(),
                })
                .collect(),
            accounts: accounts.collect(),
        }
    }

    /// The number of accounts.
    pub(crate) fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The day, like 2026-11-30.
    pub(crate) fn day(&self) -> &str {
        &self.day
    }

    #[cfg(test)]
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    #[cfg(test)]
    pub(super) fn users_complete(&self) -> bool {
        self.users_complete
    }

    /// The page as CSV (RFC 4180). An account that has only been connected has one row, without a family.
    pub(crate) fn to_csv(&self) -> String {
        let mut out = HEADER.to_owned();
        for account in &self.accounts {
            let mut row = |family: &str, addresses: usize, count: Counted| {
                let texts = [
                    &self.day,
                    account.kind,
                    account.name.as_deref().unwrap_or_default(),
                    account.issuer.as_deref().unwrap_or_default(),
                    family,
                ];
                for text in texts {
                    out.push_str(&field(text));
                    out.push(',');
                }
                let peak = account.peak_connections;
                let Counted {
                    delivered,
                    repeated,
                    bytes,
                } = count;
                out.push_str(&format!("{addresses},{peak},{delivered},{repeated},{bytes}\r\n"));
            };
            for family in &account.families {
                row(&family.family, family.addresses, family.count);
            }
            if account.families.is_empty() {
                row("", 0, FamilyCount::default().into());
            }
        }
        out
    }
}

/// A text as a field of CSV. Names come from clients' tokens: what a spreadsheet would take for a formula has an
/// apostrophe before it.
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = format!("{}{text}", if is_formula { "'" } else { "" });
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_characters_are_one_field_and_no_formula() {
        for (text, expected) in [
            ("desk", "desk"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("-1,2", "\"'-1,2\""),
            ("", ""),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn days_by_their_names() {
        let today: DayNumber = "2026-03-01".parse().expect("a day");
        for (text, day) in [
            ("today", "2026-03-01"),
            ("yesterday", "2026-02-28"),
            ("2025-12-31", "2025-12-31"),
        ] {
            let wanted: WantedDay = text.parse().expect("a day");
            assert_eq!(wanted.number(today).to_string(), day);
        }
        for text in ["", "Today", "2026-02-29", "2026-2-1", "2026-03-01T00:00:00Z", "x"] {
            assert_eq!(text.parse::<WantedDay>(), Err(()), "{text}");
        }
    }
}
