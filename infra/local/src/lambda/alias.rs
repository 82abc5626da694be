//! An alias: a name for one version, or for two by weight.

use super::qualifier::Version;

/// The second version of an alias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weight {
    pub(crate) version: Version,
    /// Of the invocations, 0 to 1.
    pub(crate) share: f64,
}

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alias {
    pub(crate) version: Version,
    pub(crate) weight: Option<Weight>,
    pub(crate) description: String,
    /// Changes with every change of the alias.
    pub(crate) revision_id: String,
}

impl Alias {
    /// The version for an invocation, by a roll of the dice.
    pub(crate) fn choose(&self, roll: f64) -> Version {
        match self.weight {
            Some(weight) if roll < weight.share => weight.version,
            _ => self.version,
        }
    }

    /// The versions that an invocation may meet.
    pub(crate) fn versions(&self) -> impl Iterator<Item = Version> {
        let second = self.weight.filter(|weight| weight.share > 0.0).map(|weight| weight.version);
        std::iter::once(self.version).chain(second)
    }

    /// Whether a version is part of the alias, even with no share.
    pub(crate) fn names(&self, version: Version) -> bool {
        self.version == version || self.weight.is_some_and(|weight| weight.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(share: Option<f64>) -> Alias {
        let weight = share.map(|share| Weight { version: Version::Number(2), share });
        Alias { version: Version::Number(1), weight, description: String::new(), revision_id: String::new() }
    }

    #[test]
    fn a_roll_below_the_share_meets_the_second_version() {
        let chosen = |share: Option<f64>, roll: f64| alias(share).choose(roll);
        assert_eq!(chosen(None, 0.0), Version::Number(1));
        assert_eq!(chosen(Some(0.0), 0.0), Version::Number(1));
        assert_eq!(chosen(Some(0.1), 0.0999), Version::Number(2));
        assert_eq!(chosen(Some(0.1), 0.1), Version::Number(1));
        assert_eq!(chosen(Some(1.0), 0.9999), Version::Number(2));
    }

    #[test]
    fn a_version_without_a_share_is_never_met_but_named() {
        assert_eq!(alias(Some(0.0)).versions().count(), 1);
        assert_eq!(alias(Some(0.1)).versions().count(), 2);
        assert!(alias(Some(0.0)).names(Version::Number(2)));
    }
}
