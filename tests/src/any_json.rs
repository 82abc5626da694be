//! JSON of any shape, a few levels deep.

use proptest::prelude::*;
use serde_json::Value;

/// JSON of any shape, with names that the kit's own formats have and others.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("(type|run|request|tenant|payload|event|events|.{0,6})", inner, 0..6)
                .prop_map(Value::from_iter),
        ]
    })
}
