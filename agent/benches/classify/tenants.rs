//! 100,000 rules of 10,000 tenants, and the same rules as one tenant's, under BPF_PROG_TEST_RUN.
//!
//! Tenants are told by source: each of the many has a network of its own. The one has the same networks; or it has every
//! address, so that nothing is to be found out by it. Its rules say whose network they are about, and so give a packet the
//! same class.

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

/// All, side by side, each with how its rows call it.
pub struct Tenants([(Dealt, &'static str); 3]);

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
        let networks = many.tenants.iter().flat_map(|tenant| tenant.sources.clone()).collect();
        let everything = if family.six { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) };
        Ok(Self([
            (Dealt::new(family, as_one(&many, networks))?, mode::TENANT),
            (Dealt::new(family, as_one(&many, vec![everything]))?, mode::TENANT_OF_ALL),
            (Dealt::new(family, many)?, mode::TENANTS),
        ]))
    }

    /// Asks the programs and the oracle.
    pub fn judge(&mut self, verdicts: &mut Verdicts) -> Result<()> {
        for (Dealt { list, trial, .. }, _) in &mut self.0 {
            judge(trial, list, verdicts)?;
        }
        Ok(())
    }

    /// A round.
    pub fn round(&mut self, empty: &Program, counts: bool) -> Result<()> {
        for (Dealt { list, trial, ns }, _) in &mut self.0 {
            let round = uncached(trial, list, empty)?;
            if counts {
                ns.push(round);
            }
        }
        Ok(())
    }

    /// Puts down the rows.
    pub fn rows(&self, family: &'static Family, rows: &mut Vec<Row>) {
        rows.extend(self.0.iter().map(|(dealt, mode)| Row::new(ALONE, family.name, RULES, mode, &dealt.ns)));
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
fn as_one(many: &Policy, sources: Vec<IpNet>) -> Policy {
    let of_one = |rule: &Rule| Rule {
        source: rule.tenant.map(|tenant| many.tenants[tenant.0].sources.clone()).unwrap_or_default(),
        tenant: Some(TenantIndex(0)),
        ..rule.clone()
    };
    let tenant = Tenant { name: "tenant0".to_owned(), sources, ..Tenant::default() };
    Policy { rules: many.rules.iter().map(of_one).collect(), tenants: vec![tenant], ..many.clone() }
}
