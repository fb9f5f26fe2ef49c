//! Who is let in and whose sessions they are: asks [`Access`] on behalf of a shard.
//!
//! Knows the holder of each session that showed a token, since only the same holder may renew its rights. Bounded by
//! the sessions. Verifying takes processor time of the shard's thread, never a wait.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tickwire_metrics::HttpMetrics;
use tickwire_router::{AuthRequest, Rights, SessionId, Shard, Transport};
use tickwire_wire::{CloseCode, Micros, Variant};

use crate::access::{Access, Admission, Denied, Holder, shown_token};
use crate::clock::Clock;

/// Tokens of a session that were not taken, in a row, after which it is closed with 4501.
const BAD_TOKENS_IN_A_ROW_MAX: u32 = 5;

/// What is known of a session that showed a token.
#[derive(Debug, Default)]
struct Visitor {
    /// Whose token was taken last.
    holder: Option<Holder>,
    /// Tokens since then that were not.
    bad_tokens: u32,
}

/// Asks who may do what, for one shard.
#[derive(Debug)]
pub(crate) struct Guard {
    access: Arc<Access>,
    /// What those without a token may do, shared by all of them.
    anonymous: Rc<Rights>,
    clock: Clock,
    metrics: HttpMetrics,
    visitors: HashMap<SessionId, Visitor>,
}

impl Guard {
    pub(crate) fn new(access: Arc<Access>, clock: Clock, metrics: HttpMetrics) -> Self {
        Self {
            anonymous: Rc::new(access.anonymous().clone()),
            access,
            clock,
            metrics,
            visitors: HashMap::new(),
        }
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

    /// Opens a session of `shard` for a client that was let in.
    pub(super) fn open(
        &mut self,
        shard: &mut Shard,
        variant: Variant,
        transport: Transport,
        admission: Admission,
        now: Micros,
    ) -> SessionId {
        let rights = self.rights_of(&admission);
        let id = shard.open(variant, transport, rights, now);
        shard.expires(id, admission.expires.map(|at| self.clock.at_wall(at)));
        if admission.holder.is_some() {
            let visitor = Visitor {
                holder: admission.holder,
                bad_tokens: 0,
            };
            self.visitors.insert(id, visitor);
        }
        id
    }

    /// A session is gone.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.visitors.remove(&id);
    }

    /// Answers the tokens that sessions of `shard` have shown.
    pub(super) fn answer(&mut self, shard: &mut Shard, now: Micros) {
        while let Some(auth) = shard.next_auth() {
            let id = auth.session;
            match self.renewal(&auth) {
                Ok(admission) => {
                    let rights = self.rights_of(&admission);
                    let expires = admission.expires.map(|at| self.clock.at_wall(at));
                    shard.renew(id, auth.request, rights, expires, now);
                    let visitor = self.visitors.entry(id).or_default();
                    visitor.holder = admission.holder;
                    visitor.bad_tokens = 0;
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
            .visitors
            .get(&auth.session)
            .and_then(|visitor| visitor.holder.as_ref());
        match holder {
            Some(_) if holder != admission.holder.as_ref() => Err(Denied::OtherHolder),
            _ => Ok(admission),
        }
    }

    /// Counts one more bad token of a session, and says whether it was one too many.
    fn has_worn_out(&mut self, id: SessionId) -> bool {
        let visitor = self.visitors.entry(id).or_default();
        visitor.bad_tokens += 1;
        visitor.bad_tokens >= BAD_TOKENS_IN_A_ROW_MAX
    }

    /// Puts other rules in place. They hold for who comes from now on, and at once for those without a token. Holders of tokens
    /// keep what was granted until it expires, but for static keys that are gone: their sessions are closed.
    pub(crate) fn replace(&mut self, access: Arc<Access>, shard: &mut Shard, now: Micros) {
        if *self.anonymous != *access.anonymous() {
            let anonymous = Rc::new(access.anonymous().clone());
            shard.replace_rights(&self.anonymous, &anonymous, now);
            self.anonymous = anonymous;
        }
        self.access = access;
        for (id, visitor) in &self.visitors {
            if visitor
                .holder
                .as_ref()
                .is_some_and(|holder| !self.access.knows(holder))
            {
                shard.close(*id, CloseCode::TOKEN_EXPIRED, "the key was withdrawn", now);
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
        self.metrics.auth_failed(denied.failure());
        tracing::debug!(reason = %denied, "a client was not let in, or its token not taken");
    }
}
