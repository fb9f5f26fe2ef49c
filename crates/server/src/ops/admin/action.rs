//! The actions of the admin API: each is read from a request, checked as a whole, and only then carried out.

use std::str::FromStr;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Serialize;
use tickwire_wire::{ErrorCode, Micros, Refusal};

use super::{ACCOUNTING, CLOSE, DRAIN, Done, REVOCATION, REVOCATIONS, SESSION, SESSIONS, request};
use crate::accounting::WantedDay;
use crate::auth::{Revocation, RevocationsFull, Revoked};
use crate::http::{ErrorResponse, read_operators_body};
use crate::hub::BY_OPERATOR;
use crate::net::proxied::ClientAddr;
use crate::ops::inspector::{ClosedSessions, SessionName};
use crate::ops::{Asked, Ops, debug_pages};
use crate::run::command::{CloseOrder, HowClosed, ListedHolder, ListedSession, SessionFilter};

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// The number of entries of a page whose request gives none.
const LIMIT: usize = 100;
/// Most entries of a page.
const LIMIT_MAX: usize = 1_000;

/// What an operator wants.
#[derive(Debug)]
pub(super) enum Action {
    /// A page of sessions.
    List {
        filter: Arc<SessionFilter>,
        what: String,
        after: Option<SessionName>,
        limit: usize,
    },
    /// Close the session with this name.
    CloseOne(String),
    /// Close the sessions that are selected, and tell their clients this reason.
    CloseAll {
        filter: SessionFilter,
        what: String,
        reason: Option<String>,
    },
    /// Revoke something that has this name, until a moment.
    Revoke {
        revoked: Revoked,
        name: String,
        until: Option<Micros>,
    },
    /// A page of revocations with numbers above `after`.
    ListRevocations { after: u64, limit: usize },
    /// Take the revocation with this number back.
    TakeBack(u64),
    /// Drain this broker.
    Drain,
    /// The books of a day.
    Accounts {
        day: WantedDay,
        what: String,
        format: AccountsFormat,
    },
}

/// How the books are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountsFormat {
    Json,
    Csv,
}

impl FromStr for AccountsFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err(()),
        }
    }
}

#[derive(Debug, Serialize)]
struct OpenSessionsPage {
    sessions: Vec<SessionRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct SessionRow {
    session: String,
    address: Option<ClientAddr>,
    key: Option<String>,
    subject: Option<String>,
    jti: Option<String>,
    transport: &'static str,
    codec: String,
    state: &'static str,
    subscriptions: usize,
}

#[derive(Debug, Serialize)]
struct ClosedCount {
    closed: usize,
}

#[derive(Debug, Serialize)]
struct RevocationsPage {
    revocations: Vec<RevocationRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RevocationRow {
    id: u64,
    key: Option<String>,
    subject: Option<String>,
    jti: Option<String>,
    until: Option<Micros>,
    since: Micros,
    by: String,
}

#[derive(Debug, Serialize)]
struct Revoking {
    revocation: RevocationRow,
    closed: usize,
}

#[derive(Debug, Serialize)]
struct TakenBack {
    removed: RevocationRow,
}

#[derive(Debug, Serialize)]
struct DrainBegun {
    draining: bool,
}

impl Action {
    /// The action that a request asks for.
    ///
    /// # Errors
    /// 400 if the request cannot be understood; those of its body.
    pub(super) async fn read(ops: &Ops, asked: Asked<'_>) -> Result<Self, ErrorResponse> {
        let (config, access) = ops.live_settings.rules();
        let body = async |request| {
            let within = std::time::Duration::from_millis(config.limits.handshake_ms);
            read_operators_body(request, config.compression.enabled, BODY_BYTES_MAX, within).await
        };
        let limit = || asked.query.read()?.count("limit", LIMIT, LIMIT_MAX);
        Ok(match asked.path {
            SESSIONS => {
                let query = asked.query.read()?;
                let conditions = request::Conditions::of_query(&query)?;
                let what = "the name of a session, the next of the page before";
                Self::List {
                    filter: Arc::new(conditions.filter(&access)?),
                    what: conditions.to_string(),
                    after: query.one_as("after", what)?,
                    limit: limit()?,
                }
            }
            SESSION => Self::CloseOne(session_name(asked.last_segment())?),
            CLOSE => {
                let (filter, what, reason) = request::closing(&body(asked.request).await?, &access)?;
                Self::CloseAll { filter, what, reason }
            }
            REVOCATIONS if asked.request.method() == Method::POST => {
                let body = body(asked.request).await?;
                let (revoked, name, until) = request::revocation(&body, &access, ops.clock.wall())?;
                Self::Revoke { revoked, name, until }
            }
            REVOCATIONS => {
                let what = "a whole number, the next of the page before";
                Self::ListRevocations {
                    after: asked.query.read()?.one_as("after", what)?.unwrap_or(0),
                    limit: limit()?,
                }
            }
            REVOCATION => {
                let number = asked.last_segment().parse();
                Self::TakeBack(number.map_err(|_| no_revocation())?)
            }
            DRAIN => {
                request::nothing(&body(asked.request).await?)?;
                Self::Drain
            }
            ACCOUNTING => {
                let query = asked.query.read()?;
                let day = query.one_as(
                    "day",
                    "today, yesterday, or the date of one of them, such as 2026-11-30",
                )?;
                let format = query.one_as("format", "json or csv")?;
                Self::Accounts {
                    what: format!("day={}", query.one("day")?.unwrap_or("today")),
                    day: day.unwrap_or(WantedDay::Today),
                    format: format.unwrap_or(AccountsFormat::Json),
                }
            }
            _ => return Err(ErrorResponse::fault("a page of the admin API has no action")),
        })
    }

    /// What it is about, for the audit line.
    pub(super) fn what(&self) -> String {
        match self {
            Self::List { what, .. } | Self::CloseAll { what, .. } | Self::Accounts { what, .. } => {
                what.clone()
            }
            Self::CloseOne(name) => format!("session={name:?}"),
            Self::Revoke { revoked, name, .. } => format!("{}={name:?}", kind_of(revoked)),
            Self::TakeBack(number) => format!("id={number}"),
            Self::ListRevocations { .. } | Self::Drain => String::new(),
        }
    }

    /// Does it, for the `operator`.
    ///
    /// # Errors
    /// 404 if what it is about does not exist, 503 if a shard does not answer or there is no room for a revocation.
    pub(super) async fn carry_out(self, ops: &Ops, operator: &str) -> Result<Done, ErrorResponse> {
        match self {
            Self::List {
                filter, after, limit, ..
            } => list(ops, &filter, after, limit).await,
            Self::CloseOne(name) => close_one(ops, &name).await,
            Self::CloseAll { filter, reason, .. } => {
                let how = HowClosed::GoingAway(reason.unwrap_or_else(|| BY_OPERATOR.to_owned()));
                let closed = ops
                    .inspector
                    .close_all(&Arc::new(CloseOrder { filter, how }))
                    .await;
                let closed = all_of(closed)?;
                Ok(done(format!("closed {closed}"), &ClosedCount { closed }))
            }
            Self::Revoke { revoked, name, until } => revoke(ops, (revoked, name), until, operator).await,
            Self::ListRevocations { after, limit } => Ok(list_revocations(ops, after, limit)),
            Self::TakeBack(number) => take_back(ops, number).await,
            Self::Accounts { day, format, .. } => accounts(ops, day, format).await,
            Self::Drain => {
                ops.stop_request.ask();
                Ok(Done {
                    status: StatusCode::ACCEPTED,
                    ..done("draining".to_owned(), &DrainBegun { draining: true })
                })
            }
        }
    }
}

fn done<T: Serialize>(outcome: String, page: &T) -> Done {
    Done {
        status: StatusCode::OK,
        outcome,
        answer: debug_pages::json(page),
    }
}

/// The number of sessions, if all shards have closed theirs.
fn all_of(closed: ClosedSessions) -> Result<usize, ErrorResponse> {
    match closed.missing {
        None => Ok(closed.count),
        Some(missing) => {
            let count = closed.count;
            let reason = format!("{count} sessions were closed, and then {missing}; ask again");
            let refusal = Refusal::new(ErrorCode::Internal, reason);
            Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, refusal))
        }
    }
}

fn session_name(text: &str) -> Result<String, ErrorResponse> {
    let name: Result<SessionName, ()> = text.parse();
    name.map(|_| text.to_owned()).map_err(|()| no_session())
}

fn no_session() -> ErrorResponse {
    let refusal = Refusal::bad_request("there is no open session with this name");
    ErrorResponse::new(StatusCode::NOT_FOUND, refusal)
}

fn no_revocation() -> ErrorResponse {
    let refusal = Refusal::bad_request("there is no revocation with this id");
    ErrorResponse::new(StatusCode::NOT_FOUND, refusal)
}

async fn list(
    ops: &Ops,
    filter: &Arc<SessionFilter>,
    after: Option<SessionName>,
    limit: usize,
) -> Result<Done, ErrorResponse> {
    // One more tells whether there is another page.
    let listed = ops.inspector.open_sessions(filter, after, limit + 1).await?;
    let mut sessions: Vec<SessionRow> = listed.into_iter().map(session_row).collect();
    let next = (sessions.len() > limit).then(|| {
        sessions.truncate(limit);
        sessions.last().map(|last| last.session.clone())
    });
    let outcome = format!("listed {}", sessions.len());
    let next = next.flatten();
    Ok(done(outcome, &OpenSessionsPage { sessions, next }))
}

/// The books of a day, with all that was delivered before the request came.
async fn accounts(ops: &Ops, day: WantedDay, format: AccountsFormat) -> Result<Done, ErrorResponse> {
    let Some(accounting) = &ops.accounting else {
        let refusal = Refusal::bad_request("there is no accounting: accounting.enabled is not set");
        return Err(ErrorResponse::new(StatusCode::NOT_FOUND, refusal));
    };
    ops.inspector.book().await?;
    let page = accounting.page(day).ok_or_else(|| {
        let refusal = Refusal::bad_request("there are no books of this day");
        ErrorResponse::new(StatusCode::NOT_FOUND, refusal)
    })?;
    let outcome = format!("listed {} accounts of {}", page.account_count(), page.day());
    Ok(match format {
        AccountsFormat::Json => done(outcome, &page),
        AccountsFormat::Csv => Done {
            status: StatusCode::OK,
            outcome,
            answer: debug_pages::csv(page.to_csv()),
        },
    })
}

fn session_row(listed: ListedSession) -> SessionRow {
    let (key, subject, jti) = match listed.holder {
        None => (None, None, None),
        Some(ListedHolder::Key(name)) => (Some(name), None, None),
        Some(ListedHolder::Subject { subject, token_id }) => (None, Some(subject), token_id),
    };
    SessionRow {
        session: listed.card.name,
        address: listed.client,
        key,
        subject,
        jti,
        transport: debug_pages::transport_name(listed.card.transport),
        codec: listed.card.codec.to_string(),
        state: listed.card.state,
        subscriptions: listed.card.subscriptions,
    }
}

async fn close_one(ops: &Ops, name: &str) -> Result<Done, ErrorResponse> {
    if !ops.inspector.close(name).await? {
        return Err(no_session());
    }
    Ok(done("closed 1".to_owned(), &ClosedCount { closed: 1 }))
}

/// Revokes first and closes then: a session that is opened meanwhile finds the revocation.
async fn revoke(
    ops: &Ops,
    (revoked, name): (Revoked, String),
    until: Option<Micros>,
    operator: &str,
) -> Result<Done, ErrorResponse> {
    let (_, access) = ops.live_settings.rules();
    let made = access
        .revocations()
        .revoke((revoked, name), until, operator.to_owned(), ops.clock.wall());
    let made =
        made.map_err(|full: RevocationsFull| Refusal::new(ErrorCode::LimitExceeded, full.to_string()))?;
    let mut filter = SessionFilter::default();
    match made.revoked.clone() {
        Revoked::Key(hash) => filter.key = Some(hash),
        Revoked::Subject(subject) => filter.subject = Some(subject),
        Revoked::TokenId(id) => filter.token_id = Some(id),
    }
    let how = HowClosed::Revoked;
    let closed = all_of(
        ops.inspector
            .close_all(&Arc::new(CloseOrder { filter, how }))
            .await,
    )?;
    save(
        ops,
        &format!("revoked as id {}, and {closed} sessions were closed", made.number),
    )
    .await?;
    let outcome = format!("revoked as id {}, closed {closed}", made.number);
    let revocation = revocation_row(made);
    Ok(done(outcome, &Revoking { revocation, closed }))
}

fn list_revocations(ops: &Ops, after: u64, limit: usize) -> Done {
    let (_, access) = ops.live_settings.rules();
    let mut page = access.revocations().page(after, limit + 1, ops.clock.wall());
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| has_more).map(|last| last.number);
    let revocations: Vec<RevocationRow> = page.into_iter().map(revocation_row).collect();
    let outcome = format!("listed {}", revocations.len());
    done(outcome, &RevocationsPage { revocations, next })
}

async fn take_back(ops: &Ops, number: u64) -> Result<Done, ErrorResponse> {
    let (_, access) = ops.live_settings.rules();
    let removed = access.revocations().take_back(number, ops.clock.wall());
    let removed = removed.ok_or_else(no_revocation)?;
    save(ops, "taken back").await?;
    let outcome = format!("took back {}={:?}", kind_of(&removed.revoked), removed.name);
    let removed = revocation_row(removed);
    Ok(done(outcome, &TakenBack { removed }))
}

/// Writes the revocations to their file, if there is one. `done` says what has happened already.
async fn save(ops: &Ops, done: &str) -> Result<(), ErrorResponse> {
    let (_, access) = ops.live_settings.rules();
    let revocations = access.revocations().clone();
    // The disk may be slow, and other operators are waited on by the same thread.
    let saved = tokio::task::spawn_blocking(move || revocations.save()).await;
    let failed = match saved {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "a fault of the broker".to_owned(),
    };
    tracing::error!(error = failed, "what is revoked was not saved");
    let reason = format!("{done}, but that was not saved in admin.dir: a restart would forget it; ask again");
    let refusal = Refusal::new(ErrorCode::Internal, reason);
    Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, refusal))
}

/// The field that names what is revoked.
fn kind_of(revoked: &Revoked) -> &'static str {
    match revoked {
        Revoked::Key(_) => "key",
        Revoked::Subject(_) => "subject",
        Revoked::TokenId(_) => "jti",
    }
}

fn revocation_row(entry: Revocation) -> RevocationRow {
    let (mut key, mut subject, mut jti) = (None, None, None);
    match entry.revoked {
        Revoked::Key(_) => key = Some(entry.name),
        Revoked::Subject(_) => subject = Some(entry.name),
        Revoked::TokenId(_) => jti = Some(entry.name),
    }
    RevocationRow {
        id: entry.number,
        key,
        subject,
        jti,
        until: entry.until,
        since: entry.since,
        by: entry.by,
    }
}
