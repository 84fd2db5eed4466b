//! The JSON Schema of the file, for editors and for who generates configs.

use serde_json::Value;

use super::document::Document;

/// The JSON Schema (draft 2020-12), as `lanekeeper schema` prints it.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut value = settings.into_generator().into_root_schema_for::<Document>().to_value();
    if let Some(root) = value.as_object_mut() {
        root.insert("title".to_owned(), "Lanekeeper".into());
    }
    without_null(&mut value);
    value
}

/// What may be left out is, for serde, also what may be null; TOML has no null.
fn without_null(value: &mut Value) {
    let is_null = |value: &Value| *value == "null" || value["type"] == "null";
    match value {
        Value::Object(map) => {
            for (key, list) in map.iter_mut() {
                if matches!(key.as_str(), "type" | "anyOf")
                    && let Value::Array(list) = list
                {
                    list.retain(|entry| !is_null(entry));
                }
            }
            if let Some(Value::Array(list)) = map.get("type")
                && let [only] = list.as_slice()
            {
                let only = only.clone();
                map.insert("type".to_owned(), only);
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
