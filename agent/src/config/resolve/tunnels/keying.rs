//! Who makes a tunnel's SAs.

use std::path::PathBuf;

use super::super::names::Names;
use super::adopt;
use crate::config::Source;
use crate::config::document::{self, Tunnel};
use crate::config::findings::{At, Findings};
use crate::config::problem::Problem;
use crate::config::resolve::files;
use crate::policy::{self, Auth, Class, ClassIndex, Distinct, Ike, Keying, Start, Static, identity};

/// The one of `ike`, `static` and `adopt` that is there; the tunnel carries `carried`.
pub fn resolve(
    tunnel: &Tunnel,
    names: &Names<'_>,
    carried: &[ClassIndex],
    sources: &[Source],
    findings: &mut Findings<'_>,
) -> Keying {
    let found = match tunnel.keyings.as_slice() {
        [] => Some("neither \"ike\", \"static\" nor \"adopt\"".to_owned()),
        [_] => None,
        [one, other] => Some(format!("both \"{one}\" and \"{other}\"")),
        [one, others @ ..] => Some(format!("\"{one}\", \"{}\"", others.join("\" and \""))),
    };
    if let Some(found) = found {
        findings.problem(tunnel.spot, Problem::Keying { object: tunnel.object.clone(), found });
    }
    let path = |file: &Option<At<PathBuf>>| file.as_ref().map(|file| files::resolve(sources, file)).unwrap_or_default();
    match (&tunnel.static_keys, &tunnel.adopt) {
        (Some(keys), _) => Keying::Static(Static { key_file: path(&keys.key_file), consent: keys.i_know.is_some() }),
        (None, Some(adopt)) => adopt::resolve(tunnel, adopt, names, carried, findings),
        (None, None) => Keying::Ike(ike(tunnel, path)),
    }
}

fn ike(tunnel: &Tunnel, path: impl Fn(&Option<At<PathBuf>>) -> PathBuf) -> Ike {
    let written = tunnel.ike.as_ref();
    let texts = |list: Option<&Vec<At<String>>>| list.into_iter().flatten().map(|at| at.value.clone()).collect();
    let address = |end: &Option<At<std::net::IpAddr>>| end.as_ref().map(|at| at.value.to_string()).unwrap_or_default();
    let local_id = written.and_then(|ike| ike.local_id.as_ref()).map(|id| id.value.clone());
    let remote_id = written.and_then(|ike| ike.remote_id.as_ref()).map(|id| id.value.clone());
    Ike {
        distinct: written.and_then(|ike| ike.distinct.as_ref()).map(|word| word.value).unwrap_or_default(),
        local_id: local_id.unwrap_or_else(|| address(&tunnel.local)),
        remote_id: remote_id.unwrap_or_else(|| address(&tunnel.remote)),
        auth: written.and_then(|ike| ike.auth.as_ref()).map_or_else(
            || Auth::Psk { file: PathBuf::new() },
            |auth| match auth {
                document::Auth { psk_file: file @ Some(_), .. } => Auth::Psk { file: path(file) },
                document::Auth { psk_file: None, certificate, key, ca } => {
                    Auth::Certificate { certificate: path(certificate), key: path(key), ca: path(ca) }
                }
            },
        ),
        start: written.and_then(|ike| ike.start.as_ref()).map_or(Start::Start, |start| start.value),
        proposals: texts(written.map(|ike| &ike.proposals)),
        esp_proposals: texts(written.map(|ike| &ike.esp_proposals)),
        hw_offload: written.and_then(|ike| ike.hw_offload.as_ref()).is_some_and(|word| word.value),
        rekey_time: written.and_then(|ike| ike.rekey_time.as_ref()).map(|time| time.value),
        idle_timeout: written.and_then(|ike| ike.idle_timeout.as_ref()).map(|time| time.value),
    }
}

/// An identity that is no name has no place for a lane's.
pub fn check_identities(entry: &Tunnel, tunnel: &policy::Tunnel, findings: &mut Findings<'_>) {
    let (Keying::Ike(ike), Some(written)) = (&tunnel.keying, &entry.ike) else { return };
    if ike.distinct != Distinct::Identity {
        return;
    }
    for (key, id) in [("local-id", &written.local_id), ("remote-id", &written.remote_id)] {
        if let Some(id) = id.as_ref().filter(|id| !identity::takes_lane(&id.value)) {
            let (object, id, spot) = (entry.object.clone(), id.value.escape_debug().to_string(), id.spot);
            findings.problem(spot, Problem::LaneIdentity { object, key, id });
        }
    }
}

/// Lanes that are brought up again as soon as they are let go are not let go.
pub fn check_idle(entry: &Tunnel, tunnel: &policy::Tunnel, classes: &[Class], findings: &mut Findings<'_>) {
    let Keying::Ike(ike) = &tunnel.keying else { return };
    let written = entry.ike.as_ref().and_then(|ike| ike.idle_timeout.as_ref());
    if let Some(idle) = written
        && tunnel.classes.iter().all(|class| ike.start_of(&classes[class.0]) != Start::Trap)
    {
        findings.problem(idle.spot, Problem::IdleNever { object: entry.object.clone() });
    }
}
