//! JSON values as 64-bit ids.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::operation::ABSENT;

/// The largest number that is its own id: 2⁶³ − 1.
pub const PLAIN_NUMBER_MAX: u64 = INTERNED - 1;

/// Ids from here on are places in the table.
const INTERNED: u64 = 1 << 63;

/// The values of a history that are more than a number.
///
/// `null` is [`ABSENT`], a whole number up to [`PLAIN_NUMBER_MAX`] is itself, and everything else has a place in this
/// table. So a load generator that numbers its keys and values never touches the table, and its history still reads and
/// writes as the file it stands for.
#[derive(Clone, Debug, Default)]
pub struct Values {
    table: Vec<Arc<Value>>,
    /// The same values: a list that was read may be long, so it is kept once.
    ids: HashMap<Arc<Value>, u64>,
}

impl Values {
    /// The id of `value`, which is given a place in the table if it needs one. The elements of a list get ids too.
    pub fn intern(&mut self, value: &Value) -> u64 {
        if let Some(id) = self.id(value) {
            return id;
        }
        if let Value::Array(elements) = value {
            elements.iter().for_each(|element| _ = self.intern(element));
        }
        let id = INTERNED + self.table.len() as u64;
        let value = Arc::new(value.clone());
        self.table.push(Arc::clone(&value));
        self.ids.insert(value, id);
        id
    }

    /// The id of `value`, if it has one.
    pub fn id(&self, value: &Value) -> Option<u64> {
        match value {
            Value::Null => Some(ABSENT),
            Value::Number(number) if number.as_u64().is_some_and(|n| n <= PLAIN_NUMBER_MAX) => {
                number.as_u64()
            }
            _ => self.ids.get(value).copied(),
        }
    }

    /// The value behind `id`. An id that was never given out is shown as the number it is.
    pub fn value(&self, id: u64) -> Value {
        match self.interned(id) {
            Some(value) => value.clone(),
            None if id == ABSENT => Value::Null,
            None => Value::from(id),
        }
    }

    /// The ids of the elements of the list behind `id`: none for `null`, which is the empty list to one who appends.
    pub(crate) fn elements(&self, id: u64) -> Option<Vec<u64>> {
        let element = |element| self.id(element).expect("elements are interned with their list");
        match self.interned(id) {
            Some(Value::Array(elements)) => Some(elements.iter().map(element).collect()),
            None if id == ABSENT => Some(Vec::new()),
            _ => None,
        }
    }

    /// The text behind `id`, as appending sees it: a string's own, nothing for `null`, the JSON text of all others.
    pub(crate) fn text(&self, id: u64) -> String {
        match self.value(id) {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// The id of the string `text`, or the text back if it has none.
    pub(crate) fn id_of_text(&self, text: String) -> Result<u64, String> {
        let value = Value::String(text);
        match (self.ids.get(&value), value) {
            (Some(id), _) => Ok(*id),
            (None, Value::String(text)) => Err(text),
            (None, _) => unreachable!("the value was made a string above"),
        }
    }

    fn interned(&self, id: u64) -> Option<&Value> {
        self.table.get(usize::try_from(id.checked_sub(INTERNED)?).ok()?).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_numbers_and_null_need_no_table() {
        let mut values = Values::default();
        assert_eq!(values.intern(&json!(17)), 17);
        assert_eq!(values.intern(&json!(PLAIN_NUMBER_MAX)), PLAIN_NUMBER_MAX);
        assert_eq!(values.intern(&Value::Null), ABSENT);
        assert!(values.table.is_empty());
    }

    #[test]
    fn every_interned_value_comes_back() {
        let mut values = Values::default();
        for value in
            [json!("x"), json!(-1), json!(1.5), json!(u64::MAX), json!(true), json!([1, "y"]), json!(3)]
        {
            let id = values.intern(&value);
            assert_eq!(values.value(id), value);
            assert_eq!(values.intern(&value), id);
        }
        assert_ne!(values.id(&json!(u64::MAX)), Some(ABSENT));
        assert!(values.id(&json!("y")).is_some(), "elements of a list get ids of their own");
    }
}
