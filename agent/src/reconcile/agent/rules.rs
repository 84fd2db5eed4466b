//! `rules add`, `delete` and `list`: the list of what runs, a rule at a time.
//!
//! A rule is in effect once the data path has it; what else knows the list is told after that. Where the tables cannot be
//! edited in place, they are loaded as with a file.

use std::sync::Arc;

use super::Agent;
use crate::compile::memory;
use crate::control::{Anchor, Listed};
use crate::plan::Op;
use crate::policy::{Policy, Rule};
use crate::reconcile::additions::{Addition, Placed, name_of};
use crate::reconcile::settle::settle;
use crate::reconcile::world::{WithoutCharon, lock};
use crate::reconcile::{Error, presence};

impl Agent {
    /// Adds the rules of a text, all or none; how many.
    pub(super) async fn add_rules(&mut self, name: &str, text: &str, at: &Anchor, keep: bool) -> Result<usize, Error> {
        let policy = Arc::clone(self.list_to_change()?);
        let (addition, placed) = Addition::read(name.to_owned(), text.to_owned(), at.clone(), keep, &policy)?;
        let added: Vec<Rule> = placed.iter().map(|placed| placed.rule.clone()).collect();
        presence::check(&policy, &added)?;
        let mut additions = self.additions.clone();
        additions.0.push(addition);
        let mut after = Policy::clone(&policy);
        for Placed { rule, place, .. } in &placed {
            after.rules.insert(*place, rule.clone());
        }
        memory::check(&after)?;
        if keep {
            additions.kept().fit(&policy, &self.additions)?;
            additions.remember(&self.runtime_dir)?;
        }
        let edited = placed.iter().try_fold(true, |in_place, one| Ok(in_place && self.insert(&policy, one)?));
        let named = placed.iter().any(|one| !one.rule.interface.is_empty());
        let edited = match edited {
            Ok(true) if named => self.world.know_interfaces().await.map(|()| true),
            edited => edited,
        };
        match self.change_list(after, edited).await {
            Ok(()) => {
                self.additions = additions;
                Ok(placed.len())
            }
            Err(error) => {
                if keep {
                    self.additions.remember(&self.runtime_dir)?;
                }
                Err(error)
            }
        }
    }

    fn insert(&mut self, policy: &Policy, Placed { rule, place, beside }: &Placed) -> Result<bool, Error> {
        let dataplane = self.world.dataplane()?;
        let mut dataplane = lock(&dataplane);
        Ok(dataplane.insert(policy, rule, *place, *beside)?)
    }

    /// Deletes rules that were added, all or none; how many.
    pub(super) async fn delete_rules(&mut self, tenant: &Option<String>, names: &[String]) -> Result<usize, Error> {
        let policy = Arc::clone(self.list_to_change()?);
        let mut additions = self.additions.clone();
        let mut after = Policy::clone(&policy);
        let mut places = Vec::new();
        for name in names {
            let own = (tenant.clone(), name.clone());
            let place = after.rules.iter().position(|rule| rule.name.is_some() && name_of(&policy, rule) == own);
            let Some(place) = place else {
                return Err(Error::NoRule { tenant: tenant.clone(), name: name.clone() });
            };
            if !additions.delete(&own) {
                return Err(Error::OfFile { name: name.clone(), place: after.rules[place].place.clone() });
            }
            after.rules.remove(place);
            // Of the list that runs.
            places.extend(policy.rules.iter().position(|rule| rule.name.is_some() && name_of(&policy, rule) == own));
        }
        additions.fit(&policy, &self.additions)?;
        // The last one first: between two edits a packet has the verdict of the list before or of the one after.
        places.sort_unstable_by(|one, other| other.cmp(one));
        additions.remember(&self.runtime_dir)?;
        let dataplane = self.world.dataplane()?;
        let edited = {
            let mut dataplane = lock(&dataplane);
            places.iter().try_fold(true, |in_place, place| Ok(in_place && dataplane.remove(*place)?))
        };
        match self.change_list(after, edited).await {
            Ok(()) => {
                self.additions = additions;
                Ok(names.len())
            }
            Err(error) => {
                self.additions.remember(&self.runtime_dir)?;
                Err(error)
            }
        }
    }

    /// The list that runs.
    pub(super) fn list_rules(&self) -> Vec<Listed> {
        self.additions.list(&self.wanted.policy)
    }

    /// What runs, where nothing waits to be confirmed: going back would go back behind the change.
    fn list_to_change(&self) -> Result<&Arc<Policy>, Error> {
        if self.unconfirmed.is_some() { Err(Error::Unconfirmed) } else { Ok(&self.wanted.policy) }
    }

    /// Tells all others of a list that the data path has, or is yet to have; if neither, it gets the one before again.
    async fn change_list(&mut self, after: Policy, edited: Result<bool, Error>) -> Result<(), Error> {
        let refused = match edited {
            Ok(true) => {
                self.replace_list(Arc::new(after));
                // Packets have the list; what sockets have of it is repaired with all else.
                if let Err(error) = self.world.guide_sockets(&self.wanted.policy) {
                    tracing::warn!("sockets are marked by the rules before, trying again: {error}");
                }
                return Ok(());
            }
            Ok(false) => {
                let before = self.replace_list(Arc::new(after));
                let Err(refused) = self.settle().await else { return Ok(()) };
                self.replace_list(before);
                refused
            }
            Err(refused) => refused,
        };
        match self.settle().await {
            Ok(_) => Err(refused),
            Err(back) => Err(Error::NoWayBack { refused: Box::new(refused), back: Box::new(back) }),
        }
    }

    async fn settle(&mut self) -> Result<Vec<Op>, Error> {
        settle(&mut self.world, &self.live, &self.wanted, WithoutCharon::Proceed).await
    }

    fn replace_list(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        self.live.set_policy(&policy);
        // Nothing waits to be confirmed, so nobody else has it, and nothing is copied.
        std::mem::replace(&mut Arc::make_mut(&mut self.wanted).policy, policy)
    }
}
