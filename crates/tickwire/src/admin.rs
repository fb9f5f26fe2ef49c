//! `tickwire admin`: lists and closes sessions, revokes keys and tokens, prints the books of accounts, and drains, over the admin API of the operators'
//! listener.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tickwire_client::{Client, ClientBuilder, ConnectError};
use tickwire_wire::{Micros, Moment};

use crate::cli::{
    AdminAccountingArgs, AdminArgs, AdminBroker, AdminCloseArgs, AdminCommand, AdminFormat, AdminRevokeArgs,
    SessionConditions,
};
use crate::console;
use crate::failure::Failure;
use crate::http;
use crate::token;

const SESSIONS: &str = "/admin/v1/sessions";
const REVOCATIONS: &str = "/admin/v1/revocations";
const ACCOUNTING: &str = "/admin/v1/accounting";
/// What a broker without such books answers with 404 to.
const NO_BOOKS: &str =
    "the broker has no books of this day, no accounting.enabled, or no [[admin.keys]] in its settings";
/// What a broker without an admin API answers with 404 to.
const NO_ADMIN: &str = "the broker has no admin API: its settings have no [[admin.keys]]";

/// A session as people see it.
#[derive(Deserialize)]
struct ShownSession {
    session: String,
    address: Option<String>,
    key: Option<String>,
    subject: Option<String>,
    transport: String,
    state: String,
    subscriptions: u64,
}

/// A revocation as people see it.
#[derive(Deserialize)]
struct ShownRevocation {
    id: u64,
    key: Option<String>,
    subject: Option<String>,
    jti: Option<String>,
    until: Option<u64>,
    by: String,
}

/// The books of a day as people see them.
#[derive(Deserialize)]
struct Books {
    day: String,
    users_complete: bool,
    delivered: u64,
    repeated: u64,
    bytes: u64,
    accounts: Vec<BooksAccount>,
}

#[derive(Deserialize)]
struct BooksAccount {
    kind: String,
    name: Option<String>,
    peak_connections: u32,
    families: Vec<BooksFamily>,
}

#[derive(Deserialize)]
struct BooksFamily {
    family: String,
    addresses: u64,
    delivered: u64,
    repeated: u64,
    bytes: u64,
}

/// Does what `args` say.
pub(crate) fn run(args: &AdminArgs) -> Result<(), Failure> {
    http::run(async {
        let broker = token::shown_by(Client::builder(&args.at.ops), args.at.token_file.as_deref())?;
        let admin = Admin { broker, at: &args.at };
        match &args.command {
            AdminCommand::Sessions(args) => admin.sessions(&args.conditions).await,
            AdminCommand::Close(args) => admin.close(args).await,
            AdminCommand::Revoke(args) => admin.revoke(args).await,
            AdminCommand::Revocations => admin.revocations().await,
            AdminCommand::Unrevoke(args) => admin.unrevoke(&args.ids).await,
            AdminCommand::Accounting(args) => admin.accounting(args).await,
            AdminCommand::Drain => admin.drain().await,
        }
    })
}

/// The admin API of a broker.
struct Admin<'a> {
    broker: ClientBuilder,
    at: &'a AdminBroker,
}

impl Admin<'_> {
    async fn sessions(&self, conditions: &SessionConditions) -> Result<(), Failure> {
        let query = query(conditions);
        let head = "session      transport  state        subscriptions  address                 holder\n";
        let count = self
            .list(SESSIONS, &query, ("sessions", head), session_line)
            .await?;
        match count {
            0 => Err(anyhow!("no open session is selected").into()),
            _ => Ok(()),
        }
    }

    async fn close(&self, args: &AdminCloseArgs) -> Result<(), Failure> {
        if args.sessions.is_empty() {
            let mut body = body_of(&args.conditions);
            if let Some(reason) = &args.reason {
                body.insert("reason".to_owned(), json!(reason));
            }
            let closed = self.post("/admin/v1/close", Value::Object(body)).await?;
            return self.tell(&closed, format_args!("closed {}", closed["closed"]));
        }
        let mut is_any_missing = false;
        for session in &args.sessions {
            let closed: Option<Value> =
                http::delete(&self.broker, &format!("{SESSIONS}/{}", encoded(session))).await?;
            match closed {
                Some(closed) => self.tell(&closed, format_args!("{session}: closed"))?,
                None => {
                    is_any_missing = true;
                    console::say(format_args!("{session}: no such session"));
                }
            }
        }
        reported(is_any_missing)
    }

    async fn revoke(&self, args: &AdminRevokeArgs) -> Result<(), Failure> {
        let mut body = Map::new();
        for (name, value) in [("key", &args.key), ("subject", &args.subject), ("jti", &args.jti)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(Moment(until)) = args.until {
            body.insert("until".to_owned(), json!(until));
        }
        let made = self.post(REVOCATIONS, Value::Object(body)).await?;
        let (id, closed) = (&made["revocation"]["id"], &made["closed"]);
        self.tell(&made, format_args!("revoked as id {id}; closed {closed}"))
    }

    async fn revocations(&self) -> Result<(), Failure> {
        let head = "id     until                        by                what\n";
        self.list(REVOCATIONS, "", ("revocations", head), revocation_line)
            .await
            .map(drop)
    }

    async fn unrevoke(&self, ids: &[u64]) -> Result<(), Failure> {
        let mut is_any_missing = false;
        for id in ids {
            let removed: Option<Value> = http::delete(&self.broker, &format!("{REVOCATIONS}/{id}")).await?;
            match removed {
                Some(removed) => self.tell(&removed, format_args!("{id}: taken back"))?,
                None => {
                    is_any_missing = true;
                    console::say(format_args!("{id}: no such revocation"));
                }
            }
        }
        reported(is_any_missing)
    }

    async fn accounting(&self, args: &AdminAccountingArgs) -> Result<(), Failure> {
        let format = if args.csv { "csv" } else { "json" };
        let target = format!("{ACCOUNTING}?day={}&format={format}", encoded(&args.day));
        let page = match self.broker.get(&target).await {
            Err(ConnectError::Refused { status: 404, .. }) => return Err(anyhow!(NO_BOOKS).into()),
            page => page?,
        };
        if args.csv {
            return Ok(console::print(&page)?);
        }
        let page: Value = serde_json::from_slice(&page)?;
        let text = match self.at.format {
            AdminFormat::Json => format!("{page}\n"),
            AdminFormat::Human => books(Books::deserialize(page)?),
        };
        Ok(console::print(text.as_bytes())?)
    }

    async fn drain(&self) -> Result<(), Failure> {
        let drains = self.post("/admin/v1/drain", json!({})).await?;
        self.tell(&drains, format_args!("the broker drains"))
    }

    async fn post(&self, target: &str, body: Value) -> Result<Value, Failure> {
        let answer = http::post(&self.broker, target, &body).await?;
        answer.ok_or_else(|| anyhow!(NO_ADMIN).into())
    }

    /// Prints a list page by page. Returns the number of its entries.
    async fn list(
        &self,
        target: &str,
        query: &str,
        (field, head): (&str, &str),
        line: fn(Value) -> Result<String, Failure>,
    ) -> Result<usize, Failure> {
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = http::get(&self.broker, &format!("{target}?limit=1000{query}{after}")).await?;
            let mut page: Value = page.ok_or_else(|| anyhow!(NO_ADMIN))?;
            let Value::Array(entries) = page[field].take() else {
                return Err(anyhow!("the answer to {target} is not what was asked for").into());
            };
            let mut text = String::new();
            if self.at.format == AdminFormat::Human && count == 0 && !entries.is_empty() {
                text += head;
            }
            count += entries.len();
            for entry in entries {
                text += &match self.at.format {
                    AdminFormat::Json => format!("{entry}\n"),
                    AdminFormat::Human => line(entry)?,
                };
            }
            console::print(text.as_bytes())?;
            after = match &page["next"] {
                Value::String(next) => format!("&after={}", encoded(next)),
                Value::Number(next) => format!("&after={next}"),
                _ => return Ok(count),
            };
        }
    }

    /// Prints an answer, or says what it means.
    fn tell(&self, answer: &Value, meaning: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        match self.at.format {
            AdminFormat::Json => console::print(format!("{answer}\n").as_bytes())?,
            AdminFormat::Human => console::say(meaning),
        }
        Ok(())
    }
}

/// A day's books for people.
fn books(books: Books) -> String {
    let mut text = format!(
        "{}: {} messages and {} repeated snapshots were delivered, {} bytes\n",
        books.day, books.delivered, books.repeated, books.bytes
    );
    if !books.users_complete {
        text += "addresses are not complete: there were more than accounting.users\n";
    }
    text += "holder                    peak  family          addresses     delivered      repeated           bytes\n";
    for account in books.accounts {
        let holder = match account.name {
            Some(name) => format!("{} {}", account.kind, safe(&name)),
            None => account.kind,
        };
        let peak = account.peak_connections;
        if account.families.is_empty() {
            text += &format!("{holder:24} {peak:>5}  -\n");
        }
        for family in account.families {
            let BooksFamily {
                family,
                addresses,
                delivered,
                repeated,
                bytes,
            } = family;
            text += &format!(
                "{holder:24} {peak:>5}  {family:14} {addresses:>10} {delivered:>13} {repeated:>13} {bytes:>15}\n"
            );
        }
    }
    text
}

fn reported(is_any_missing: bool) -> Result<(), Failure> {
    match is_any_missing {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

/// The conditions with their names.
fn named(conditions: &SessionConditions) -> impl Iterator<Item = (&'static str, &str)> {
    let topic = conditions.topic.as_ref().map(tickwire_wire::Topic::as_str);
    let all = [
        ("address", conditions.address.as_deref()),
        ("key", conditions.key.as_deref()),
        ("subject", conditions.subject.as_deref()),
        ("topic", topic),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

fn body_of(conditions: &SessionConditions) -> Map<String, Value> {
    let fields = named(conditions).map(|(name, value)| (name.to_owned(), json!(value)));
    fields.collect()
}

fn query(conditions: &SessionConditions) -> String {
    let parts = named(conditions).map(|(name, value)| format!("&{name}={}", encoded(value)));
    parts.collect()
}

/// The text for a query or a path: everything but unreserved characters is percent-encoded (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn session_line(entry: Value) -> Result<String, Failure> {
    let shown = ShownSession::deserialize(entry)?;
    let holder = match (shown.key, shown.subject) {
        (Some(key), _) => format!("key {}", safe(&key)),
        (None, Some(subject)) => format!("subject {}", safe(&subject)),
        (None, None) => "-".to_owned(),
    };
    Ok(format!(
        "{:12} {:10} {:12} {:>13}  {:22}  {holder}\n",
        shown.session,
        shown.transport,
        shown.state,
        shown.subscriptions,
        shown.address.as_deref().unwrap_or("-"),
    ))
}

fn revocation_line(entry: Value) -> Result<String, Failure> {
    let shown = ShownRevocation::deserialize(entry)?;
    let what = match (shown.key, shown.subject, shown.jti) {
        (Some(key), ..) => format!("key {}", safe(&key)),
        (_, Some(subject), _) => format!("subject {}", safe(&subject)),
        (.., jti) => format!("jti {}", safe(&jti.unwrap_or_default())),
    };
    let until = shown
        .until
        .map_or_else(|| "-".to_owned(), |at| Moment(Micros(at)).to_string());
    Ok(format!(
        "{:<6} {until:28} {:17} {what}\n",
        shown.id,
        safe(&shown.by)
    ))
}

/// A name that may be foreign, without what would turn a terminal's text around.
fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|char| match char {
            ' ' => vec![' '],
            char => char.escape_debug().collect::<Vec<char>>(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_characters_is_one_value_of_a_query() {
        let conditions = SessionConditions {
            address: Some("10.0.0.0/8".to_owned()),
            key: None,
            subject: Some("a&b=ü c".to_owned()),
            topic: Some("t.a".parse().expect("a topic")),
        };
        let expected = "&address=10.0.0.0%2F8&subject=a%26b%3D%C3%BC%20c&topic=t.a";
        assert_eq!(query(&conditions), expected);
    }

    #[test]
    fn a_foreign_name_cannot_write_to_the_terminal() {
        assert_eq!(safe("a b\u{1b}[2J"), "a b\\u{1b}[2J");
    }
}
