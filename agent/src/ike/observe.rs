//! charon's connections as they are, for a plan; and their removal.

use std::collections::BTreeMap;
use std::path::Path;

use super::connection::{DIGEST_PREFIX, NAME_PREFIX};
use super::request::unload;
use crate::vici::{Client, Error, Message, Timeouts};

/// A connection of ours that charon has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// `lk-` and its key.
    pub name: String,
    /// [`super::Connection::digest`] of what was loaded.
    pub digest: u64,
}

/// The connections of ours that charon has, by name. Ours is what shows one of our digests: an operator's own
/// connection may well be called `lk-something`.
pub async fn observe(vici: &Path) -> Result<BTreeMap<String, Loaded>, Error> {
    let mut client = Client::connect(vici, Timeouts::default()).await?;
    client.check_version().await?;
    list(&mut client).await
}

/// Closes and unloads all connections of ours, whoever loaded them; returns their names.
pub async fn remove(vici: &Path) -> Result<Vec<String>, Error> {
    let mut client = Client::connect(vici, Timeouts::default()).await?;
    let names: Vec<String> = list(&mut client).await?.into_keys().collect();
    for name in &names {
        unload(&mut client, name).await?;
    }
    Ok(names)
}

/// Closes and unloads a connection, by its key, whoever loaded it; that it is not there is well.
pub async fn remove_one(vici: &Path, key: &str) -> Result<(), Error> {
    let mut client = Client::connect(vici, Timeouts::default()).await?;
    unload(&mut client, &format!("{NAME_PREFIX}{key}")).await
}

async fn list(client: &mut Client) -> Result<BTreeMap<String, Loaded>, Error> {
    let mut found = BTreeMap::new();
    let within = Timeouts::default().answer;
    client
        .stream("list-conns", "list-conn", Message::new(), within, |message| {
            found.extend(message.sections().filter_map(|(name, section)| {
                let digest = digest(name, section)?;
                Some((name.to_owned(), Loaded { name: name.to_owned(), digest }))
            }));
        })
        .await?;
    Ok(found)
}

/// The digest that a `list-conn` section shows.
fn digest(name: &str, section: &Message) -> Option<u64> {
    let mut children = section.section("children")?.sections().map(|(child, _)| child);
    let hex = children.find_map(|child| child.strip_prefix(DIGEST_PREFIX)).filter(|_| name.starts_with(NAME_PREFIX))?;
    u64::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(child: &str) -> Message {
        let children = Message::new().with_section("voice.0", Message::new()).with_section(child, Message::new());
        Message::new().with("version", "IKEv2").with_section("children", children)
    }

    #[test]
    fn ours_shows_its_digest() {
        assert_eq!(digest("lk-a", &listed("lanekeeper-00000000000000ff")), Some(255));
    }

    #[test]
    fn an_operators_connection_is_not_ours() {
        assert_eq!(digest("lk-a", &listed("net")), None);
        assert_eq!(digest("lk-a", &Message::new()), None);
        assert_eq!(digest("home", &listed("lanekeeper-00000000000000ff")), None);
    }
}
