//! What this host itself sends.

use super::ports::check_room;
use crate::config::document::Document;
use crate::config::findings::Findings;
use crate::policy::Missing;

/// What becomes of rules that name what is not there.
pub fn missing(document: &Document) -> Missing {
    document.host.as_ref().and_then(|host| host.missing.as_ref()).map(|at| at.value).unwrap_or_default()
}

/// Whether sockets are marked; without a mark for every class that is an error.
pub fn mark_sockets(document: &Document, mask: u32, findings: &mut Findings<'_>) -> bool {
    let asked = document.host.as_ref().and_then(|host| host.mark_sockets.as_ref()).filter(|asked| asked.value);
    if let Some(asked) = asked {
        check_room(document, mask, asked.spot, "[host]", findings);
    }
    asked.is_some()
}
