//! 100,000 rules of 10,000 tenants, and the same rules as one tenant's, under BPF_PROG_TEST_RUN.
//!
//! Tenants are told by source: each of the many has a network of its own, the one has every address, and a rule for each of
//! their networks. So both give a packet the same class.

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::policy::{Policy, Rule, Tenant, TenantIndex};

use crate::alone::{judge, uncached};
use crate::bpf::Program;
use crate::goals::Verdicts;
use crate::lists::List;
use crate::report::{ALONE, Row, SIZES, mode};
use crate::witness::list::{self, Family};

/// Of the longest list.
pub const RULES: usize = SIZES[SIZES.len() - 1];
/// Rules of each of many tenants.
const EACH: usize = 10;

/// Both, side by side.
pub struct Tenants {
    one: Dealt,
    many: Dealt,
}

/// A list that belongs to tenants, and what a packet cost so far.
struct Dealt {
    list: List,
    trial: Trial,
    ns: Vec<f64>,
}

impl Tenants {
    /// Loads both.
    pub fn new(family: &Family) -> Result<Self> {
        let many = list::dealt(family, RULES / EACH, EACH);
        Ok(Self { one: Dealt::new(family, as_one(&many, family))?, many: Dealt::new(family, many)? })
    }

    /// Asks the programs and the oracle.
    pub fn judge(&mut self, verdicts: &mut Verdicts) -> Result<()> {
        for Dealt { list, trial, .. } in [&mut self.one, &mut self.many] {
            judge(trial, list, verdicts)?;
        }
        Ok(())
    }

    /// A round.
    pub fn round(&mut self, empty: &Program, counts: bool) -> Result<()> {
        for Dealt { list, trial, ns } in [&mut self.one, &mut self.many] {
            let round = uncached(trial, list, empty)?;
            if counts {
                ns.push(round);
            }
        }
        Ok(())
    }

    /// Puts down the rows.
    pub fn rows(&self, family: &'static Family, rows: &mut Vec<Row>) {
        rows.push(Row::new(ALONE, family.name, RULES, mode::TENANT, &self.one.ns));
        rows.push(Row::new(ALONE, family.name, RULES, mode::TENANTS, &self.many.ns));
    }
}

impl Dealt {
    fn new(family: &Family, policy: Policy) -> Result<Self> {
        let list = List::new(family, policy)?;
        let mut trial = Trial::new()?;
        list.load(&mut trial)?;
        Ok(Self { list, trial, ns: Vec::new() })
    }
}

/// The same rules as one tenant's: what each tenant's are about by being its, these say themselves.
fn as_one(many: &Policy, family: &Family) -> Policy {
    let of_one = |rule: &Rule| Rule {
        source: rule.tenant.map(|tenant| many.tenants[tenant.0].sources.clone()).unwrap_or_default(),
        tenant: Some(TenantIndex(0)),
        ..rule.clone()
    };
    let everything = if family.six { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) };
    let tenant = Tenant { name: "tenant0".to_owned(), sources: vec![everything], ..Tenant::default() };
    Policy { rules: many.rules.iter().map(of_one).collect(), tenants: vec![tenant], ..many.clone() }
}
