//! Edits of the tables that packets are reading, as `crate::compile::edit` decides them.

use std::mem::{offset_of, size_of};
use std::ops::RangeInclusive;

use lanekeeper_common::abi::{
    Candidates, FIELDS, Generation, Head, Heads, MAX_RECORDS, MAX_TENANTS, Record, Tenant, Tuple, TupleSet, map,
};
use lanekeeper_common::stamp::Stamp;

use super::live::{active, set_active};
use super::object::Object;
use super::window::Window;
use super::{Error, grace};
use crate::compile::Tables;
use crate::compile::edit::{Edit, Full, Store};

/// In the place of a digest while the tables are those of no list: whoever comes after an agent that died meanwhile loads
/// them anew.
const NO_LIST: u64 = 0;

/// Edits `tables`, which are those that packets read, and these; the stamp that packets go by now.
pub fn edit(object: &mut Object, tables: &mut Tables, edit: &Edit) -> Result<Result<Stamp, Full>, Error> {
    let stores = match tables.edit(edit) {
        Ok(stores) => stores,
        Err(full) => return Ok(Err(full)),
    };
    let stamp = active(object)?;
    let slot = stamp.slot();
    let digest = |object: &mut Object, digest| {
        object.array_mut::<u64>(map::DIGESTS)?.set(slot, digest, 0).map_err(|error| Error::map(map::DIGESTS, error))
    };
    digest(object, NO_LIST)?;
    for store in &stores {
        carry_out(object, slot, store)?;
    }
    let stamp = stamp.changed();
    set_active(object, stamp)?;
    digest(object, tables.digest)?;
    Ok(Ok(stamp))
}

fn carry_out(object: &mut Object, slot: u32, store: &Store) -> Result<(), Error> {
    let slot = slot as usize;
    let generation = |field: usize| (map::GENERATIONS, slot * size_of::<Generation>() + field);
    match store {
        Store::Grace => grace::wait(),
        Store::Tuple { number, tuple } => {
            let at = offset_of!(Generation, tuples) + usize::from(*number) * size_of::<Tuple>();
            let window = window(object, generation(at), size_of::<Tuple>())?;
            for (half, at) in [(0, 0), (1, 8)] {
                window.set_long(offset_of!(Tuple, source_mask) + at, tuple.source_mask[half]);
                window.set_long(offset_of!(Tuple, destination_mask) + at, tuple.destination_mask[half]);
            }
            window.set(offset_of!(Tuple, first_rule), tuple.first_rule);
            window.set(offset_of!(Tuple, ports_mask), tuple.ports_mask);
        }
        Store::FirstRules { last, rule } => {
            let tuples = usize::from(*last) + 1;
            let window = window(object, generation(offset_of!(Generation, tuples)), tuples * size_of::<Tuple>())?;
            for tuple in 0..tuples {
                window.lower(tuple * size_of::<Tuple>() + offset_of!(Tuple, first_rule), *rule);
            }
        }
        Store::Portless { tuple } => {
            let at = offset_of!(Generation, head) + offset_of!(Head, portless);
            add(object, generation(at), 0..=0, *tuple)?;
        }
        Store::Tenant { tenant, tuple } => {
            let of = slot * MAX_TENANTS + usize::from(*tenant);
            add(object, (map::TENANTS, of * size_of::<Tenant>() + offset_of!(Tenant, tuples)), 0..=0, *tuple)?;
        }
        Store::Protocols { first, last, tuple } => {
            let protocols = u16::from(*first)..=u16::from(*last);
            add(object, generation(offset_of!(Generation, protocol_tuples)), protocols, *tuple)?;
        }
        Store::Candidates { field, first, last, tuple } => {
            let at = (slot * FIELDS + *field as usize) * size_of::<Candidates>();
            add(object, (map::CANDIDATES, at), *first..=*last, *tuple)?;
        }
        Store::Record { number, record } => {
            let place = (slot * MAX_RECORDS) as u32 + number;
            let mut records = object.array_mut::<Record>(map::RECORDS)?;
            records.set(place, record, 0).map_err(|error| Error::map(map::RECORDS, error))?;
        }
        Store::Next { record, next } => {
            let at = (slot * MAX_RECORDS + *record as usize) * size_of::<Record>() + offset_of!(Record, next);
            window(object, (map::RECORDS, at), 4)?.set(0, *next);
        }
        Store::Head { chain, record } => {
            let at = slot * size_of::<Heads>() + *chain as usize * 4;
            window(object, (map::HEADS, at), 4)?.set(0, *record);
        }
        Store::First { tenant, record } => {
            let at = (slot * MAX_TENANTS + usize::from(*tenant)) * size_of::<Tenant>() + offset_of!(Tenant, first);
            window(object, (map::TENANTS, at), 4)?.set(0, *record);
        }
    }
    Ok(())
}

/// A map, and how many bytes into its values.
type Place = (&'static str, usize);

/// Adds a tuple to some of the sets that begin there.
fn add(object: &Object, (map, at): Place, sets: RangeInclusive<u16>, tuple: u8) -> Result<(), Error> {
    let from = at + usize::from(*sets.start()) * size_of::<TupleSet>();
    let window = window(object, (map, from), sets.len() * size_of::<TupleSet>())?;
    let (word, bit) = (usize::from(tuple / 64) * 8, tuple % 64);
    for set in 0..sets.len() {
        window.add(set * size_of::<TupleSet>() + word, 1 << bit);
    }
    Ok(())
}

fn window(object: &Object, (map, at): Place, len: usize) -> Result<Window, Error> {
    let error = |error| Error::Map { map: map.to_owned(), cause: format!("mapping it: {error}") };
    Window::open(object.fd(map)?, at, len).map_err(error)
}
