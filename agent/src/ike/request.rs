//! What is asked of charon, a request each.

use std::path::Path;
use std::time::Duration;

use tracing::debug;

use super::credentials::Credentials;
use super::sas::IkeSa;
use super::{Connection, cause};
use crate::vici::{self, Client, Message, Timeouts};

/// charon is told to answer after that time, whatever the peer does.
const INITIATE: Duration = Duration::from_secs(10);
/// And is taken for hung when it has not by then.
const INITIATE_ANSWER: Duration = Duration::from_secs(15);
/// charon waits that long for the peer's word on a closed SA.
const CLOSE: Duration = Duration::from_secs(3);

/// Loads secret and connection; both replace what has their name.
pub(super) async fn load(
    client: &mut Client,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<(), vici::Error> {
    let (command, secret) = connection.load_secret(credentials);
    client.request(command, secret).await?;
    client.request("load-conn", connection.load_conn(credentials)).await?;
    Ok(())
}

/// Closes a connection's SAs and unloads it and its shared secret. What is not there is well.
pub(super) async fn unload(client: &mut Client, connection: &str) -> Result<(), vici::Error> {
    let name = || Message::new().with("name", connection);
    for (command, arguments) in [("unload-conn", name()), ("unload-shared", Message::new().with("id", connection))] {
        match client.request(command, arguments).await {
            Ok(_) => {}
            Err(vici::Error::Refused { reason, .. }) => debug!(connection, reason, "nothing to unload"),
            Err(error) => return Err(error),
        }
    }
    close(client, connection).await
}

/// Closes a connection's SAs.
pub(super) async fn close(client: &mut Client, connection: &str) -> Result<(), vici::Error> {
    terminate(client, Message::new().with("ike", connection)).await?;
    // What the peer has not confirmed.
    terminate(client, Message::new().with("ike", connection).with("force", "yes")).await
}

/// Has charon put a child's trap into the kernel again. Without a part of it there charon's removal may find nothing.
pub(super) async fn trap(client: &mut Client, connection: &str, child: &str) -> Result<(), vici::Error> {
    for command in ["uninstall", "install"] {
        let arguments = Message::new().with("ike", connection).with("child", child);
        match client.request(command, arguments).await {
            Ok(_) => {}
            Err(vici::Error::Refused { reason, .. }) => debug!(connection, child, command, reason, "trap"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Every IKE_SA and CHILD_SA that charon has.
pub(super) async fn list_sas(client: &mut Client) -> Result<Vec<IkeSa>, vici::Error> {
    let mut sas = Vec::new();
    let within = Timeouts::default().answer;
    client
        .stream("list-sas", "list-sa", Message::new(), within, |message| {
            sas.extend(message.sections().filter_map(|(name, section)| IkeSa::read(name, section)));
        })
        .await?;
    Ok(sas)
}

/// Closes what matches; that nothing does, or that the peer is silent, is no error.
pub(super) async fn terminate(client: &mut Client, selector: Message) -> Result<(), vici::Error> {
    let arguments = selector.with("timeout", CLOSE.as_millis().to_string());
    match client.request_within("terminate", arguments, CLOSE + Timeouts::default().answer).await {
        Ok(_) => Ok(()),
        Err(vici::Error::Refused { reason, .. }) => {
            debug!(reason, "terminate");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Initiates on a connection of its own and puts charon's log lines into the reason of a failure.
pub(super) async fn initiate(vici: &Path, connection: &str, child: &str) -> Result<(), String> {
    let mut log = Vec::new();
    let arguments = Message::new()
        .with("ike", connection)
        .with("child", child)
        .with("timeout", INITIATE.as_millis().to_string())
        .with("loglevel", "1");
    let result = async {
        let mut client = Client::connect(vici, Timeouts::default()).await?;
        client
            .stream("initiate", "control-log", arguments, INITIATE_ANSWER, |message| {
                log.extend(message.text("msg").map(str::to_owned));
            })
            .await
    };
    match result.await {
        Ok(_) => Ok(()),
        Err(vici::Error::Refused { reason, .. }) => Err(cause::explain(child, &reason, &log)),
        Err(error) => Err(format!("initiating {child}: {error}")),
    }
}
