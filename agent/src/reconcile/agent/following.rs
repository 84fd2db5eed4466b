//! Adopted tunnels: what charon has of connections that somebody else configures is followed, and the tables are told.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Agent, listen_to_charon};
use crate::ike::adopted::{Followed, follow};
use crate::reconcile::settle::settle;
use crate::reconcile::world::WithoutCharon;
use crate::reconcile::{Wanted, insides};

/// The tasks that follow adopted tunnels, and which.
pub(super) struct Following {
    vici: PathBuf,
    tunnels: Vec<Followed>,
    tasks: [JoinHandle<()>; 2],
}

impl Agent {
    /// Has the adopted tunnels of what is wanted followed, and no others.
    pub(super) fn follow(&mut self) {
        let tunnels = Followed::all(&self.wanted.policy);
        let vici = self.wanted.policy.vici.clone();
        if self.following.as_ref().is_some_and(|now| (&now.vici, &now.tunnels) == (&vici, &tunnels)) {
            return;
        }
        self.follow_no_more();
        if tunnels.is_empty() {
            return;
        }
        let (events, inbox) = mpsc::channel(64);
        let tasks = [
            tokio::spawn(follow(vici.clone(), tunnels.clone(), self.live.learned(), events)),
            tokio::spawn(listen_to_charon(self.live.clone(), inbox)),
        ];
        self.following = Some(Following { vici, tunnels, tasks });
    }

    pub(super) fn follow_no_more(&mut self) {
        for task in self.following.take().into_iter().flat_map(|following| following.tasks) {
            task.abort();
        }
    }

    /// Has the tables find adopted lanes by what is known of their CHILD_SAs now.
    pub(super) async fn learn(&mut self) {
        if !self.take_learned() {
            return;
        }
        if let Err(error) = settle(&mut self.world, &self.live, &self.wanted, WithoutCharon::Proceed).await {
            tracing::error!("adopted CHILD_SAs have come or gone, and not all follows them yet, trying again: {error}");
        }
    }

    /// What is wanted gets what is known of adopted tunnels; true where that is news.
    pub(super) fn take_learned(&mut self) -> bool {
        let (learned, insides) = (self.live.learned(), self.live.insides());
        let news = self.wanted.learned != learned || self.wanted.insides != insides;
        if news {
            self.wanted = Arc::new(Wanted::clone(&self.wanted).learn(learned, insides));
            self.remember_insides();
        }
        news
    }

    /// Before anything is routed: what was once is not forgotten if this agent is killed.
    pub(super) fn remember_insides(&self) {
        if let Err(error) = insides::remember(&self.runtime_dir, &self.wanted.insides) {
            tracing::warn!("the next agent will not know what was routed by traffic selectors: {error}");
        }
    }
}
