//! The JSON Schema of the file, for editors and for who generates configs.

use super::document::Document;

/// The JSON Schema (draft 2020-12), as `lanekeeper schema` prints it.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut value = settings.into_generator().into_root_schema_for::<Document>().to_value();
    if let Some(root) = value.as_object_mut() {
        root.insert("title".to_owned(), "Lanekeeper".into());
    }
    value
}
