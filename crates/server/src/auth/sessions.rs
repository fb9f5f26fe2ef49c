//! Access control for the sessions of a shard: which token each has shown, and its rights.
//!
//! It keeps the holder of each session that showed a token, since only the same holder may renew its rights. It is
//! bounded by the number of sessions. Verifying takes processor time of the shard's thread, and never waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{AuthRequest, Rights, SessionId, Shard, Transport};
use tickwire_wire::{CloseCode, Dialect, Micros};

use crate::accounting::{AccountName, Accounting, OpenAccount, user_at};
use crate::auth::{Access, Admission, Denied, Holder, shown_token};
use crate::config::KeyHash;
use crate::limits::{HolderConnections, HolderSlot};
use crate::run::clock::Clock;

/// The number of refused tokens in a row after which a session is closed with 4501.
const BAD_TOKENS_IN_A_ROW_MAX: u32 = 5;
/// The close reason for the holder of a static key that is no longer in the settings.
const WITHDRAWN: &str = "the key was withdrawn";
/// The close reason for a session whose token, key or subject is revoked.
pub(crate) const REVOKED: &str = "revoked by an operator";

/// The record of a session that showed a token.
#[derive(Debug, Default)]
struct SessionHolder {
    /// The holder of the last accepted token.
    holder: Option<Holder>,
    /// The name of that token, if it has one.
    token_id: Option<Box<str>>,
    /// The number of tokens that were refused since then.
    bad_tokens: u32,
}

/// Asks [`Access`] for the rights of one shard's sessions, and remembers their holders.
#[derive(Debug)]
pub(crate) struct AuthSessions {
    access: Arc<Access>,
    /// The rights of clients without a token, shared by all of them.
    anonymous: Rc<Rights>,
    clock: Clock,
    metrics: Arc<Catalogue>,
    holders: HashMap<SessionId, SessionHolder>,
    accounting: Option<Arc<Accounting>>,
    /// The connections of all holders, and the places of the sessions among these.
    holder_connections: HolderConnections,
    places: HashMap<SessionId, HolderSlot>,
    /// The accounts of the sessions, if there is accounting.
    accounts: HashMap<SessionId, OpenAccount>,
}

impl AuthSessions {
    pub(crate) fn new(access: Arc<Access>, clock: Clock, metrics: Arc<Catalogue>) -> Self {
        Self {
            anonymous: Rc::new(access.anonymous().clone()),
            access,
            clock,
            metrics,
            holders: HashMap::new(),
            holder_connections: HolderConnections::default(),
            places: HashMap::new(),
            accounting: None,
            accounts: HashMap::new(),
        }
    }

    /// The same, with accounts for the sessions if there is `accounting`.
    pub(crate) fn with_accounting(self, accounting: Option<Arc<Accounting>>) -> Self {
        Self { accounting, ..self }
    }

    /// The same, whose sessions count among these connections when they show another holder's token.
    pub(crate) fn with_holder_connections(self, holder_connections: HolderConnections) -> Self {
        Self {
            holder_connections,
            ..self
        }
    }

    /// The same with the rules `access`, and without sessions.
    pub(crate) fn anew(&self, access: Arc<Access>) -> Self {
        let anew = Self::new(access, self.clock, self.metrics.clone());
        anew.with_accounting(self.accounting.clone())
            .with_holder_connections(self.holder_connections.clone())
    }

    /// The current rules.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The rights of the client that sent a request with these `headers`, if it is admitted.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admission, Denied> {
        let admitted = self
            .access
            .check_origin(headers)
            .and_then(|()| shown_token(headers))
            .and_then(|token| self.access.admit(token.as_ref(), self.clock.wall()));
        admitted.inspect_err(|denied| self.count(denied))
    }

    /// Checks that the page behind a request with these `headers` is admitted. The token is not checked.
    pub(crate) fn admit_page(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let checked = self.access.check_origin(headers);
        checked.inspect_err(|denied| self.count(denied))
    }

    /// The current rights of a client that was admitted with `admission`.
    pub(crate) fn still(&self, admission: &Admission) -> Result<Rights, Denied> {
        let rights = self.access.still(admission, self.clock.wall());
        rights.cloned().inspect_err(|denied| self.count(denied))
    }

    /// Opens a session of `shard` for a client at `ip` that was admitted. Its rights follow the current rules, which may have
    /// changed since its handshake was answered. If its static key is gone by now, it is closed at once.
    pub(crate) fn open(
        &mut self,
        shard: &mut Shard,
        dialect: Dialect,
        transport: Transport,
        (admission, ip): (Admission, IpAddr),
        now: Micros,
    ) -> SessionId {
        let rights = match &admission.holder {
            Some(Holder::Key(key)) => self.access.rights_of_key(*key).cloned().map(Rc::new),
            _ => Some(self.rights_of(&admission)),
        };
        let withdrawn = if rights.is_none() {
            Some(WITHDRAWN)
        } else if self.access.is_revoked(&admission, self.clock.wall()) {
            Some(REVOKED)
        } else {
            None
        };
        let rights = rights.unwrap_or_else(|| Rc::new(Rights::none()));
        let id = shard.open(dialect, transport, rights, now);
        if let Some(reason) = withdrawn {
            shard.withdraw(id, reason, now);
        }
        shard.set_expiry(id, admission.expires.map(|at| self.clock.at_wall(at)));
        if let Some(place) = admission.place {
            self.places.insert(id, place);
        }
        if let Some(account) = self.open_account(admission.holder.as_ref()) {
            shard.account(id, account.id(), user_at(ip));
            self.accounts.insert(id, account);
        }
        if admission.holder.is_some() {
            let holder_of_session = SessionHolder {
                holder: admission.holder,
                token_id: admission.token_id,
                bad_tokens: 0,
            };
            self.holders.insert(id, holder_of_session);
        }
        id
    }

    /// Opens a connection of a holder's account, if there is accounting.
    fn open_account(&self, holder: Option<&Holder>) -> Option<OpenAccount> {
        let name = holder.and_then(|holder| self.access.name_of(holder));
        let accounting = self.accounting.as_ref();
        accounting.map(|accounting| accounting.open(AccountName::of(holder, name)))
    }

    /// The name of the holder of the token that a session showed, if it showed one.
    pub(crate) fn name_of(&self, id: SessionId) -> Option<&str> {
        self.access.name_of(self.holder_of(id)?)
    }

    /// The holder of the token that a session showed, if it showed one.
    pub(crate) fn holder_of(&self, id: SessionId) -> Option<&Holder> {
        self.holders.get(&id)?.holder.as_ref()
    }

    /// The name of the token that a session showed, if it has one.
    pub(crate) fn token_id_of(&self, id: SessionId) -> Option<&str> {
        self.holders.get(&id)?.token_id.as_deref()
    }

    /// Forgets a session that is gone.
    pub(crate) fn forget(&mut self, id: SessionId) {
        self.holders.remove(&id);
        self.accounts.remove(&id);
        self.places.remove(&id);
    }

    /// Answers the tokens that sessions of `shard` have shown.
    pub(crate) fn answer(&mut self, shard: &mut Shard, now: Micros) {
        while let Some(auth) = shard.next_auth() {
            let id = auth.session;
            match self.renewal(&auth) {
                Ok(admission) => {
                    let is_other = self.holder_of(id) != admission.holder.as_ref();
                    if is_other && self.places.contains_key(&id) {
                        match admission.connect(&self.holder_connections) {
                            Ok(place) => self.places.insert(id, place),
                            Err(full) => {
                                shard.refuse(id, Some(auth.request), full.refusal(), now);
                                continue;
                            }
                        };
                    }
                    let rights = self.rights_of(&admission);
                    let expires = admission.expires.map(|at| self.clock.at_wall(at));
                    shard.renew(id, auth.request, rights, expires, now);
                    if let Some(holder) = &admission.holder {
                        shard.publishes_as(id, holder.publisher());
                    }
                    if is_other && let Some(account) = self.open_account(admission.holder.as_ref()) {
                        shard.change_account(id, account.id());
                        self.accounts.insert(id, account);
                    }
                    let holder_of_session = self.holders.entry(id).or_default();
                    holder_of_session.holder = admission.holder;
                    holder_of_session.token_id = admission.token_id;
                    holder_of_session.bad_tokens = 0;
                }
                Err(denied) => {
                    self.count(&denied);
                    shard.refuse(id, Some(auth.request), denied.refusal(), now);
                    if denied != Denied::OtherHolder && self.has_worn_out(id) {
                        let reason = format!("{BAD_TOKENS_IN_A_ROW_MAX} tokens in a row were not taken");
                        shard.close(id, CloseCode::BAD_TOKEN, &reason, now);
                    }
                }
            }
        }
    }

    /// The rights that the token of a session's request grants, if it belongs to the session's holder.
    fn renewal(&self, auth: &AuthRequest) -> Result<Admission, Denied> {
        let admission = self.access.verify(&auth.token, self.clock.wall())?;
        let holder = self
            .holders
            .get(&auth.session)
            .and_then(|holder_of_session| holder_of_session.holder.as_ref());
        match holder {
            Some(_) if holder != admission.holder.as_ref() => Err(Denied::OtherHolder),
            _ => Ok(admission),
        }
    }

    /// Counts one more bad token of a session. Returns whether it was the last one allowed.
    fn has_worn_out(&mut self, id: SessionId) -> bool {
        let holder_of_session = self.holders.entry(id).or_default();
        holder_of_session.bad_tokens += 1;
        holder_of_session.bad_tokens >= BAD_TOKENS_IN_A_ROW_MAX
    }

    /// Replaces the rules. They apply to new clients, and at once to those without a token and to the holders of static
    /// keys; a session whose key is gone is closed. The rights from a JSON Web Token stay until it expires.
    pub(crate) fn replace(&mut self, access: Arc<Access>, shard: &mut Shard, now: Micros) {
        if *self.anonymous != *access.anonymous() {
            let anonymous = Rc::new(access.anonymous().clone());
            shard.replace_rights(&self.anonymous, &anonymous, now);
            self.anonymous = anonymous;
        }
        let before = std::mem::replace(&mut self.access, access);
        let changed: HashMap<KeyHash, Option<Rc<Rights>>> = before
            .changed_keys(&self.access)
            .map(|(key, rights)| (key, rights.cloned().map(Rc::new)))
            .collect();
        for (id, holder_of_session) in &self.holders {
            let Some(Holder::Key(key)) = &holder_of_session.holder else {
                continue;
            };
            match changed.get(key) {
                Some(Some(rights)) => shard.change_rights(*id, rights.clone(), now),
                Some(None) => shard.withdraw(*id, WITHDRAWN, now),
                None => {}
            }
        }
    }

    /// The rights of an admission. All clients without a token share one object, so that it can be replaced for all of
    /// them.
    fn rights_of(&self, admission: &Admission) -> Rc<Rights> {
        match admission.holder {
            None => self.anonymous.clone(),
            Some(_) => Rc::new(admission.rights.clone()),
        }
    }

    fn count(&self, denied: &Denied) {
        let reason = denied.failure() as usize;
        self.metrics.add(Metric::AuthFailures, &[reason], 1);
        tracing::debug!(reason = %denied, "a client was not let in, or its token not taken");
    }
}

#[cfg(test)]
mod tests {
    use tickwire_metrics::Catalogue;
    use tickwire_router::{Directory, DirectoryLimits, Grant, Kinds, OwnLimits, ShardId};
    use tickwire_wire::{Codec, Pattern, Secret};

    use super::*;
    use crate::config::{AuthKey, Config};
    use crate::ops::labels::LABELS;

    const KEY: &str = "tw_0123456789abcdef0123456789abcdef";

    /// Rules that let the holder of [`KEY`] subscribe to everything except `denied`, or do not admit it.
    fn rules(denied: Option<&str>) -> Arc<Access> {
        let patterns = |text: &str| -> Vec<Pattern> {
            let words = text.split_whitespace();
            words.map(|word| word.parse().expect("a pattern")).collect()
        };
        let mut config = Config::default();
        config.auth.keys.extend(denied.map(|denied| AuthKey {
            name: "desk".to_owned(),
            hash: KeyHash::of(KEY),
            rights: Rights {
                subscribe: Grant::new(patterns(">"), patterns(denied)),
                publish: Grant::none(),
                publish_rate: None,
                stamp: false,
                own: OwnLimits::default(),
            },
            closes_sessions: false,
        }));
        Arc::new(Access::load(&config).expect("no file is read"))
    }

    /// Sessions with the rules `access`, and a shard without sessions.
    fn with_rules(access: Arc<Access>) -> (AuthSessions, Shard) {
        let limits = DirectoryLimits {
            topics_max: 10,
            topics_per_key_max: 0,
            history_bytes_max: 1_000,
            ..DirectoryLimits::default()
        };
        let directory = Arc::new(Directory::new("e".into(), Kinds::default(), limits, Vec::new()));
        let settings = Config::default().shard_settings();
        let shard = Shard::new(ShardId(0), directory, settings);
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        let sessions = AuthSessions::new(access, Clock::start(), catalogue.clone());
        (sessions, shard)
    }

    /// The admission of a client that shows [`KEY`], or no token.
    fn admission(sessions: &AuthSessions, shows: bool) -> Admission {
        let token = shows.then(|| Secret::from(KEY));
        let admitted = sessions.access().admit(token.as_ref(), sessions.clock.wall());
        admitted.expect("it is let in")
    }

    fn adopt(sessions: &mut AuthSessions, shard: &mut Shard, admission: Admission) -> SessionId {
        sessions.open(
            shard,
            Codec::Json.into(),
            Transport::WebSocket,
            (admission, IpAddr::from([127, 0, 0, 1])),
            Micros(0),
        )
    }

    fn subscribe(shard: &mut Shard, id: SessionId, topic: &str) {
        let request = format!(r#"{{"op":"subscribe","id":1,"topics":["{topic}"]}}"#);
        shard.request(id, Codec::Json.decode_request(request.as_bytes()), Micros(0));
    }

    /// Everything that waits for a session, as one text.
    fn waiting(shard: &Shard, id: SessionId) -> String {
        let outbox = shard.outbox(id).expect("it is there");
        let frames = outbox
            .waiting()
            .map(|it| String::from_utf8_lossy(it.bytes).into_owned());
        frames.collect()
    }

    #[test]
    fn a_static_keys_other_rights_are_those_of_its_sessions_at_once() {
        let (mut sessions, mut shard) = with_rules(rules(Some("")));
        let [holder, anonymous] = [true, false].map(|shows| {
            let admission = admission(&sessions, shows);
            let id = adopt(&mut sessions, &mut shard, admission);
            for topic in ["trade.A", "secret.A"] {
                subscribe(&mut shard, id, topic);
            }
            id
        });
        sessions.replace(rules(Some("secret.>")), &mut shard, Micros(0));
        let lost = "secret.A is no longer subscribed";
        assert!(
            waiting(&shard, holder).contains(lost),
            "{}",
            waiting(&shard, holder)
        );
        assert!(!waiting(&shard, holder).contains("trade.A is no longer"));
        assert!(!waiting(&shard, anonymous).contains("is no longer"));
        assert!(shard.is_open(holder));
        // This holds for more than what was subscribed to. Afterwards the rights are wider again.
        let refused = "this connection may not subscribe to secret.B";
        subscribe(&mut shard, holder, "secret.B");
        assert!(
            waiting(&shard, holder).contains(refused),
            "{}",
            waiting(&shard, holder)
        );
        sessions.replace(rules(Some("")), &mut shard, Micros(0));
        subscribe(&mut shard, holder, "secret.C");
        assert!(!waiting(&shard, holder).contains("may not subscribe to secret.C"));
        sessions.replace(rules(None), &mut shard, Micros(0));
        assert!(waiting(&shard, holder).contains(WITHDRAWN));
        assert!(!shard.is_open(holder) && shard.is_open(anonymous));
    }

    /// A handshake may be answered before a revocation, and its session opened after it.
    #[test]
    fn who_was_let_in_before_a_revocation_has_no_session_after_it() {
        let access = rules(Some(""));
        let (mut sessions, mut shard) = with_rules(access.clone());
        let [holder, anonymous] = [true, false].map(|shows| admission(&sessions, shows));
        let revoked = crate::auth::Revoked::Key(KeyHash::of(KEY));
        let made = access
            .revocations()
            .revoke((revoked, "desk".to_owned()), None, "x".to_owned(), Micros(0));
        assert!(made.is_ok());
        let id = adopt(&mut sessions, &mut shard, holder);
        assert!(!shard.is_open(id) && waiting(&shard, id).contains(REVOKED));
        let id = adopt(&mut sessions, &mut shard, anonymous);
        assert!(shard.is_open(id));
    }

    /// The rules may change between the answer to a client's handshake and its session.
    #[test]
    fn who_was_let_in_by_other_rules_has_the_rights_of_those_that_hold() {
        let (mut sessions, mut shard) = with_rules(rules(Some("")));
        let [narrowed, withdrawn] = [(), ()].map(|()| admission(&sessions, true));
        sessions.replace(rules(Some("secret.>")), &mut shard, Micros(0));
        let id = adopt(&mut sessions, &mut shard, narrowed);
        subscribe(&mut shard, id, "secret.A");
        assert!(waiting(&shard, id).contains("may not subscribe to secret.A"));

        sessions.replace(rules(None), &mut shard, Micros(0));
        let id = adopt(&mut sessions, &mut shard, withdrawn);
        assert!(!shard.is_open(id));
        assert!(waiting(&shard, id).contains(WITHDRAWN), "{}", waiting(&shard, id));
    }
}
