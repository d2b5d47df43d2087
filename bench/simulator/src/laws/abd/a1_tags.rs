//! A1: a tag is given to one value, by the writer that it names; and a request, however often it is asked, gets one tag. So what is
//! told was written, with exactly the tag that it has (A6). Clients never write the same value twice: values name requests.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::NodeId;
use qlab_quorum::abd::{Tag, Version};

use crate::laws::{Verdict, broken};

const UNIQUE: &str = "A1 a tag has one value";
const ONCE: &str = "A1 a request has one tag";
const NAMED: &str = "A1 a tag is given by the writer that it names";

/// Every tag that was ever given.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    values: HashMap<(Bytes, Tag), Option<Bytes>>,
    tags: HashMap<(Bytes, Bytes), Tag>,
    /// The highest tag of each key that says there is nothing.
    deleted: HashMap<Bytes, Tag>,
}

impl Tags {
    /// The tag that a value was written with.
    pub(crate) fn tag_of(&self, key: &Bytes, value: &Bytes) -> Option<Tag> {
        self.tags.get(&(key.clone(), value.clone())).copied()
    }

    /// The highest tag that says there is nothing; zero if nothing was ever deleted.
    pub(crate) fn deleted(&self, key: &Bytes) -> Tag {
        self.deleted.get(key).copied().unwrap_or_default()
    }

    /// Looks at a version that `node` writes down or speaks of.
    pub(crate) fn check(&mut self, node: NodeId, key: &Bytes, version: &Version) -> Verdict {
        let Version { tag, value } = version;
        if *tag == Tag::ZERO {
            return Ok(());
        }
        let place = (key.clone(), *tag);
        match self.values.get(&place) {
            Some(known) if known == value => return Ok(()),
            Some(_) => return broken(UNIQUE, format!("{node} has another value for {key:?} with tag {tag}")),
            None if tag.writer != node => {
                return broken(
                    NAMED,
                    format!("{node} has a value for {key:?} with tag {tag}, which nobody gave"),
                );
            }
            None => _ = self.values.insert(place, value.clone()),
        }
        match value {
            Some(value) => self.check_once(key, value, *tag),
            None => {
                let deleted = self.deleted.entry(key.clone()).or_default();
                *deleted = (*tag).max(*deleted);
                Ok(())
            }
        }
    }

    fn check_once(&mut self, key: &Bytes, value: &Bytes, tag: Tag) -> Verdict {
        let first = *self.tags.entry((key.clone(), value.clone())).or_insert(tag);
        if first == tag {
            return Ok(());
        }
        broken(ONCE, format!("a write of {key:?} has the tag {first}, and then {tag}"))
    }
}
