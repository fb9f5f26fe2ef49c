//! The threads of a broker, as they are started.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tickwire_feed::Feed;
use tickwire_router::{Ingress, ShardId};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::{COMMANDS, Common, Operating};
use crate::accounting::Saving;
use crate::http::Encoder;
use crate::net::acceptor::{AcceptPlan, ShardHandle};
use crate::net::tls;
use crate::ops::inspector::{ANSWER_WITHIN, Inspector};
use crate::ops::{HealthLog, Ops, Viewing};
use crate::run::command::Command;
use crate::run::derive_thread::DerivePlan;
use crate::run::derived::DerivedStart;
use crate::run::feed_thread::FeedPlan;
use crate::run::kept_up::{keep_up, kept_up};
use crate::run::shard_thread::ShardPlan;
use crate::run::start_error::StartError;
use crate::run::view_thread::ViewPlan;
use crate::run::{stale_watch, trim};

impl Common {
    pub(super) fn start_shards(&self) -> Result<(Vec<ShardHandle>, Vec<JoinHandle<()>>), StartError> {
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for (number, wake) in self.wakes.iter().enumerate() {
            let (handle, thread) = self.start_shard(number, wake.clone())?;
            handles.push(handle);
            threads.push(thread);
        }
        Ok((handles, threads))
    }

    pub(super) fn start_shard(
        &self,
        number: usize,
        wake: Arc<Notify>,
    ) -> Result<(ShardHandle, JoinHandle<()>), StartError> {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let plan = ShardPlan {
            id: ShardId(u8::try_from(number).map_err(io::Error::other)?),
            config: self.config.clone(),
            connections_max: self.connections_max,
            directory: self.directory.clone(),
            clock: self.clock,
            access: self.access.clone(),
            settings: self.config.shard_settings(),
            metrics: self.catalogue.local(),
            catalogue: self.catalogue.clone(),
            wake,
            lifecycle: self.lifecycle.clone(),
            connection_limits: self.connection_limits.clone(),
            tls: self.tls.clone(),
            accounting: self.accounting.clone(),
            commands,
        };
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || {
                // A panic that a shard cannot contain ends it. The others go on.
                match catch_unwind(AssertUnwindSafe(|| plan.run())) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(shard = number, %error, "a shard ended"),
                    Err(_) => tracing::error!(shard = number, "a shard ended by a panic"),
                }
            })?;
        Ok((
            ShardHandle {
                commands: sender,
                connections: Arc::default(),
            },
            thread,
        ))
    }

    /// Starts the thread that accepts connections and does what concerns all shards. A single shard accepts its connections
    /// itself: they need not change the thread.
    pub(super) fn start_acceptor(
        &self,
        handles: &[ShardHandle],
        plan: AcceptPlan,
        operating: Operating,
    ) -> Result<JoinHandle<()>, StartError> {
        let commands = handles.iter().map(|handle| handle.commands.clone());
        let health = Arc::new(HealthLog::new(
            self.catalogue.clone(),
            self.directory.clone(),
            self.clock,
        ));
        let ops = Arc::new(Ops {
            viewing: Viewing::new(handles.to_vec(), self.config.socket),
            health: health.clone(),
            inspector: Inspector::new(commands.collect(), ANSWER_WITHIN),
            catalogue: self.catalogue.clone(),
            directory: self.directory.clone(),
            cluster: self.cluster.clone(),
            lifecycle: self.lifecycle.clone(),
            connection_limits: self.connection_limits.clone(),
            clock: self.clock,
            pulse: self.pulse.clone(),
            live_settings: self.live_settings.clone(),
            log_lines_lost: self.log_lines_lost.clone(),
            encoder: Encoder::default(),
            stop_request: operating.stop_request,
            accounting: self.accounting.clone(),
        });
        let (directory, clock, tls) = (self.directory.clone(), self.clock, self.tls.clone());
        let saving = self.saving();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let plan = match handles {
            [only] => {
                let sent = only.commands.try_send(Command::Accept(Box::new(plan)));
                sent.map_err(|_| io::Error::other("the shard has ended"))?;
                None
            }
            _ => Some(plan),
        };
        let serve = async move {
            let ops_listener = TcpListener::from_std(operating.listener)?;
            tokio::task::spawn_local(async move {
                kept_up("the operators' listener", || ops.clone().run(&ops_listener)).await;
            });
            keep_up("the record of health", move || health.clone().run());
            let watched = directory.clone();
            keep_up("the look for silent and expired topics", move || {
                stale_watch::run(watched.clone(), clock)
            });
            keep_up("the look for memory to give back", move || {
                trim::run(directory.clone())
            });
            if let Some(saving) = saving {
                keep_up("saving the accounts", move || saving.clone().run());
            }
            if let Some(tls) = tls {
                keep_up("the look for certificates", move || tls::watch(tls.clone()));
            }
            if let Some(plan) = plan {
                plan.run().await?;
            }
            // Operators get answers until the last client is gone.
            operating.ended.await.unwrap_or_default();
            Ok::<_, io::Error>(())
        };
        let thread = std::thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || {
                if let Err(error) = LocalSet::new().block_on(&runtime, serve) {
                    tracing::error!(%error, "the acceptor ended");
                }
            })?;
        Ok(thread)
    }

    /// What saves the books now and then, if there are books.
    fn saving(&self) -> Option<Saving> {
        let accounting = self.accounting.clone()?;
        Some(Saving::new(
            accounting,
            &self.config.accounting,
            self.catalogue.clone(),
        ))
    }

    /// Starts the thread that derives topics from others, if there are rules for it.
    pub(super) fn start_derive(
        &self,
        start: Option<DerivedStart>,
    ) -> Result<Option<JoinHandle<()>>, StartError> {
        if self.config.derive.is_empty() {
            return Ok(None);
        }
        let plan = DerivePlan {
            rules: self.config.derive.clone(),
            directory: self.directory.clone(),
            clock: self.clock,
            metrics: self.catalogue.local(),
            lifecycle: self.lifecycle.clone(),
            start,
            desk: self.desk.clone(),
        };
        Ok(Some(plan.start()?))
    }

    /// Starts the thread of the views, if there are any.
    pub(super) fn start_views(&self) -> Result<Option<JoinHandle<()>>, StartError> {
        if self.config.views.is_empty() {
            return Ok(None);
        }
        let plan = ViewPlan {
            rules: self.config.views.clone(),
            directory: self.directory.clone(),
            clock: self.clock,
            metrics: self.catalogue.local(),
            catalogue: self.catalogue.clone(),
            lifecycle: self.lifecycle.clone(),
        };
        Ok(Some(plan.start()?))
    }

    pub(super) fn start_feed(&self, feed: Feed, speed: f64) -> Result<JoinHandle<()>, StartError> {
        let plan = FeedPlan {
            feed,
            speed,
            ingress: Ingress::new(self.directory.clone()),
            clock: self.clock,
            metrics: self.catalogue.local(),
            lifecycle: self.lifecycle.clone(),
            pulse: self.pulse.clone(),
            fed: self.fed,
            number: 0,
        };
        let pulse = self.pulse.clone();
        Ok(std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                // The feed cannot continue from the middle of a tick. `/readyz` says that it has ended.
                if catch_unwind(AssertUnwindSafe(|| plan.run())).is_err() {
                    tracing::error!("the feed ended by a panic: it publishes nothing any more");
                    pulse.fail();
                }
            })?)
    }
}
