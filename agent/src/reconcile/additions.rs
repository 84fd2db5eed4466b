//! Rules that came by `lanekeeper rules add`: beside the file's, and put among them again whenever that is read.
//!
//! They are remembered as text, as the file is, because it is names that they have in common with it: a reload that takes
//! away a class or a rule that one of them names is refused. Those that are kept are in a file of the runtime folder, which
//! like all in there is gone at the next boot.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::compile::edit::Beside;
use crate::config::{self, Source};
use crate::control::{Anchor, Listed};
use crate::policy::{Policy, Rule, TenantIndex};

/// Tenant, if any, and name of a rule.
pub type RuleName = (Option<String>, String);

/// What one `rules add` brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// What messages call the text.
    pub name: String,
    /// As it came.
    pub text: String,
    /// Where to.
    pub at: Anchor,
    /// Over a restart too.
    pub keep: bool,
    /// Its rules that have not been deleted.
    pub left: Vec<RuleName>,
}

/// A rule and its place once those before it are in theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The rule.
    pub rule: Rule,
    /// Its place.
    pub place: usize,
    /// The neighbour that it was to stand beside.
    pub beside: Beside,
}

impl Addition {
    /// Reads and places a text's rules; all of them are left.
    pub fn read(
        name: String,
        text: String,
        at: Anchor,
        keep: bool,
        policy: &Policy,
    ) -> Result<(Self, Vec<Placed>), Error> {
        let rules = config::parse_rules(&Source::new(&name, &text), policy)?;
        let left = rules.iter().map(|rule| name_of(policy, rule)).collect();
        let addition = Self { name, text, at, keep, left };
        let placed = addition.place(rules, policy)?;
        Ok((addition, placed))
    }

    /// Puts what is left of it into a policy that has just been read.
    fn put_into(&self, policy: &mut Policy, forget: Option<&Path>) -> Result<(), Error> {
        let is_left = |tenant: Option<&str>, name: &str| {
            self.left.iter().any(|(whose, left)| whose.as_deref() == tenant && left == name)
        };
        let rules = config::parse_some_rules(&Source::new(&self.name, &self.text), policy, is_left)
            .map_err(|errors| Error::Added { errors, forget: forget.map(Path::to_path_buf) })?;
        for Placed { rule, place, .. } in self.place(rules, policy)? {
            policy.rules.insert(place, rule);
        }
        Ok(())
    }

    fn place(&self, rules: Vec<Rule>, policy: &Policy) -> Result<Vec<Placed>, Error> {
        let mut placed: Vec<Placed> = Vec::new();
        for rule in rules {
            // Where the anchor is after those before this one have come.
            let anchor = |name: &String| {
                let other = |other: &Rule| other.tenant == rule.tenant && other.name.as_ref() == Some(name);
                let at = policy.rules.iter().position(other).ok_or_else(|| {
                    let (tenant, rule) = name_of(policy, &rule);
                    Error::NoAnchor { rule, tenant, name: name.clone() }
                })?;
                Ok::<usize, Error>(placed.iter().fold(at, |at, before| at + usize::from(before.place <= at)))
            };
            let own = |of: Option<TenantIndex>| placed.iter().filter(|before| before.rule.tenant == of).count();
            let (place, beside) = match &self.at {
                Anchor::First => (placed.len(), Beside::Next),
                Anchor::Last => (policy.rules.len() + placed.len(), Beside::Previous),
                Anchor::Before(name) => (anchor(name)?, Beside::Next),
                Anchor::After(name) => (anchor(name)? + 1 + own(rule.tenant), Beside::Previous),
            };
            placed.push(Placed { rule, place, beside });
        }
        Ok(placed)
    }
}

/// All of them, the earlier ones first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Additions(pub Vec<Addition>);

impl Additions {
    /// Puts them among the rules of a file that has just been read.
    pub fn put_into(&self, policy: &mut Policy) -> Result<(), Error> {
        self.0.iter().try_for_each(|addition| addition.put_into(policy, None))
    }

    /// The same when the agent starts.
    pub fn put_back_into(&self, policy: &mut Policy, runtime_dir: &Path) -> Result<(), Error> {
        let file = file(runtime_dir);
        self.0.iter().try_for_each(|addition| addition.put_into(policy, Some(&file)))
    }

    /// Those that outlive a restart.
    pub fn kept(&self) -> Self {
        Self(self.0.iter().filter(|addition| addition.keep).cloned().collect())
    }

    /// Whether they could be put among the rules of the file that runs, as a reload or a start does: a rule may stand beside
    /// another that was added. `policy` is what runs, with the rules of `now` in it.
    pub fn fit(&self, policy: &Policy, now: &Self) -> Result<(), Error> {
        let added: HashSet<&RuleName> = now.0.iter().flat_map(|addition| &addition.left).collect();
        let mut file = policy.clone();
        file.rules.retain(|rule| rule.name.is_none() || !added.contains(&name_of(policy, rule)));
        self.put_into(&mut file)
    }

    /// Takes a rule out; false where it is none of them.
    pub fn delete(&mut self, name: &RuleName) -> bool {
        let Some(addition) = self.0.iter_mut().find(|addition| addition.left.contains(name)) else { return false };
        addition.left.retain(|left| left != name);
        self.0.retain(|addition| !addition.left.is_empty());
        true
    }

    /// Every rule of the policy, with what is known of it here.
    pub fn list(&self, policy: &Policy) -> Vec<Listed> {
        let of =
            |addition: &Addition| addition.left.iter().map(|name| (name.clone(), addition.keep)).collect::<Vec<_>>();
        let added: HashMap<RuleName, bool> = self.0.iter().flat_map(of).collect();
        let listed = |rule: &Rule| {
            let own = name_of(policy, rule);
            let keep = added.get(&own).copied().filter(|_| rule.name.is_some());
            Listed {
                name: rule.name.clone(),
                tenant: own.0,
                class: policy.classes[rule.class.0].name.clone(),
                place: rule.place.clone(),
                added: keep.is_some(),
                kept: keep == Some(true),
            }
        };
        policy.rules.iter().map(listed).collect()
    }

    /// Writes down those that are kept.
    pub fn remember(&self, runtime_dir: &Path) -> Result<(), Error> {
        let kept = self.kept();
        let path = file(runtime_dir);
        let bytes = serde_json::to_vec(&kept).expect("our own types serialise");
        let fresh = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o640).open(&fresh);
        let written = opened.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes));
        written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(|source| Error::Io {
            path,
            what: "write",
            source,
        })
    }

    /// What an agent before this one has written down.
    pub fn recall(runtime_dir: &Path) -> Result<Self, Error> {
        let path = file(runtime_dir);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| Error::Io { path, what: "read", source: error.into() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Io { path, what: "read", source }),
        }
    }
}

/// None are kept any more.
pub fn forget(runtime_dir: &Path) -> Result<(), Error> {
    let path = file(runtime_dir);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path, what: "remove", source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("rules.json")
}

/// Tenant and name of a rule, which has one where it was added.
pub fn name_of(policy: &Policy, rule: &Rule) -> RuleName {
    (rule.tenant.map(|tenant| policy.tenants[tenant.0].name.clone()), rule.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[class]]
        name = "voice"
        [[class]]
        name = "default"
        [[tenant]]
        name = "acme"
        sources = ["10.9.0.0/16"]
        [[tunnel]]
        name = "a"
        local = "192.0.2.1"
        remote = "192.0.2.2"
        classes = ["voice", "default"]
        device = { type = "xfrm", name = "lk-a", if-id = 42, mtu = 1400 }
        [tunnel.ike]
        local-id = "moon"
        remote-id = "sun"
        auth = { psk-file = "a.psk" }
        [[rule]]
        name = "one"
        class = "voice"
        [[rule]]
        name = "one"
        class = "voice"
        tenant = "acme"
        [[rule]]
        class = "default"
        tenant = "acme"
        [[rule]]
        name = "two"
        class = "default"
    "#;

    fn policy() -> Policy {
        config::parse_text("gw.toml", FILE).unwrap().policy
    }

    fn rules(names: &[&str], more: &str) -> String {
        names.iter().map(|name| format!("[[rule]]\nname = \"{name}\"\nclass = \"voice\"\n{more}\n")).collect()
    }

    fn read(text: String, at: Anchor, keep: bool, policy: &Policy) -> Result<(Addition, Vec<Placed>), Error> {
        Addition::read("-".into(), text, at, keep, policy)
    }

    /// Names of the list, `-` for a rule without one.
    fn order(policy: &Policy) -> String {
        let names: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_deref().unwrap_or("-")).collect();
        names.join(" ")
    }

    #[test]
    fn rules_stand_where_they_were_put_in_the_order_of_their_text() {
        let acme = "tenant = \"acme\"";
        for (at, more, expected) in [
            (Anchor::First, "", "a b one one - two"),
            (Anchor::Last, "", "one one - two a b"),
            (Anchor::Before("two".into()), "", "one one - a b two"),
            (Anchor::After("one".into()), "", "one a b one - two"),
            (Anchor::After("one".into()), acme, "one one a b - two"),
            (Anchor::Before("one".into()), acme, "one a b one - two"),
        ] {
            let mut changed = policy();
            let (addition, placed) = read(rules(&["a", "b"], more), at, false, &changed).unwrap();
            for Placed { rule, place, .. } in placed {
                changed.rules.insert(place, rule);
            }
            assert_eq!(order(&changed), expected);
            // Again after a reload.
            let mut reloaded = policy();
            Additions(vec![addition]).put_into(&mut reloaded).unwrap();
            assert_eq!(reloaded, changed);
        }
    }

    #[test]
    fn what_was_deleted_does_not_come_back_with_a_reload() {
        let (addition, _) = read(rules(&["a", "b"], ""), Anchor::First, false, &policy()).unwrap();
        let mut additions = Additions(vec![addition]);
        assert!(additions.delete(&(None, "a".into())));
        assert!(!additions.delete(&(None, "a".into())) && !additions.delete(&(None, "one".into())));
        let mut reloaded = policy();
        additions.put_into(&mut reloaded).unwrap();
        assert_eq!(order(&reloaded), "b one one - two");
        assert!(additions.delete(&(None, "b".into())));
        assert_eq!(additions, Additions::default());
    }

    #[test]
    fn what_others_stand_beside_is_not_deleted_and_what_is_kept_stands_beside_what_is_kept() {
        let (one, placed) = read(rules(&["a"], ""), Anchor::First, false, &policy()).unwrap();
        let mut running = policy();
        running.rules.insert(placed[0].place, placed[0].rule.clone());
        let (beside, placed) = read(rules(&["b"], ""), Anchor::After("a".into()), true, &running).unwrap();
        running.rules.insert(placed[0].place, placed[0].rule.clone());
        let now = Additions(vec![one, beside]);
        now.fit(&running, &now).unwrap();
        assert!(matches!(now.kept().fit(&running, &now), Err(Error::NoAnchor { .. })));
        let mut fewer = now.clone();
        assert!(fewer.delete(&(None, "a".into())));
        assert!(matches!(fewer.fit(&running, &now), Err(Error::NoAnchor { .. })));
    }

    #[test]
    fn a_deleted_rule_of_a_text_is_judged_no_more() {
        let (addition, _) = read(rules(&["a", "b"], ""), Anchor::First, false, &policy()).unwrap();
        let mut additions = Additions(vec![addition]);
        assert!(additions.delete(&(None, "a".into())));
        // The file has a rule of that name by now.
        let file = FILE.replace("name = \"two\"", "name = \"a\"");
        let mut reloaded = config::parse_text("gw.toml", &file).unwrap().policy;
        additions.put_into(&mut reloaded).unwrap();
        assert_eq!(order(&reloaded), "b one one - a");
    }

    #[test]
    fn only_what_is_kept_is_recalled() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Additions::recall(folder.path()).unwrap(), Additions::default());
        let (kept, _) = read(rules(&["a"], ""), Anchor::First, true, &policy()).unwrap();
        let (passing, _) = read(rules(&["b"], ""), Anchor::First, false, &policy()).unwrap();
        Additions(vec![kept.clone(), passing]).remember(folder.path()).unwrap();
        assert_eq!(Additions::recall(folder.path()).unwrap(), Additions(vec![kept]));
        forget(folder.path()).unwrap();
        assert_eq!(Additions::recall(folder.path()).unwrap(), Additions::default());
        forget(folder.path()).unwrap();
    }

    #[test]
    fn the_list_says_which_rules_were_added() {
        let mut policy = policy();
        let (addition, _) = read(rules(&["a"], ""), Anchor::First, true, &policy).unwrap();
        let additions = Additions(vec![addition]);
        additions.put_into(&mut policy).unwrap();
        let list = additions.list(&policy);
        let added: Vec<_> = list.iter().map(|rule| (rule.place.as_str(), rule.added, rule.kept)).collect();
        assert_eq!(added[0], ("-:1:1", true, true));
        assert!(added[1..].iter().all(|(place, added, kept)| place.starts_with("gw.toml:") && !added && !kept));
        assert_eq!((list[2].tenant.as_deref(), list[2].class.as_str()), (Some("acme"), "voice"));
    }

    #[test]
    fn rules_that_do_not_fit_are_refused_with_their_places() {
        let policy = policy();
        let refused = |text: &str, at| read(text.to_owned(), at, false, &policy).unwrap_err().to_string();
        let error = refused("[[rule]]\nname = \"a\"\nclass = \"voise\"\n", Anchor::First);
        assert!(error.starts_with("-:3:9: error: rule \"a\": no class is named \"voise\""), "{error}");
        let error = refused("[[rule]]\nclass = \"voice\"\n[[class]]\nname = \"x\"\n", Anchor::First);
        assert!(error.contains("-:1:1: error: rule 1: a rule that is added has to have a name"), "{error}");
        assert!(error.contains("-:3:1: error: class: only rules can be added while the agent runs"), "{error}");
        let error = refused(&rules(&["two"], ""), Anchor::First);
        assert!(error.contains("rule \"two\": duplicate name, the first one is at gw.toml:"), "{error}");
        assert!(refused("", Anchor::Last).contains("no [[rule]] in it"));
        let error = refused(&rules(&["a"], "tenant = \"acme\""), Anchor::After("two".into()));
        let expected = "rule \"a\": no rule of tenant \"acme\" is named \"two\" that it could stand beside; \
                        see `lanekeeper rules list`";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_file_that_lost_what_an_added_rule_names_is_refused() {
        let (addition, _) = read(rules(&["a"], ""), Anchor::Before("two".into()), true, &policy()).unwrap();
        let additions = Additions(vec![addition]);
        let mut fewer = config::parse_text("gw.toml", &FILE.replace("voice", "speech")).unwrap().policy;
        let error = additions.put_into(&mut fewer).unwrap_err().to_string();
        assert!(error.starts_with("-:3:9: error: rule \"a\": no class is named \"voice\""), "{error}");
        assert!(error.ends_with("or take them out by `lanekeeper rules delete`"), "{error}");
        let error = additions.put_back_into(&mut fewer, Path::new("/run/lanekeeper")).unwrap_err().to_string();
        assert!(error.ends_with("which while no agent runs is to remove /run/lanekeeper/rules.json"), "{error}");
        let mut fewer = config::parse_text("gw.toml", &FILE.replace("\"two\"", "\"zwei\"")).unwrap().policy;
        let error = additions.put_into(&mut fewer).unwrap_err().to_string();
        assert!(error.contains("no rule is named \"two\""), "{error}");
    }
}
