//! The functions of a stack.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    invoke::Target,
    qualifier::{FunctionRef, Qualifier},
    refusal::Refusal,
    versioned::Versioned,
};

/// Every function, by name.
pub(crate) struct Functions {
    pub(crate) region: String,
    pub(crate) account: String,
    /// What routes, mappings and schedules invoke.
    pub(crate) traffic: Qualifier,
    by_name: BTreeMap<String, Arc<Versioned>>,
}

impl Functions {
    pub(crate) fn new(region: &str, account: &str, traffic: Qualifier, functions: Vec<Arc<Versioned>>) -> Self {
        let by_name = functions.into_iter().map(|function| (function.name.clone(), function)).collect();
        Self { region: region.to_owned(), account: account.to_owned(), traffic, by_name }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Versioned>> {
        self.by_name.values()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Versioned>> {
        self.by_name.get(name)
    }

    /// The function of a route, a mapping or a schedule.
    pub(crate) fn traffic_target(&self, name: &str) -> Option<Target> {
        Some(Target { function: Arc::clone(self.get(name)?), qualifier: Some(self.traffic.clone()) })
    }

    /// What `function` or `function:qualifier` means to whoever runs the stack: without a qualifier, what traffic meets.
    pub(crate) fn target(&self, text: &str) -> Option<Target> {
        let named = FunctionRef::parse(text)?;
        let qualifier = match named.qualifier {
            Some(qualifier) => Qualifier::parse(qualifier)?,
            None => self.traffic.clone(),
        };
        Some(Target { function: Arc::clone(self.get(named.name)?), qualifier: Some(qualifier) })
    }

    /// What a request names in its path, and in its `Qualifier` if it has one.
    pub(crate) fn asked(&self, text: &str, qualifier: Option<&str>) -> Result<Target, Refusal> {
        let named = FunctionRef::parse(text)
            .ok_or_else(|| Refusal::invalid(format!("`{text}` names no function: neither a name nor an ARN")))?;
        if let (Some(one), Some(other)) = (named.qualifier, qualifier)
            && one != other
        {
            let message = "The derived qualifier from the function name does not match the specified qualifier.";
            return Err(Refusal::invalid(message));
        }
        let text = qualifier.or(named.qualifier);
        let arn = format!("arn:aws:lambda:{}:{}:function:{}", self.region, self.account, named.name);
        let arn = text.map_or_else(|| arn.clone(), |qualifier| format!("{arn}:{qualifier}"));
        let (region, account) = named.place;
        let is_here =
            region.is_none_or(|region| region == self.region) && account.is_none_or(|account| account == self.account);
        let function = self.get(named.name).filter(|_| is_here).ok_or(Refusal::NoFunction { arn })?;
        let qualifier = text.map(|text| Qualifier::parse(text).ok_or_else(|| not_a_qualifier(text))).transpose()?;
        Ok(Target { function: Arc::clone(function), qualifier })
    }
}

fn not_a_qualifier(text: &str) -> Refusal {
    Refusal::Validation {
        value: text.chars().take(128).collect(),
        at: "qualifier",
        constraint: "Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)",
    }
}
