//! Features that are on for some tenants.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{FlagName, Tenant};

/// For whom a feature is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flag {
    /// For this share of all tenants, 0 to 100.
    pub percent: u8,
    /// For these tenants, whatever the share.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tenants: BTreeSet<Tenant>,
}

impl Flag {
    /// Whether it is on for `tenant`. The share is taken by a hash of both names: a tenant that has a feature at 10 % keeps it at
    /// 20 %, and different features choose different tenants first.
    pub fn is_on_for(&self, name: &FlagName, tenant: &Tenant) -> bool {
        self.tenants.contains(tenant) || bucket(name, tenant) < u64::from(self.percent) * 100
    }
}

/// Where of 10,000 a tenant is.
fn bucket(name: &FlagName, tenant: &Tenant) -> u64 {
    let digest = Sha256::digest(format!("{name}#{tenant}"));
    let first = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    first % 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohort_grows_without_losing_anybody_and_is_about_as_large_as_it_says() {
        let name: FlagName = "new-letters".parse().expect("a flag");
        let on = |percent| {
            let flag = Flag { percent, tenants: BTreeSet::new() };
            let tenants = (0..10_000).map(|n| format!("tenant-{n}").parse::<Tenant>().expect("a tenant"));
            tenants.filter(|tenant| flag.is_on_for(&name, tenant)).collect::<BTreeSet<_>>()
        };
        let (none, some, more, all) = (on(0), on(10), on(25), on(100));
        assert!(none.is_empty() && all.len() == 10_000);
        assert!(some.is_subset(&more));
        assert!(
            (900..1_100).contains(&some.len()) && (2_350..2_650).contains(&more.len()),
            "{} {}",
            some.len(),
            more.len()
        );
    }

    #[test]
    fn a_named_tenant_has_it_at_any_share() {
        let acme: Tenant = "acme".parse().expect("a tenant");
        let flag = Flag { percent: 0, tenants: [acme.clone()].into() };
        assert!(flag.is_on_for(&"x".parse().expect("a flag"), &acme));
    }
}
