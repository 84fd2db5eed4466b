//! Which cgroups of this machine are those that rules name.
//!
//! They come and go with services, and one that comes again has another id. What packets read of them needs no generation and
//! no stamp: an id leads to the number of a path, which stays what it is, and only the tables say what that means.

use std::collections::{BTreeMap, BTreeSet};

use lanekeeper_common::abi::map;

use super::{Dataplane, Error, forgive_absent};
use crate::kernel::cgroups::Hierarchy;

impl Dataplane {
    /// Looks for all that rules have named since the registry began, and tells the programs; the paths that are not there.
    pub fn find_cgroups(&mut self) -> Result<BTreeSet<String>, Error> {
        let (mut wanted, mut missing) = (BTreeMap::new(), BTreeSet::new());
        let mut named = self.registry.cgroups().peekable();
        if named.peek().is_none() {
            return Ok(missing);
        }
        let hierarchy = Hierarchy::find();
        for (path, number) in named {
            match hierarchy.as_ref().and_then(|hierarchy| hierarchy.id(path)) {
                Some(id) => drop(wanted.insert(id, number)),
                None => drop(missing.insert(path.to_owned())),
            }
        }
        let error = |error| Error::map(map::CGROUPS, error);
        let mut present = self.object.hash_mut::<u64, u32>(map::CGROUPS)?;
        let now: BTreeMap<u64, u32> = present.iter().collect::<Result<_, _>>().map_err(error)?;
        // Those that are gone make room for those that have come.
        for id in now.keys().filter(|id| !wanted.contains_key(id)) {
            forgive_absent(present.remove(id)).map_err(error)?;
        }
        for (id, number) in wanted.iter().filter(|(id, number)| now.get(id) != Some(number)) {
            present.insert(id, number, 0).map_err(error)?;
        }
        Ok(missing)
    }
}
