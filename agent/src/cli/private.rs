//! What this process has in memory, keys above all, is nobody else's.

use nix::sys::{prctl, resource};

/// No core dump, and no other process of the same user that looks into this one. Both are needed: a core that is piped to a
/// program goes there whatever the limit is, and a process that may be looked into may be dumped by whoever looks.
pub fn keep() -> nix::Result<()> {
    resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}
