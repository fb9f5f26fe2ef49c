//! The sessions of a shard as access control knows them: which token each has shown, and what it may do by it.
//!
//! Knows the holder of each session that showed a token, since only the same holder may renew its rights. Bounded by
//! the sessions. Verifying takes processor time of the shard's thread, never a wait.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{AuthRequest, Rights, SessionId, Shard, Transport};
use tickwire_wire::{CloseCode, Dialect, Micros};

use crate::auth::{Access, Admission, Denied, Holder, shown_token};
use crate::config::KeyHash;
use crate::run::clock::Clock;

/// Tokens of a session that were not taken, in a row, after which it is closed with 4501.
const BAD_TOKENS_IN_A_ROW_MAX: u32 = 5;
/// What the close frame says to the holder of a static key that is not in the settings any more.
const WITHDRAWN: &str = "the key was withdrawn";

/// What is known of a session that showed a token.
#[derive(Debug, Default)]
struct SessionHolder {
    /// Whose token was taken last.
    holder: Option<Holder>,
    /// Tokens since then that were not.
    bad_tokens: u32,
}

/// Asks [`Access`] who may do what, for one shard, and remembers the holders of its sessions.
#[derive(Debug)]
pub(crate) struct AuthSessions {
    access: Arc<Access>,
    /// What those without a token may do, shared by all of them.
    anonymous: Rc<Rights>,
    clock: Clock,
    metrics: Arc<Catalogue>,
    holders: HashMap<SessionId, SessionHolder>,
}

impl AuthSessions {
    pub(crate) fn new(access: Arc<Access>, clock: Clock, metrics: Arc<Catalogue>) -> Self {
        Self {
            anonymous: Rc::new(access.anonymous().clone()),
            access,
            clock,
            metrics,
            holders: HashMap::new(),
        }
    }

    /// One that knows no session yet, with these rules.
    pub(crate) fn anew(&self, access: Arc<Access>) -> Self {
        Self::new(access, self.clock, self.metrics.clone())
    }

    /// The rules that hold now.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// What the client behind a request with these `headers` may do, if it is let in.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admission, Denied> {
        let admitted = self
            .access
            .check_origin(headers)
            .and_then(|()| shown_token(headers))
            .and_then(|token| self.access.admit(token.as_ref(), self.clock.wall()));
        admitted.inspect_err(|denied| self.count(denied))
    }

    /// Whether the page behind a request with these `headers` is let in. Who asks, with which token, is not looked at.
    pub(crate) fn admit_page(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let checked = self.access.check_origin(headers);
        checked.inspect_err(|denied| self.count(denied))
    }

    /// What whoever was let in with `admission` may do now.
    pub(crate) fn still(&self, admission: &Admission) -> Result<Rights, Denied> {
        let rights = self.access.still(admission, self.clock.wall());
        rights.cloned().inspect_err(|denied| self.count(denied))
    }

    /// Opens a session of `shard` for a client that was let in. Its rights are by the rules that hold now, which may be others than
    /// when its handshake was answered; with a static key that is gone by now it is closed at once.
    pub(crate) fn open(
        &mut self,
        shard: &mut Shard,
        dialect: Dialect,
        transport: Transport,
        admission: Admission,
        now: Micros,
    ) -> SessionId {
        let rights = match &admission.holder {
            Some(Holder::Key(key)) => self.access.rights_of_key(*key).cloned().map(Rc::new),
            _ => Some(self.rights_of(&admission)),
        };
        let is_withdrawn = rights.is_none();
        let rights = rights.unwrap_or_else(|| Rc::new(Rights::none()));
        let id = shard.open(dialect, transport, rights, now);
        if is_withdrawn {
            shard.withdraw(id, WITHDRAWN, now);
        }
        shard.expires(id, admission.expires.map(|at| self.clock.at_wall(at)));
        if admission.holder.is_some() {
            let holder_of_session = SessionHolder {
                holder: admission.holder,
                bad_tokens: 0,
            };
            self.holders.insert(id, holder_of_session);
        }
        id
    }

    /// A session is gone.
    pub(crate) fn forget(&mut self, id: SessionId) {
        self.holders.remove(&id);
    }

    /// Answers the tokens that sessions of `shard` have shown.
    pub(crate) fn answer(&mut self, shard: &mut Shard, now: Micros) {
        while let Some(auth) = shard.next_auth() {
            let id = auth.session;
            match self.renewal(&auth) {
                Ok(admission) => {
                    let rights = self.rights_of(&admission);
                    let expires = admission.expires.map(|at| self.clock.at_wall(at));
                    shard.renew(id, auth.request, rights, expires, now);
                    if let Some(holder) = &admission.holder {
                        shard.publishes_as(id, holder.publisher());
                    }
                    let holder_of_session = self.holders.entry(id).or_default();
                    holder_of_session.holder = admission.holder;
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

    /// What the token of a session's request allows, if it belongs to the session's holder.
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

    /// Counts one more bad token of a session, and says whether it was one too many.
    fn has_worn_out(&mut self, id: SessionId) -> bool {
        let holder_of_session = self.holders.entry(id).or_default();
        holder_of_session.bad_tokens += 1;
        holder_of_session.bad_tokens >= BAD_TOKENS_IN_A_ROW_MAX
    }

    /// Puts other rules in place. They hold for who comes from now on, and at once for those without a token and for the holders
    /// of static keys; those whose key is gone are closed. What a JSON Web Token granted holds until that expires.
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

    /// What an admission grants; those of everyone without a token are there once for all, to be replaced together.
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
    use tickwire_router::{Directory, DirectoryLimits, Grant, Kinds, ShardId};
    use tickwire_wire::{Codec, Pattern, Secret};

    use super::*;
    use crate::config::{AuthKey, Config};
    use crate::ops::labels::LABELS;

    const KEY: &str = "tw_0123456789abcdef0123456789abcdef";

    /// Rules by which the holder of [`KEY`] may subscribe to everything but `denied`, or is not let in.
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
            },
        }));
        Arc::new(Access::load(&config).expect("no file is read"))
    }

    /// A sessions with `access`, and a shard without sessions.
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

    /// What a client gets in that shows [`KEY`], or no token.
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
            admission,
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
        // Not only what was subscribed to; and wider again.
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

    /// Between the answer to its handshake and its session the rules may change.
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
