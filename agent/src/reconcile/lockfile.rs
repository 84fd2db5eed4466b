//! One agent per machine, or per runtime folder where gateways in namespaces share a machine.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::Error;

/// Held until it is dropped; the kernel drops it with the process, so nothing stale can remain.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// Makes the runtime folder where it is missing, and takes it for us.
pub fn take(runtime_dir: &Path) -> Result<Lock, Error> {
    let path = runtime_dir.join("lock");
    let io = |what| {
        let path = path.clone();
        move |source| Error::Io { path, what, source }
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(runtime_dir).map_err(io("make its folder"))?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path);
    match Flock::lock(file.map_err(io("open"))?, FlockArg::LockExclusiveNonblock) {
        Ok(mut held) => {
            held.set_len(0).and_then(|()| held.rewind()).map_err(io("write"))?;
            writeln!(held, "{}", std::process::id()).map_err(io("write"))?;
            Ok(Lock(held))
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let by = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            Err(Error::Locked { path, by })
        }
        Err((_, errno)) => Err(io("lock")(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().join("a/b");
        let held = take(&runtime).unwrap();
        let error = take(&runtime).unwrap_err().to_string();
        assert!(error.contains(&format!("held by another lanekeeper (pid {})", std::process::id())), "{error}");
        drop(held);
        take(&runtime).unwrap();
    }
}
