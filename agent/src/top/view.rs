//! Which things are listed, by what they are ordered, and what is said of each.

use clap::ValueEnum;

/// What is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Each class, of all tenants and tunnels
    #[default]
    Classes,
    /// Each lane
    Lanes,
    /// Each tunnel
    Tunnels,
    /// Each tenant, and what is nobody's
    Tenants,
    /// Each named rule
    Rules,
}

/// By what the list is ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Bits per second, both directions
    #[default]
    Bits,
    /// Packets per second, both directions
    Packets,
    /// Errors per second
    Errors,
    /// Packets per second that fall back
    Fallback,
    /// What is worst first
    State,
    /// Its name
    Name,
    /// As in the file
    File,
}

/// What is said of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Its name.
    Name,
    /// Packets per second into tunnels.
    PacketsOut,
    /// Bits per second into tunnels.
    BitsOut,
    /// Packets per second out of tunnels.
    PacketsIn,
    /// Bits per second out of tunnels.
    BitsIn,
    /// Of the bits of all that are listed.
    Share,
    /// Packets per second that take another class's lane, or leave in clear.
    Fallback,
    /// Packets per second that were blocked, replayed or failed authentication.
    Errors,
    /// What 99 of 100 timed packets took to the wire at most.
    Latency,
    /// How it stands.
    State,
    /// The class that a rule gives.
    Class,
    /// Bits per second over time.
    History,
}

use Column::{BitsIn, BitsOut, Class, Errors, History, Latency, Name, PacketsIn, PacketsOut, Share, State};

impl View {
    /// In the order of their digits.
    pub const ALL: [Self; 5] = [Self::Classes, Self::Lanes, Self::Tunnels, Self::Tenants, Self::Rules];

    /// As tabs and JSON say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::Lanes => "lanes",
            Self::Tunnels => "tunnels",
            Self::Tenants => "tenants",
            Self::Rules => "rules",
        }
    }

    /// What is said of each, from left to right.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Classes => &[
                Name,
                PacketsOut,
                BitsOut,
                PacketsIn,
                BitsIn,
                Share,
                Column::Fallback,
                Errors,
                Latency,
                State,
                History,
            ],
            Self::Lanes => &[Name, PacketsOut, BitsOut, PacketsIn, BitsIn, Share, Errors, Latency, State, History],
            // Bulk may wait, and voice may not: of both together nothing can be said.
            Self::Tunnels => {
                &[Name, PacketsOut, BitsOut, PacketsIn, BitsIn, Share, Column::Fallback, Errors, State, History]
            }
            Self::Tenants => &[Name, PacketsOut, BitsOut, PacketsIn, BitsIn, Share, Errors, History],
            Self::Rules => &[Name, PacketsOut, BitsOut, Share, Class, History],
        }
    }

    /// The one that many to the right, round and round.
    pub fn step(self, by: isize) -> Self {
        step(&Self::ALL, self, by)
    }
}

impl Sort {
    /// In the order in which `<` and `>` go through them.
    pub const ALL: [Self; 7] =
        [Self::Bits, Self::Packets, Self::Errors, Self::Fallback, Self::State, Self::Name, Self::File];

    /// As the screen says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Packets => "packets",
            Self::Errors => "errors",
            Self::Fallback => "fallback",
            Self::State => "state",
            Self::Name => "name",
            Self::File => "file",
        }
    }

    /// Whether it is what that column shows.
    pub const fn is_of(self, column: Column) -> bool {
        match self {
            Self::Bits => matches!(column, BitsOut | BitsIn),
            Self::Packets => matches!(column, PacketsOut | PacketsIn),
            Self::Errors => matches!(column, Errors),
            Self::Fallback => matches!(column, Column::Fallback),
            Self::State => matches!(column, State | Class),
            Self::Name => matches!(column, Name),
            Self::File => false,
        }
    }

    /// The one that many to the right, round and round.
    pub fn step(self, by: isize) -> Self {
        step(&Self::ALL, self, by)
    }
}

impl Column {
    /// What stands above it.
    pub const fn head(self, view: View) -> &'static str {
        match (self, view) {
            (Name, View::Classes) => "CLASS",
            (Name, View::Lanes) => "LANE",
            (Name, View::Tunnels) => "TUNNEL",
            (Name, View::Tenants) => "TENANT",
            (Name, View::Rules) => "RULE",
            // Nothing comes in by a rule.
            (PacketsOut, View::Rules) => "PKT/s",
            (BitsOut, View::Rules) => "BIT/s",
            (PacketsOut, _) => "PKT OUT",
            (BitsOut, _) => "BIT OUT",
            (PacketsIn, _) => "PKT IN",
            (BitsIn, _) => "BIT IN",
            (Share, _) => "SHARE",
            (Column::Fallback, _) => "FALL",
            (Errors, _) => "ERR",
            (Latency, _) => "P99",
            (State, _) => "STATE",
            (Class, _) => "CLASS",
            (History, _) => "HISTORY",
        }
    }
}

fn step<T: Copy + PartialEq>(all: &[T], one: T, by: isize) -> T {
    let at = all.iter().position(|other| *other == one).unwrap_or_default().cast_signed();
    all[(at + by).rem_euclid(all.len().cast_signed()).cast_unsigned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn see_views_and_orders_go_round() {
        assert_eq!((View::Rules.step(1), View::Classes.step(-1)), (View::Classes, View::Rules));
        assert_eq!((Sort::File.step(1), Sort::Bits.step(-1)), (Sort::Bits, Sort::File));
        for all in [View::ALL.map(View::name).to_vec(), Sort::ALL.map(Sort::name).to_vec()] {
            assert!(all.iter().all(|name| all.iter().filter(|other| *other == name).count() == 1));
        }
    }

    #[test]
    fn see_every_column_of_every_view_has_a_head_of_its_own() {
        for view in View::ALL {
            let heads: Vec<&str> = view.columns().iter().map(|column| column.head(view)).collect();
            assert!(heads.iter().all(|head| heads.iter().filter(|other| *other == head).count() == 1), "{heads:?}");
        }
    }
}
