//! The group whose members may read over the socket.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Group};

/// Its name. Where there is none, the socket is for the agent's own user and root.
pub const GROUP: &str = "lanekeeper";

/// Its number on this machine.
pub fn find() -> Option<Gid> {
    // Whoever cannot be asked (no file, a directory service that is down) knows of no such group.
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

/// Gives the file to the group.
pub fn give(path: &Path, group: Gid) -> io::Result<()> {
    Ok(nix::unistd::chown(path, None, Some(group))?)
}

/// Lets the group into the runtime folder, if that is the agent's own, open to its group and to nobody else: every other is as
/// somebody wants it.
pub fn let_into(folder: &Path, group: Gid) -> io::Result<()> {
    let there = std::fs::metadata(folder)?;
    let for_group_alone = there.permissions().mode() & 0o011 == 0o010;
    let ours = there.uid() == nix::unistd::geteuid().as_raw() && there.gid() == nix::unistd::getegid().as_raw();
    if for_group_alone && ours { give(folder, group) } else { Ok(()) }
}
