//! The tasks that a release knows: what a run may be asked to do. Whoever takes requests on has no agent and is told them (`TASKS`).

use std::{collections::BTreeSet, str::FromStr};

use crate::{
    controls::names::{Kind, UnknownName, known},
    ids::Task,
};

/// The tasks. Never empty: a release that knows none could only refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks(BTreeSet<String>);

/// A text is not a list of tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTasks {
    /// There are none.
    #[error("names no task")]
    None,
    /// A name is not one. It is not quoted.
    #[error("has a name, the {place}. of them, that is none: use 1 to 128 of A-Z a-z 0-9 . _ - @ : + | / for each")]
    Name {
        /// Its place, from 1.
        place: usize,
    },
}

impl FromStr for Tasks {
    type Err = InvalidTasks;

    /// Names between commas.
    fn from_str(text: &str) -> Result<Tasks, InvalidTasks> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let named = |(index, name): (usize, &str)| {
            let task = name.parse::<Task>().map_err(|_| InvalidTasks::Name { place: index + 1 });
            task.map(|task| task.to_string())
        };
        let tasks = names.enumerate().map(named).collect::<Result<BTreeSet<_>, _>>()?;
        if tasks.is_empty() { Err(InvalidTasks::None) } else { Ok(Tasks(tasks)) }
    }
}

impl Tasks {
    /// Whether the release knows `task`.
    ///
    /// # Errors
    /// When it does not, with the name that it is most like.
    pub fn check(&self, task: &Task) -> Result<(), UnknownName> {
        known(Kind::Task, task.as_str(), &self.0)
    }

    /// Their names.
    pub const fn names(&self) -> &BTreeSet<String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_task_is_told_with_the_nearest_one() {
        let tasks: Tasks = " refund, refund/checked,".parse().expect("tasks");
        let check = |task: &str| tasks.check(&task.parse().expect("a name")).map_err(|error| error.to_string());
        assert_eq!((check("refund"), check("refund/checked")), (Ok(()), Ok(())));
        assert_eq!(check("refnd"), Err("the release knows no task `refnd`; did you mean `refund`?".to_owned()));
        assert_eq!(check("xyzzy"), Err("the release knows no task `xyzzy`".to_owned()));
        assert!(check("Refund").is_err() && check("refund/").is_err(), "names are compared as they are");
    }

    #[test]
    fn a_list_without_a_name_and_a_name_that_is_none_are_refused() {
        assert_eq!(" , ".parse::<Tasks>(), Err(InvalidTasks::None));
        assert_eq!("refund,a#b".parse::<Tasks>(), Err(InvalidTasks::Name { place: 2 }));
    }
}
