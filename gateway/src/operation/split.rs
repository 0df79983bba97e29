//! What a cluster makes of an operation that is not about one slot.

/// What is made of an operation whose keys live on several nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It is refused.
    Never,
    /// A part for each node; the elements of the replies are put in the order of the keys.
    Ordered,
    /// A part for each node; the replies are added up.
    Sum,
    /// A part for each node; it has succeeded if each has.
    AllSucceed,
    /// It has no key, and every primary has a part of the answer.
    Nodes(Together),
}

/// What the answers of all primaries are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Nothing: each is of its node alone. One is asked.
    Apart,
    /// They are added up.
    Sum,
    /// As any of them, if each has succeeded.
    AllSucceed,
    /// As any that has succeeded: the others have nothing to do with it.
    OneSucceeds,
    /// One list.
    Joined,
    /// One list without repetitions.
    Union,
    /// Of each element, whether it is so everywhere.
    Everywhere,
    /// A number for each name, added up.
    Counts,
    /// Any that is not null.
    Any,
    /// One node's pages after the other's, under one cursor.
    Pages,
}

impl Split {
    /// What a cluster makes of it, for its documentation; `None` where there is nothing to say.
    pub const fn about(self) -> Option<&'static str> {
        Some(match self {
            Self::Never => return None,
            Self::Ordered | Self::Sum | Self::AllSucceed => {
                "keys in several slots are refused unless `?split=true` lets it be done in parts"
            }
            Self::Nodes(Together::Apart) => "one node answers for itself: the one that `?node=` names, else any primary",
            Self::Nodes(Together::Sum) => "all primaries are asked, and their answers added up",
            Self::Nodes(Together::AllSucceed) => "done at all primaries; an error if any of them fails",
            Self::Nodes(Together::OneSucceeds) => "done at all primaries; it has succeeded if it has at any",
            Self::Nodes(Together::Joined) => "all primaries are asked, and their lists joined",
            Self::Nodes(Together::Union) => "all primaries are asked, and their lists joined without repetitions",
            Self::Nodes(Together::Everywhere) => "all primaries are asked; 1 where it is so at all of them",
            Self::Nodes(Together::Counts) => "all primaries are asked, and the numbers of each name added up",
            Self::Nodes(Together::Any) => "all primaries are asked; the answer is that of any that has one",
            Self::Nodes(Together::Pages) => "the pages of all primaries follow one another under one cursor, whatever happens to the slots",
        })
    }
}
