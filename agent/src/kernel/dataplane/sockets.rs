//! The marks of sockets: programs on the root of the hierarchy of cgroups, and what they go by.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use lanekeeper_common::abi::{Guide, Hint, map, program};

use super::object::chain;
use super::{Dataplane, Error, Taken, forgive_absent, is_ours, link, pins};
use crate::compile::registry::Key;
use crate::compile::sockets::guides;
use crate::kernel::cgroups::Hierarchy;
use crate::kernel::namespace;
use crate::plan::Extent;
use crate::policy::Policy;

impl Dataplane {
    /// Puts the programs on the root of the hierarchy, in the place of older ones of ours; idempotent. They are loaded now,
    /// as where no socket is marked nobody is to wait for them.
    pub fn attach_sockets(&mut self) -> Result<(), Error> {
        let hierarchy = Hierarchy::find().ok_or(Error::NoHierarchy)?;
        let root = File::open(hierarchy.root()).map_err(|error| Error::folder(hierarchy.root().to_owned(), error))?;
        for name in program::OF_SOCKETS {
            let pin = pins::link(&self.folder, pins::NO_DEVICE, name);
            self.pin_kept(&pin)?;
            put(self.object.any(name)?, name, &root, &pin)?;
            self.take(pins::NO_DEVICE, name);
        }
        Ok(())
    }

    /// Takes them off, and what they know of sockets with them; fine where they are gone.
    pub fn detach_sockets(&mut self) -> Result<(), Error> {
        for name in program::OF_SOCKETS {
            link::remove(&pins::link(&self.folder, pins::NO_DEVICE, name))?;
        }
        self.set_guides(BTreeMap::new())
    }

    /// Puts this process's programs where older ones of ours are. Where that cannot be those stay, and no tunnel waits.
    pub(super) fn renew_sockets(&mut self) -> Result<(), Error> {
        if extent(&self.folder, None)? != Extent::None
            && let Err(error) = self.attach_sockets()
        {
            tracing::warn!("the programs that mark sockets stay those of the agent before: {error}");
        }
        Ok(())
    }

    /// Says by what the sockets of each cgroup are marked from now on. Those of cgroups that it says nothing of keep what
    /// they have.
    pub fn guide_sockets(&mut self, policy: &Policy) -> Result<(), Error> {
        let guides = guides(policy);
        if guides.is_empty() {
            return self.set_guides(BTreeMap::new());
        }
        let namespace = namespace::cookie().map_err(|cause| Error::Namespace { cause })?;
        let number = |path: &str| self.registry.get(&Key::Cgroup(path.to_owned()));
        let wanted = guides
            .into_iter()
            .filter_map(|(path, hints)| Some((number(path)?, guide(namespace, policy.mark_mask, &hints))))
            .collect();
        self.set_guides(wanted)
    }

    fn set_guides(&mut self, wanted: BTreeMap<u32, Guide>) -> Result<(), Error> {
        let error = |error| Error::map(map::GUIDES, error);
        let mut present = self.object.hash_mut::<u32, Guide>(map::GUIDES)?;
        let now: BTreeMap<u32, Guide> = present.iter().collect::<Result<_, _>>().map_err(error)?;
        for number in now.keys().filter(|number| !wanted.contains_key(number)) {
            forgive_absent(present.remove(number)).map_err(error)?;
        }
        for (number, guide) in wanted.iter().filter(|(number, guide)| now.get(number) != Some(guide)) {
            present.insert(number, guide, 0).map_err(error)?;
        }
        Ok(())
    }
}

fn guide(namespace: u64, mask: u32, hints: &[Hint]) -> Guide {
    let mut guide = Guide { namespace, mask, len: hints.len() as u32, ..Guide::default() };
    guide.hints[..hints.len()].copy_from_slice(hints);
    guide
}

/// How many of the programs are on the hierarchy. A pin alone does not tell: it outlives the attachment.
pub fn extent(folder: &Path, taken: Option<&Taken>) -> Result<Extent, Error> {
    let pinned = pins::linked(folder)?.into_iter();
    let ours = pinned.filter(|(of, name)| *of == pins::NO_DEVICE && program::OF_SOCKETS.contains(&name.as_str()));
    let is_attached = |of, name: &str| link::cgroup(&pins::link(folder, of, name)).is_ok_and(|cgroup| cgroup != 0);
    let attached: Vec<bool> = ours.map(|(of, name)| is_ours(taken, of, &name) && is_attached(of, &name)).collect();
    Ok(if attached.is_empty() {
        Extent::None
    } else if attached.len() == program::OF_SOCKETS.len() && attached.iter().all(|attached| *attached) {
        Extent::Whole
    } else {
        Extent::Part
    })
}

fn put(program: &mut Program, name: &'static str, root: &File, pin: &Path) -> Result<(), Error> {
    let failed = |cause: String| Error::AttachSocket { program: name, cause };
    let (loaded, of_sockets) = match program {
        Program::CgroupSock(program) => (program.load(), true),
        Program::CgroupSockAddr(program) => (program.load(), true),
        _ => (Ok(()), false),
    };
    match loaded {
        _ if !of_sockets => return Err(Error::missing(name)),
        Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
        Err(error) => return Err(Error::Load { what: name.to_owned(), cause: chain(&error) }),
    }
    link::check(pin, link::Shape::Cgroup)?;
    match link::update(pin, program.fd().map_err(|error| failed(chain(&error)))?.as_fd()) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Somebody detached it.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => link::remove(pin)?,
        Err(error) => return Err(failed(error.to_string())),
    }
    let link = attach(program, root).map_err(|error| failed(chain(&error)))?;
    // The pin holds the link; giving up ours detaches nothing.
    link.pin(pin).map_err(|error| failed(chain(&error)))?;
    Ok(())
}

/// Links of cgroups take no flags: the kernel lets any number of them share a hook.
fn attach(program: &mut Program, root: &File) -> Result<FdLink, ProgramError> {
    let kept = |_: LinkError| ProgramError::NotAttached;
    match program {
        Program::CgroupSock(program) => {
            let link = program.attach(root, CgroupAttachMode::Single)?;
            program.take_link(link)?.try_into().map_err(kept)
        }
        Program::CgroupSockAddr(program) => {
            let link = program.attach(root, CgroupAttachMode::Single)?;
            program.take_link(link)?.try_into().map_err(kept)
        }
        _ => Err(ProgramError::NotAttached),
    }
}
