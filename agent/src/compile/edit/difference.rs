//! Two lists -> the one rule in which they differ.

use lanekeeper_common::abi::Record;

use super::{Beside, Edit};
use crate::compile::Tables;
use crate::compile::expand::Expanded;
use crate::compile::tuples::Filed;

impl Tables {
    /// The edits by which these tables come to say what the others do, where only one rule was added, removed, moved or
    /// changed.
    pub fn edits_to(&self, other: &Tables) -> Option<Vec<Edit>> {
        if self.frame != other.frame {
            return None;
        }
        let digests = |tables: &Tables| tables.rules.rules.iter().map(|rule| rule.digest).collect::<Vec<_>>();
        let (old, new) = (digests(self), digests(other));
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[same..], &new[same..]);
        let behind = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[..old.len() - behind], &new[..new.len() - behind]);
        let insert = |place: usize, of: usize| Edit::Insert {
            place: same + place,
            beside: Beside::Next,
            records: other.rules.records_of(same + of),
        };
        let remove = |place: usize| Edit::Remove { place: same + place };
        match (old, new) {
            ([], [_]) => Some(vec![insert(0, 0)]),
            ([_], []) => Some(vec![remove(0)]),
            ([_], [_]) => Some(vec![insert(0, 0), remove(1)]),
            ([moved, rest @ ..], [all @ .., last]) if moved == last && rest == all => {
                Some(vec![insert(old.len(), all.len()), remove(0)])
            }
            ([all @ .., moved], [first, rest @ ..]) if moved == first && rest == all => {
                Some(vec![insert(0, 0), remove(old.len())])
            }
            _ => None,
        }
    }
}

impl Filed {
    /// What the rule of that place was made of.
    fn records_of(&self, place: usize) -> Vec<Expanded> {
        let bits = |mask: [u64; 2]| (mask[0].count_ones() + mask[1].count_ones()) as u8;
        let expanded = |number| {
            let record: Record = self.records[number as usize];
            Expanded { record, source: bits(record.source_mask), destination: bits(record.destination_mask) }
        };
        let mut records: Vec<Expanded> = self.numbers_of(self.rules[place].first).into_iter().map(expanded).collect();
        records.reverse();
        records
    }
}
