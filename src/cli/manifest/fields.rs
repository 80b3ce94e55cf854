//! The names of a document's keys, asked of its type, so that no second list can fall behind.

use serde::{
    Deserialize,
    de::{Deserializer, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// The keys that `T`, a struct, reads; none for any other type.
pub(super) fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Ends in an error by design: it is asked for its keys and given no values.
    let _ = T::deserialize(Asker(&mut names));
    names
}

/// A deserializer that only notes which keys the type asks for.
struct Asker<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asker<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("asked for its keys alone"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Desired, Span};

    #[test]
    fn a_type_says_its_keys() {
        assert_eq!(names::<Desired>(), ["mode", "version", "replicas", "config_version"]);
        assert!(names::<Span>().is_empty());
    }
}
